//! What alerts and dashboards name is on `/metrics`, and `docs/metrics.md` says all of it and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Value, json};
use sluicegate_simulator::{McpFault, McpFaultKind};

use crate::support::certificates::{Authority, TlsFront};
use crate::support::{Client, Config, Gateway, Response, chat, free_address, messages, provider};

const PAGE: &str = include_str!("../../docs/metrics.md");
const ERRORS: &str = include_str!("../../docs/errors.md");
const NAMED: &str = include_str!("../../prometheus/named.json");

/// One series of `/metrics`.
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
}

/// What is said of a metric, or was found: its type, and its labels with their values.
#[derive(Default)]
struct Metric {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

type Metrics = BTreeMap<String, Metric>;

/// The text between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The rows of the page's tables. A label without values may have any.
fn documented() -> Metrics {
    let codes: BTreeSet<_> = ERRORS
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(code, _)| code.to_owned())
        .collect();
    let mut before: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut found = Metrics::new();
    for line in PAGE.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (&[name, kind, _, labels, ..], Some(name_of)) =
            (cells.as_slice(), cells.first().and_then(|name| quoted(name).next()))
        else {
            continue;
        };
        assert!(name.starts_with('`'), "{line}");
        let mut metric = Metric { kind: kind.to_owned(), ..Metric::default() };
        for part in labels.split("; ").filter(|part| !part.is_empty()) {
            let (label, values) = part.split_once(": ").unwrap_or((part, ""));
            let label = label.trim_matches('`').to_owned();
            let values = match values {
                "as above" => before.get(&label).cloned().expect("a list above"),
                values if values.contains("errors.md") => codes.clone(),
                values => quoted(values).collect(),
            };
            before.insert(label.clone(), values.clone());
            metric.labels.insert(label, values);
        }
        assert!(found.insert(name_of, metric).is_none(), "twice: {line}");
    }
    found
}

fn series(page: &str) -> Vec<Series> {
    page.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap();
            let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
                let (label, value) = label.split_once("=\"").unwrap();
                (label.to_owned(), value.trim_end_matches('"').to_owned())
            });
            Series { name: name.to_owned(), labels: labels.collect() }
        })
        .collect()
}

/// The metrics of a page, by their families.
fn shown(page: &str, series: &[Series]) -> Metrics {
    let mut found = Metrics::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        found.insert(name.to_owned(), Metric { kind: kind.to_owned(), ..Metric::default() });
    }
    for one in series {
        let parts = ["_bucket", "_sum", "_count"].into_iter();
        let mut families = parts.filter_map(|part| one.name.strip_suffix(part));
        let family = families.find(|family| found.contains_key(*family)).unwrap_or(&one.name);
        let metric = found.get_mut(family).unwrap_or_else(|| panic!("{family} has no type"));
        for (label, value) in one.labels.iter().filter(|(label, _)| *label != "le") {
            metric.labels.entry(label.clone()).or_default().insert(value.clone());
        }
    }
    found
}

/// The section on MCP servers: those at the addresses, by name. `more`: of each.
fn mcp(servers: &[(&str, SocketAddr)], more: &str) -> String {
    let targets = servers
        .iter()
        .map(|(name, address)| format!("    {name}: {{ url: \"http://{address}/mcp\"{more} }}\n"));
    format!("mcp:\n  targets:\n{}", targets.collect::<String>())
}

/// A message of MCP. `head`: header lines.
async fn mcp_asks(gateway: &Gateway, head: &str, method: &str, params: Value) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    gateway.client().post_with("/mcp", head, &body).await
}

async fn mcp_calls(gateway: &Gateway, head: &str, tool: &str) -> Response {
    mcp_asks(gateway, head, "tools/call", json!({"name": tool})).await
}

