//! What works when nothing goes wrong.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::{
    Client, Config, Gateway, chat, gateway, messages, provider, read_response, soon, split_events,
};

#[tokio::test]
async fn every_endpoint_answers_plain() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let client = gateway.client();
    let chat = client.post("/v1/chat/completions", &chat(false, "")).await;
    assert_eq!(chat.status, 200, "{}", chat.text());
    assert_eq!(chat.json()["object"], "chat.completion");
    assert!(chat.header("x-request-id").is_some());
    let body = json!({"model": "sim-1", "prompt": "Hello"});
    assert_eq!(client.post("/v1/completions", &body).await.json()["object"], "text_completion");
    let body = json!({"model": "sim-1", "input": "Hello"});
    assert_eq!(client.post("/v1/responses", &body).await.json()["object"], "response");
    assert_eq!(client.post("/v1/embeddings", &body).await.json()["object"], "list");
    let version = "anthropic-version: 2023-06-01\r\n";
    let answer = client.post_with("/v1/messages", version, &messages(false, "")).await;
    assert_eq!(answer.json()["type"], "message", "{}", answer.text());
    let body = json!({"model": "claude-sim", "messages": [{"role": "user", "content": "Hi"}]});
    let answer = client.post_with("/v1/messages/count_tokens", version, &body).await;
    assert!(answer.json()["input_tokens"].as_u64().unwrap() > 0, "{}", answer.text());
    // Usage of every one is in the log and in the metrics.
    let output = gateway.metric("sluicegate_tokens_total", "kind=\"output\"").await;
    let ledger = provider.ledger();
    let log = gateway.stop().await;
    let lines: Vec<_> = log.iter().filter(|line| line["model"].is_string()).collect();
    assert_eq!(lines.len(), 6);
    assert!(
        lines.iter().all(|line| line["end"] == "complete" && line["status"] == 200),
        "{log:#?}"
    );
    let logged: u64 = lines.iter().filter_map(|line| line["usage"]["output"].as_u64()).sum();
    assert_eq!(logged as f64, output);
    assert_eq!(logged, ledger.total.completion_tokens, "{ledger:?}");
}

#[tokio::test]
async fn streams_pass_byte_for_byte_and_usage_is_hidden_only_if_ours() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let direct = Client::new(provider.address());
    let authorized = "Authorization: Bearer x\r\n";
    for directives in [
        "tokens=7",
        "tokens=7,chunking=1",
        "tokens=5,chunking=7,line=crlf,comments=true",
        "tokens=9,chunking=coalesce",
    ] {
        let mut body = chat(true, directives);
        body["stream_options"] = json!({"include_usage": true});
        let whole = direct.post_with("/v1/chat/completions", authorized, &body).await;
        let ours = gateway.client().post("/v1/chat/completions", &body).await;
        assert_eq!(stable(&ours.body), stable(&whole.body), "{directives}");
        assert!(ours.text().contains("\"usage\""));

        // We asked for it, so just that chunk is gone; the `"usage":null` of the others stays.
        let hidden = gateway.client().post("/v1/chat/completions", &chat(true, directives)).await;
        let whole = stable(&whole.body);
        let usage = whole.find("\"choices\":[]").unwrap();
        let start = whole[..usage].rfind("data: ").unwrap();
        let blank = if directives.contains("crlf") { "\r\n\r\n" } else { "\n\n" };
        let end = usage + whole[usage..].find(blank).unwrap() + blank.len();
        assert_eq!(stable(&hidden.body), whole[..start].to_owned() + &whole[end..], "{directives}");
        assert!(split_events(&hidden.body).last().unwrap().ends_with("[DONE]"));
    }
    let log = gateway.stop().await;
    assert_eq!(log.len(), 8);
    for line in log {
        assert_eq!(line["end"], "complete");
        assert!(line["usage"]["output"].as_u64().unwrap() >= 5, "{line}");
        assert!(line["time_to_first_token"].as_f64().unwrap() > 0.0);
    }
}

/// The stream without what differs between two answers: ids and times.
fn stable(body: &[u8]) -> String {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) =
        ["\"id\":\"", "\"created\":"].iter().filter_map(|k| rest.find(k).map(|i| i + k.len())).min()
    {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(['"', ',']).unwrap();
        rest = &rest[at + end..];
    }
    out + rest
}

#[tokio::test]
async fn the_provider_gets_its_name_its_key_and_nothing_of_the_callers() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let mut body = chat(false, "");
    body["model"] = json!("alias");
    let headers = "Authorization: Bearer sk-of-the-caller\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\n\
                   X-Secret: 1\r\nOpenAI-Beta: assistants=v2\r\nConnection: x-named\r\nX-Named: 1\r\n";
    let answer = gateway.client().post_with("/v1/chat/completions", headers, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let requests = provider.requests();
    let request = requests.last().unwrap();
    let header = |name: &str| request.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    assert_eq!(header("authorization").unwrap(), "Bearer sk-provider-secret");
    assert_eq!(header("openai-beta").unwrap(), "assistants=v2");
    assert_eq!(header("accept-encoding").unwrap(), "identity");
    for name in ["cookie", "x-forwarded-for", "x-secret", "x-named", "x-api-key"] {
        assert_eq!(header(name), None, "{name}");
    }
    // Only the model's name differs, byte for byte.
    let sent = body.to_string().replace("\"alias\"", "\"a-longer-name-upstream\"");
    assert_eq!(request.body, sent.as_bytes());
    let log = gateway.stop().await;
    let text = serde_json::to_string(&log).unwrap();
    assert!(!text.contains("sk-"), "{text}");
    assert_eq!(log[0]["provider_model"], "a-longer-name-upstream");
}

