//! Providers with addresses and credentials of their own: Gemini, Vertex AI, Azure OpenAI, Bedrock. The simulated
//! one checks signatures and tokens by itself.

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluicegate_simulator::{AwsAccount, CloudOptions, EntraApp, GoogleAccount, Options, Simulator};
use tempfile::TempDir;

use crate::support::{Client, Config, Gateway, Response, chat, messages, soon, split_events};

const SECRET: &str = "sk-provider-secret";
const ACCOUNT: &str = "gateway@project-1.iam.gserviceaccount.com";
const VERSION: &str = "anthropic-version: 2023-06-01\r\n";

/// A simulated provider of all clouds, whose tokens live so long, and a gateway before it.
async fn clouds(lifetime: Duration, extra: &str) -> (Simulator, Gateway) {
    let (private_key, public_key) = rsa_pair();
    let cloud = CloudOptions {
        aws: Some(AwsAccount {
            access_key_id: "AKID".to_owned(),
            secret_access_key: SECRET.to_owned(),
            region: "eu-central-1".to_owned(),
            ..AwsAccount::default()
        }),
        google: Some(GoogleAccount {
            client_email: ACCOUNT.to_owned(),
            public_key_pem: public_key,
            token_lifetime: lifetime,
        }),
        entra: Some(EntraApp {
            tenant: "tenant-1".to_owned(),
            client_id: "app-1".to_owned(),
            client_secret: SECRET.to_owned(),
            token_lifetime: lifetime,
        }),
    };
    let options = Options { record_requests: true, cloud, ..Options::default() };
    let simulator = Simulator::start(options).await.unwrap();
    let address = simulator.address();
    let directory = tempfile::tempdir().unwrap();
    let key_file = json!({
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key_id": "key-1",
        "private_key": private_key,
        "token_uri": format!("http://{address}/token"),
    });
    std::fs::write(directory.path().join("account.json"), key_file.to_string()).unwrap();
    let gateway = Gateway::start_in(directory, &config(&simulator, extra));
    (simulator, gateway)
}

/// A new pair of RSA keys, the private one first, in PEM.
fn rsa_pair() -> (String, String) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    let pem = |label: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()))
}

fn config(simulator: &Simulator, extra: &str) -> Config {
    let address = simulator.address();
    let base = format!("base_url: \"http://{address}\"");
    let entra = format!(
        "entra: {{ tenant_id: tenant-1, client_id: app-1, client_secret: \"env:SIM_KEY\", \
         authority: \"http://{address}\" }}"
    );
    let mut config = Config::for_provider(address);
    config.providers += &format!(
        "  google: {{ {base}, api_key: \"env:SIM_KEY\" }}\n  \
           azure: {{ dialect: azure_openai, {base}, api_version: 2024-10-21, api_key: \"env:SIM_KEY\" }}\n  \
           entra: {{ dialect: azure_openai, {base}, api_version: 2024-10-21, {entra} }}\n  \
           vertex: {{ dialect: vertex, {base}, project: project-1, location: europe-west4, service_account: \"file:account.json\" }}\n  \
           bedrock: {{ dialect: bedrock, {base}, region: eu-central-1, aws: {{ access_key_id: AKID, secret_access_key: \"env:SIM_KEY\" }} }}\n"
    );
    config.models += "  \
        gemini: { targets: [{ provider: google, model: gemini-sim }] }\n  \
        azure: { targets: [{ provider: azure, model: deployment-1 }] }\n  \
        entra: { targets: [{ provider: entra, model: deployment-2 }] }\n  \
        vertex: { targets: [{ provider: vertex, model: gemini-sim }] }\n  \
        claude: { targets: [{ provider: vertex, model: \"claude-sim@1\" }] }\n  \
        bedrock: { targets: [{ provider: bedrock, model: \"anthropic.claude-sim-v1:0\" }] }\n";
    config.models += extra;
    config
}

const MODELS: [&str; 6] = ["gemini", "azure", "entra", "vertex", "claude", "bedrock"];