/// The page of a gateway that has seen traffic of every sort.
async fn page_after_traffic() -> String {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::for_provider(provider.address());
    config.head = format!(
        "admin: {{ master_key: \"env:MASTER_KEY\" }}\n\
         store: {{ sqlite: {{ path: \"{0}/store.db\" }} }}\n\
         ledger: {{ directory: \"{0}/ledger\" }}\n\
         audit: {{ directory: \"{0}/audit\" }}\n",
        directory.path().display()
    );
    config.providers = config.providers.replacen("SIM_KEY\"", "SIM_KEY\", health_check: {}", 1);
    let price = "price: { input: \"10\", output: \"20\" }";
    // One behind TLS, whose certificate is looked at.
    let authority = Authority::new("servers");
    let front = TlsFront::start(provider.address(), &authority.leaf(), None).await;
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    config.providers.push_str(&format!(
        "  secured: {{ dialect: openai, base_url: \"https://{}/v1\", ca: \"{}\" }}\n",
        front.address,
        ca.display()
    ));
    let servers = [("sim", provider.address()), ("gone", free_address())];
    let config = config.with(&mcp(&servers, ""));
    let config = config.with_models(&format!(
        "  sim-1: {{ targets: [{{ provider: sim, model: sim-1 }}], {price} }}\n  \
         free: {{ targets: [{{ provider: sim, model: free }}] }}\n  \
         claude-sim: {{ targets: [{{ provider: anth, model: claude-sim }}], {price} }}\n"
    ));
    let gateway = Gateway::start(&config);
    let key = gateway.key(&json!({"max_budget": 100})).await;
    let once = gateway.key(&json!({"rpm_limit": 1})).await;
    let mut sent = 0.0;
    let mut expect = |status: u16, answer: &Response| {
        assert_eq!(answer.status, status, "{}", answer.text());
        sent += 1.0;
    };
    for stream in [false, true] {
        let mut body = chat(stream, "tokens=8");
        body["max_tokens"] = json!(50);
        expect(200, &gateway.chat(&key, &body).await);
        let bearer = format!("Authorization: Bearer {key}\r\nanthropic-version: 2023-06-01\r\n");
        let body = messages(stream, "tokens=8");
        expect(200, &gateway.client().post_with("/v1/messages", &bearer, &body).await);
    }
    let bearer = format!("Authorization: Bearer {key}\r\n");
    expect(200, &mcp_asks(&gateway, &bearer, "tools/list", json!({})).await);
    for tool in ["sim_echo", "sim_fail", "sim_nothing", "gone_echo", "nobody_echo"] {
        expect(200, &mcp_calls(&gateway, &bearer, tool).await);
    }
    // Broken, without a price, over a limit, unknown, and nowhere.
    expect(200, &gateway.chat(&key, &chat(true, "fault=truncate,after=3,tokens=20")).await);
    let mut unpriced = chat(false, "");
    unpriced["model"] = json!("free");
    expect(403, &gateway.chat(&key, &unpriced).await);
    expect(200, &gateway.chat(&once, &chat(false, "")).await);
    expect(429, &gateway.chat(&once, &chat(false, "")).await);
    expect(401, &gateway.chat("sk-of-nobody", &chat(false, "")).await);
    expect(404, &gateway.client().get("/v1/nowhere").await);
    expect(200, &gateway.client().get("/health/live").await);
    gateway.until_metric("sluicegate_requests_total", "", sent).await;
    gateway.until_metric("sluicegate_tls_upstream_checks_total", "result=\"ok\"", 1.0).await;
    let page = Client::new(gateway.metrics).get("/metrics").await.text();
    gateway.stop().await;
    page
}

#[tokio::test]
async fn what_is_named_is_shown_and_what_is_shown_is_documented() {
    let page = page_after_traffic().await;
    let series = series(&page);

    let named: BTreeMap<String, Vec<String>> = serde_json::from_str(NAMED).unwrap();
    assert!(named.len() > 40, "the list is there");
    for (name, labels) in &named {
        let mut of_name = series.iter().filter(|series| series.name == *name);
        let has_all =
            |series: &Series| labels.iter().all(|label| series.labels.contains_key(label));
        assert!(of_name.any(has_all), "a rule or a panel names {name} with {labels:?}");
    }

    let (documented, shown) = (documented(), shown(&page, &series));
    let names = |metrics: &Metrics| metrics.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&shown), names(&documented), "shown, and documented");
    for (name, shown) in &shown {
        let said = &documented[name];
        assert_eq!(shown.kind, said.kind, "{name}");
        let labels = |metric: &Metric| metric.labels.keys().cloned().collect::<Vec<_>>();
        assert_eq!(labels(shown), labels(said), "{name}");
        for (label, values) in &shown.labels {
            let closed = &said.labels[label];
            let foreign: Vec<_> = values.difference(closed).collect();
            assert!(closed.is_empty() || foreign.is_empty(), "{name}: {label} {foreign:?}");
        }
    }
}

#[tokio::test]
async fn counters_that_alerts_wait_for_are_there_before_the_first_request() {
    let provider = provider().await;
    let gateway = Gateway::start(&Config::for_provider(provider.address()));
    let page = Client::new(gateway.metrics).get("/metrics").await.text();
    let (series, documented) = (series(&page), documented());
    // Counters, of which every label has its values on the page, but for those of single exchanges.
    let each_exchange = ["sluicegate_exchanges_total", "sluicegate_tokens_total"];
    let closed = documented.iter().filter(|(name, metric)| {
        metric.kind == "counter"
            && !each_exchange.contains(&name.as_str())
            && metric.labels.values().all(|values| !values.is_empty())
    });
    let mut looked_at = 0;
    for (name, metric) in closed {
        for (label, values) in &metric.labels {
            let there: BTreeSet<_> = series
                .iter()
                .filter(|series| series.name == *name)
                .map(|series| series.labels[label].clone())
                .collect();
            // Of requests, the routes and classes that an error budget is made of.
            if name == "sluicegate_requests_total" {
                assert!(there.len() >= 3, "{name}: {there:?}");
            } else {
                assert_eq!(&there, values, "{name}: {label}");
            }
            looked_at += values.len();
        }
        if metric.labels.is_empty() {
            assert!(series.iter().any(|series| series.name == *name), "{name}");
        }
    }
    assert!(looked_at > 60, "{looked_at}");
    let of_models = series.iter().filter(|one| one.name == "sluicegate_unpriced_requests_total");
    assert_eq!(of_models.count(), 2 * 3, "each configured model");
    let limit = gateway.metric("sluicegate_connections_limit", "").await;
    assert!((limit - 20_000.0).abs() < f64::EPSILON, "{limit}");
    assert!(gateway.metric("sluicegate_worker_threads", "").await >= 1.0);
    gateway.stop().await;
}