#[tokio::test]
async fn models_health_and_unknown_paths() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let client = gateway.client();
    let ids = |list: Value| -> Vec<String> {
        let data = list["data"].as_array().unwrap().clone();
        data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    let list = client.get("/v1/models").await;
    assert_eq!(ids(list.json()), ["alias", "claude-sim", "sim-1"]);
    assert_eq!(list.json()["object"], "list");
    let get = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n")
    };
    let anthropic = client.raw(get("/v1/models", "anthropic-version: 2023-06-01\r\n")).await;
    assert_eq!(anthropic.json()["has_more"], false);
    assert_eq!(client.get("/v1/models/sim-1").await.json()["id"], "sim-1");
    let unknown = client.get("/v1/models/sim-2").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "model_not_found"));
    assert!(unknown.text().contains("Did you mean `sim-1`"), "{}", unknown.text());
    for path in
        ["/health", "/health/live", "/health/ready", "/health/liveliness", "/health/readiness"]
    {
        for address in [gateway.proxy, gateway.admin, gateway.metrics] {
            let answer = Client::new(address).get(path).await;
            assert_eq!(
                (answer.status, answer.json()["status"].as_str()),
                (200, Some("ok")),
                "{path}"
            );
        }
    }
    let lost = client.get("/chat/completions").await;
    assert_eq!((lost.status, lost.code().as_str()), (404, "not_found"));
    assert!(lost.text().contains("/v1/chat/completions"), "{}", lost.text());
    let wrong = client.get("/v1/chat/completions").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST, OPTIONS")));
    assert_eq!(wrong.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(provider.ledger().total.requests, 0);
}

#[tokio::test]
async fn a_master_key_is_asked_for_where_there_is_one() {
    let provider = provider().await;
    let mut config = Config::for_provider(provider.address());
    config.head = "admin: { master_key: \"env:MASTER_KEY\" }\n".to_owned();
    let gateway = Gateway::start(&config);
    let client = gateway.client();
    let none = client.post("/v1/chat/completions", &chat(false, "")).await;
    assert_eq!((none.status, none.code().as_str()), (401, "missing_api_key"));
    assert_eq!(none.header("www-authenticate"), Some("Bearer"));
    let wrong = "Authorization: Bearer sk-wrong\r\n";
    let wrong = client.post_with("/v1/chat/completions", wrong, &chat(false, "")).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (401, "invalid_api_key"));
    assert!(!wrong.text().contains("sk-wrong"));
    for scheme in ["Authorization: Bearer ", "x-api-key: ", "api-key: "] {
        let right = format!("{scheme}sk-gateway-master-0123456789abcdef0123456789abcdef\r\n");
        let right = client.post_with("/v1/chat/completions", &right, &chat(false, "")).await;
        assert_eq!(right.status, 200, "{scheme}");
    }
    // Anthropic's callers get Anthropic's errors.
    let answer = client.post("/v1/messages", &messages(false, "")).await;
    assert_eq!(answer.json()["error"]["type"], "authentication_error", "{}", answer.text());
    assert_eq!(Client::new(gateway.admin).get("/admin/v1/config").await.status, 401);
    assert_eq!(provider.ledger().total.requests, 3);
}

#[tokio::test]
async fn keep_alive_connections_carry_many_requests() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let mut stream = gateway.client().connect().await;
    for round in 0..20 {
        let request = Client::request("/v1/chat/completions", "", &chat(round % 2 == 0, ""));
        stream.write_all(&request).await.unwrap();
        let answer = read_response(&mut stream).await;
        assert_eq!((answer.status, answer.closes(), answer.cut), (200, false, false), "{round}");
    }
    // Upstream, too: one connection for all of them.
    assert_eq!(provider.connections_accepted(), 1);
    let connections = "sluicegate_upstream_connections_total";
    soon("all settled", async {
        while gateway.metric(connections, "").await < 20.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(gateway.metric(connections, "reused=\"true\"").await, 19.0);
}

#[tokio::test]
async fn bad_bodies_get_clear_errors_in_the_callers_dialect() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let client = gateway.client();
    for (body, param) in [
        (json!({"messages": []}), "model"),
        (json!({"model": 7, "messages": []}), "model"),
        (json!({"model": "sim-1", "stream": "yes"}), "stream"),
        (json!({"model": "sim-1", "max_tokens": -1}), "max_tokens"),
        (json!({"model": "nobody", "messages": []}), "model"),
    ] {
        let answer = client.post("/v1/chat/completions", &body).await;
        assert!((400..=404).contains(&answer.status), "{body}");
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
        let answer = client.post("/v1/messages", &body).await;
        assert_eq!(answer.json()["type"], "error", "{body}");
        assert!(answer.json()["request_id"].is_string());
    }
    let doubled = "{\"model\":\"sim-1\",\"mod\\u0065l\":\"other\",\"messages\":[]}";
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{doubled}",
        doubled.len()
    );
    let answer = client.raw(request).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request_body"));
    // What has no equal in the target's dialect is not sent where it can't be read.
    let body = json!({"model": "claude-sim", "input": "Hello"});
    let answer = client.post("/v1/embeddings", &body).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "model_not_allowed"));
    assert_eq!(provider.ledger().total.requests, 0);
}