async fn ask(gateway: &Gateway, path: &str, model: &str, stream: bool) -> Response {
    let mut body = match path {
        "/v1/messages" => messages(stream, ""),
        "/v1/responses" => json!({"input": "Hello", "stream": stream, "max_output_tokens": 50}),
        _ => chat(stream, ""),
    };
    body["model"] = json!(model);
    if let Some(body) = body.as_object_mut() {
        // Not every dialect has a place for it.
        body.remove("user");
        body.remove("metadata");
    }
    let headers = if path == "/v1/messages" { VERSION } else { "" };
    gateway.client().post_with(path, headers, &body).await
}

/// The last event of a stream of `path` that ended well.
fn ends_well(path: &str, text: &str) -> bool {
    let last = split_events(text.as_bytes()).pop().unwrap_or_default();
    match path {
        "/v1/messages" => last.contains("message_stop"),
        "/v1/responses" => last.contains("response.completed"),
        _ => last.contains("[DONE]"),
    }
}

#[tokio::test]
async fn each_cloud_serves_callers_of_each_dialect() {
    let (simulator, gateway) = clouds(Duration::from_hours(1), "").await;
    let mut calls = 0;
    for model in MODELS {
        for path in ["/v1/chat/completions", "/v1/responses", "/v1/messages"] {
            for stream in [false, true] {
                let answer = ask(&gateway, path, model, stream).await;
                calls += 1;
                let text = answer.text();
                assert_eq!(answer.status, 200, "{model} {path} {stream}: {text}");
                if stream {
                    assert!(ends_well(path, &text), "{model} {path}: {text}");
                } else {
                    assert!(text.contains("token token"), "{model} {path}: {text}");
                }
            }
        }
    }
    let ledger = simulator.ledger().total;
    assert_eq!((ledger.requests, ledger.refused), (calls, 0));
    // One from Google for both of its models, one from Entra.
    assert_eq!(simulator.stats().tokens_issued, 2);
    let log = gateway.stop().await;
    let sum =
        |kind: &str| -> u64 { log.iter().filter_map(|line| line["usage"][kind].as_u64()).sum() };
    assert_eq!((sum("input"), sum("output")), (ledger.prompt_tokens, ledger.completion_tokens));
    assert!(log.iter().all(|line| line["end"] == "complete"), "{log:#?}");
}