#[tokio::test]
async fn calls_of_mcp_servers_are_counted_before_the_first_one() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address());
    let gateway = Gateway::start(&config.with(&mcp(&[("sim", provider.address())], "")));
    let page = Client::new(gateway.metrics).get("/metrics").await.text();
    let (series, documented) = (series(&page), documented());
    let of_server = |metric: &str, label: &str| -> BTreeSet<String> {
        let of_server = |one: &&Series| {
            let method = one.labels.get("method").is_none_or(|method| method == "tools_call");
            one.name == metric && one.labels["server"] == "sim" && method
        };
        series.iter().filter(of_server).map(|one| one.labels[label].clone()).collect()
    };
    for (metric, label) in [
        ("sluicegate_mcp_messages_total", "outcome"),
        ("sluicegate_mcp_server_failures_total", "reason"),
    ] {
        let closed = &documented[metric].labels[label];
        assert!(closed.len() > 5 && of_server(metric, label) == *closed, "{metric}");
    }
    let up = gateway.metric("sluicegate_mcp_server_up", "server=\"sim\"").await;
    assert!((up - 1.0).abs() < f64::EPSILON, "nobody has asked it yet: {up}");
    gateway.stop().await;
}

/// What the alerts on MCP servers go by.
#[tokio::test]
async fn an_mcp_server_that_fails_is_down_until_it_has_answered() {
    let server = provider().await;
    let config = |timeouts: &str| {
        let more = format!(", api_key: \"env:SIM_KEY\", timeouts: {{ call: {timeouts} }}");
        Config::for_provider(server.address()).with(&mcp(&[("sim", server.address())], &more))
    };
    let gateway = Gateway::start(&config("20s"));
    // Whether it is up, how often it refused the credential, and how many calls had no answer.
    let state = async |failed: f64| {
        // Counted when all of the request is over.
        let labels = "method=\"tools_call\",outcome=\"failed\",server=\"sim\"";
        gateway.until_metric("sluicegate_mcp_messages_total", labels, failed).await;
        let refused = "reason=\"unauthorized\",server=\"sim\"";
        let up = gateway.metric("sluicegate_mcp_server_up", "server=\"sim\"").await;
        let refused = gateway.metric("sluicegate_mcp_server_failures_total", refused).await;
        (up as u64, refused as u64)
    };
    let code = |answer: &Response| answer.json()["error"]["data"]["code"].clone();

    // The list is known, so that nobody asks for it.
    assert_eq!(mcp_asks(&gateway, "", "tools/list", json!({})).await.status, 200);
    server.mcp().change(|settings| settings.require_key = Some("another".to_owned()));
    for refused in 1..3 {
        assert_eq!(code(&mcp_calls(&gateway, "", "sim_echo").await), "upstream_error");
        assert_eq!(state(refused as f64).await, (0, refused), "each refusal is seen");
    }
    server.mcp().change(|settings| settings.require_key = None);
    // A changed server begins anew, and what was counted of it stays.
    gateway.rewrite_config(&config("21s"));
    gateway.until_metric("sluicegate_config_generation", "", 2.0).await;
    assert_eq!(mcp_asks(&gateway, "", "tools/list", json!({})).await.status, 200);
    assert_eq!(state(2.0).await, (1, 2));

    let fault = McpFault::new(McpFaultKind::Status(503));
    server.mcp().change(|settings| settings.fault = Some(fault));
    assert_eq!(code(&mcp_calls(&gateway, "", "sim_echo").await), "upstream_error");
    assert_eq!(state(3.0).await, (0, 2));
    // The list is known: nobody has asked the server.
    let list = mcp_asks(&gateway, "", "tools/list", json!({})).await.json();
    assert!(list["result"]["tools"].as_array().is_some_and(|tools| !tools.is_empty()), "{list}");
    assert_eq!(state(3.0).await, (0, 2));
    server.mcp().change(|settings| settings.fault = None);
    // The tool's own failure is an answer.
    assert_eq!(mcp_calls(&gateway, "", "sim_fail").await.json()["result"]["isError"], true);
    assert_eq!(state(3.0).await, (1, 2));
    gateway.stop().await;
}