#[tokio::test]
async fn what_a_cloud_understands_passes_as_it_is() {
    let (simulator, gateway) = clouds(Duration::from_hours(1), "").await;
    let body = json!({"model": "azure", "stream": true, "messages": [{"role": "user", "content": "Hello"}]});
    let answer = gateway.client().post("/v1/chat/completions", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Azure's own first event, which has no choices either, stays; the usage that nobody asked for does not.
    assert!(answer.text().contains("prompt_filter_results"), "{}", answer.text());
    assert!(!answer.text().contains("completion_tokens"), "{}", answer.text());
    let sent = simulator.requests().pop().unwrap();
    assert_eq!(
        sent.path,
        "/openai/deployments/deployment-1/chat/completions?api-version=2024-10-21"
    );
    assert!(sent.headers.contains_key("api-key") && !sent.headers.contains_key("authorization"));
    let embedding = json!({"model": "entra", "input": "Hello"});
    let answer = gateway.client().post("/v1/embeddings", &embedding).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    for (stream, method) in [(false, "rawPredict"), (true, "streamRawPredict")] {
        let answer = ask(&gateway, "/v1/messages", "claude", stream).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent = simulator.requests().pop().unwrap();
        let place = "/v1/projects/project-1/locations/europe-west4/publishers/anthropic/models";
        assert_eq!(sent.path, format!("{place}/claude-sim%401:{method}"));
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(body["anthropic_version"], "vertex-2023-10-16");
        assert_eq!(body.get("model"), None, "{body}");
    }
    // It counts tokens elsewhere.
    let count = json!({"model": "claude", "messages": [{"role": "user", "content": "Hello"}]});
    let path = "/v1/messages/count_tokens";
    let answer = gateway.client().post_with(path, VERSION, &count).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    gateway.stop().await;
}

#[tokio::test]
async fn tokens_are_replaced_before_they_end() {
    let (simulator, gateway) = clouds(Duration::from_secs(2), "").await;
    soon("more tokens", simulator.wait_until(|stats| stats.tokens_issued >= 6)).await;
    for model in ["entra", "vertex", "claude"] {
        let answer = ask(&gateway, "/v1/chat/completions", model, false).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_target_without_a_token_is_passed_over() {
    let fallback = "  safe: { targets: [{ provider: wrong, model: deployment-1 }], fallback: [sim-1] }\n  \
           alone: { targets: [{ provider: wrong, model: deployment-1 }], timeouts: { connect: 300ms } }\n";
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut config = Config::for_provider(simulator.address());
    let address = simulator.address();
    config.providers += &format!(
        "  wrong: {{ dialect: azure_openai, base_url: \"http://{address}\", entra: {{ tenant_id: t, \
         client_id: c, client_secret: \"env:SIM_KEY\", authority: \"http://{address}\" }} }}\n"
    );
    config.models += fallback;
    let gateway = Gateway::start(&config);
    let answer = ask(&gateway, "/v1/chat/completions", "safe", false).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = ask(&gateway, "/v1/chat/completions", "alone", false).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.text().contains(SECRET));
    gateway.stop().await;
}

#[tokio::test]
async fn what_breaks_in_a_cloud_is_an_error_of_the_callers_dialect() {
    let faults = [
        "truncate;after=2",
        "truncate-mid-event;after=2",
        "reset;after=2",
        "error-event;after=2",
        "corrupt-frame;after=2",
    ];
    let mut models = String::new();
    for (index, fault) in faults.iter().enumerate() {
        for provider in ["google", "bedrock", "vertex"] {
            models += &format!(
                "  {provider}-{index}: {{ targets: [{{ provider: {provider}, model: \"sim;fault={fault}\" }}], retries: {{ attempts: 1 }} }}\n"
            );
        }
    }
    for (provider, status) in [("google", 429), ("bedrock", 429), ("vertex", 503), ("bedrock", 400)]
    {
        models += &format!(
            "  {provider}-{status}: {{ targets: [{{ provider: {provider}, model: \"sim;fault=status;status={status}\" }}], retries: {{ attempts: 1 }} }}\n"
        );
    }
    let (_simulator, gateway) = clouds(Duration::from_hours(1), &models).await;
    for (index, fault) in faults.iter().enumerate() {
        for provider in ["google", "bedrock", "vertex"] {
            if *fault == "corrupt-frame;after=2" && provider != "bedrock" {
                continue;
            }
            let model = format!("{provider}-{index}");
            for path in ["/v1/chat/completions", "/v1/messages"] {
                let answer = ask(&gateway, path, &model, true).await;
                let text = answer.text();
                assert_eq!(answer.status, 200, "{model} {fault}: {text}");
                assert!(!ends_well(path, &text), "{model} {fault}: {text}");
                assert!(text.contains("\"error\""), "{model} {fault}: {text}");
            }
        }
    }
    for (model, status) in
        [("google-429", 429), ("bedrock-429", 429), ("vertex-503", 503), ("bedrock-400", 400)]
    {
        let answer = ask(&gateway, "/v1/chat/completions", model, false).await;
        assert_eq!(answer.status, status, "{model}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_is_signed_with_another_key_is_refused() {
    let (simulator, gateway) = clouds(Duration::from_hours(1), "").await;
    let mut config = config(&simulator, "");
    config.providers = config.providers.replace("access_key_id: AKID", "access_key_id: AKOTHER");
    let directory: TempDir = tempfile::tempdir().unwrap();
    let file = gateway.config_path().with_file_name("account.json");
    std::fs::copy(file, directory.path().join("account.json")).unwrap();
    let other = Gateway::start_in(directory, &config);
    let answer = ask(&other, "/v1/messages", "bedrock", false).await;
    assert!([401, 403].contains(&answer.status), "{}", answer.text());
    assert_eq!(answer.json()["type"], "error");
    assert!(!answer.text().contains(SECRET));
    other.stop().await;
    // Nothing of the caller's gets into what is signed.
    let body = json!({"model": "bedrock", "messages": [{"role": "user", "content": "Hello"}]});
    let headers = "x-amz-date: 20200101T000000Z\r\nx-amz-security-token: forged\r\n";
    let client: Client = gateway.client();
    let answer = client.post_with("/v1/chat/completions", headers, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    gateway.stop().await;
}
