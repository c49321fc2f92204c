//! Reloads: all or nothing, and nobody notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::certificates::handshake;
use crate::support::{Client, Config, Gateway, chat, provider, read_response, soon};

#[tokio::test]
async fn a_changed_file_is_in_force_and_a_wrong_one_is_refused() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address());
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.metric("sluicegate_config_generation", "").await, 1.0);
    let renamed =
        config.clone().with_models("  new-name: { targets: [{ provider: sim, model: m }] }\n");
    gateway.rewrite_config(&renamed);
    gateway.await_log("configuration in force");
    assert_eq!(gateway.client().get("/v1/models/new-name").await.status, 200);
    assert_eq!(gateway.client().get("/v1/models/sim-1").await.status, 404);

    let broken = renamed.clone().with_models("  broken: { targets: [{ provder: sim }] }\n");
    gateway.rewrite_config(&broken);
    let line = gateway.await_log("configuration refused");
    let message = line["message"].as_str().unwrap();
    assert!(message.contains("sluicegate.yaml:") && message.contains("provder"), "{message}");
    assert_eq!(gateway.client().get("/v1/models/new-name").await.status, 200);
    assert_eq!(gateway.metric("sluicegate_config_generation", "").await, 2.0);
    assert_eq!(gateway.metric("sluicegate_config_last_reload_successful", "").await, 0.0);
    assert_eq!(gateway.metric("sluicegate_config_reloads_total", "result=\"refused\"").await, 1.0);

    // The admin call says what is wrong, too.
    let reload = Client::new(gateway.admin).post("/admin/v1/config/reload", &json!({})).await;
    assert_eq!(reload.status, 422, "{}", reload.text());
    assert!(reload.json()["problems"][0]["line"].as_u64().unwrap() > 0, "{}", reload.text());

    gateway.rewrite_config(&config);
    gateway.await_log("configuration in force");
    gateway.signal("HUP");
    gateway.await_log("configuration is unchanged");
    let shown = Client::new(gateway.admin).get("/admin/v1/config").await;
    assert_eq!(shown.json()["generation"], 3);
    assert!(!shown.text().contains("sk-provider-secret"), "{}", shown.text());
    assert!(shown.text().contains("env:SIM_KEY"));
}

#[tokio::test]
async fn a_kubernetes_mount_is_watched_through_its_links() {
    let provider = provider().await;
    let root = tempfile::tempdir().unwrap();
    let mount = root.path().join("mount");
    let version = |name: &str, config: &Config| {
        let directory = mount.join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("sluicegate.yaml"), config.yaml()).unwrap();
    };
    let config = Config::for_provider(provider.address());
    version("..v1", &config);
    std::os::unix::fs::symlink("..v1", mount.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/sluicegate.yaml", mount.join("sluicegate.yaml")).unwrap();
    let gateway = Gateway::launch(root.path(), &mount.join("sluicegate.yaml"));
    for n in 2..5 {
        // As the kubelet does: a new directory, a new link, renamed over the old one.
        let name = format!("..v{n}");
        let models = format!("  model-{n}: {{ targets: [{{ provider: sim, model: m }}] }}\n");
        version(&name, &config.clone().with_models(&models));
        std::os::unix::fs::symlink(&name, mount.join("..data_tmp")).unwrap();
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        gateway.await_log("configuration in force");
        assert_eq!(gateway.client().get(&format!("/v1/models/model-{n}")).await.status, 200);
    }
}

/// Clients that send one request after another until told to stop. Every failure counts.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: tokio::task::JoinSet<Vec<String>>,
}

impl Load {
    pub fn start(client: Client, clients: usize) -> Self {
        Self::with_headers(client, clients, "")
    }

    /// `headers`: whole lines, each with its CR LF.
    pub fn with_headers(client: Client, clients: usize, headers: &str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut set = tokio::task::JoinSet::new();
        for number in 0..clients {
            let connect = async move || client.connect().await;
            set.spawn(run(connect, headers.to_owned(), number, stop.clone(), done.clone()));
        }
        Self { stop, done, clients: set }
    }

    /// Over TLS.
    pub fn over_tls(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        clients: usize,
        headers: &str,
    ) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut set = tokio::task::JoinSet::new();
        for number in 0..clients {
            let config = config.clone();
            let connect = async move || handshake(address, &config).await.unwrap();
            set.spawn(run(connect, headers.to_owned(), number, stop.clone(), done.clone()));
        }
        Self { stop, done, clients: set }
    }

    /// Waits until `n` more requests have been answered.
    pub async fn go_on_for(&self, n: usize) {
        let until = self.done.load(Ordering::Relaxed) + n;
        soon("load", async {
            while self.done.load(Ordering::Relaxed) < until {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Stops, and asserts that nothing failed.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let failures: Vec<String> =
            soon("the clients", self.clients.join_all()).await.into_iter().flatten().collect();
        assert!(failures.is_empty(), "{} failures, such as {:?}", failures.len(), &failures[0]);
    }
}

/// As a good client does: keep-alive until the answer says `close`.
async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    connect: impl AsyncFn() -> S,
    headers: String,
    number: usize,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut stream = connect().await;
    while !stop.load(Ordering::Relaxed) {
        let streamed = number.is_multiple_of(2);
        let request = Client::request(
            "/v1/chat/completions",
            &headers,
            &chat(streamed, "tokens=20,token_ms=1"),
        );
        if let Err(error) = stream.write_all(&request).await {
            failures.push(error.to_string());
            stream = connect().await;
            continue;
        }
        let answer = read_response(&mut stream).await;
        if answer.status != 200 || answer.cut || (streamed && !answer.text().contains("[DONE]")) {
            failures.push(format!("{answer:?}"));
        }
        if answer.closes() {
            stream = connect().await;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_nobody() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address());
    let gateway = Gateway::start(&config);
    let load = Load::start(gateway.client(), 8);
    let admin = Client::new(gateway.admin);
    for n in 0..100 {
        let extra = format!("cors: {{ origins: [\"https://page-{n}.example.com\"] }}");
        gateway.rewrite_config(&config.clone().with(&extra));
        let reload = admin.post("/admin/v1/config/reload", &json!({})).await;
        assert_eq!(reload.status, 200, "{}", reload.text());
        load.go_on_for(4).await;
    }
    load.finish().await;
    assert_eq!(gateway.metric("sluicegate_config_generation", "").await, 101.0);
}

/// Takes a provider's part: the next request, read whole.
pub async fn asked(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = soon("a request", listener.accept()).await.unwrap();
    soon("a whole request", async {
        let mut read = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).await.unwrap();
            assert_ne!(n, 0, "ended after {}", read.escape_ascii());
            read.extend_from_slice(&piece[..n]);
            let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.split_once("content-length: ").unwrap().1;
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() == length {
                return;
            }
        }
    })
    .await;
    stream
}

fn event(delta: &Value, finish_reason: &Value) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
    let chunk = json!({
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice],
    });
    format!("data: {chunk}\n\n")
}

/// The beginning of a stream.
pub fn first_part() -> String {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    head.to_owned() + &event(&json!({"role": "assistant", "content": "one"}), &Value::Null)
}

/// Its rest.
pub fn second_part() -> String {
    event(&json!({"content": "two"}), &Value::Null)
        + &event(&json!({}), &json!("stop"))
        + "data: [DONE]\n\n"
}

/// With all that belongs to it: a model, a provider and a second target that are gone meanwhile.
#[tokio::test]
async fn a_request_keeps_the_generation_that_it_began_with() {
    let provider = provider().await;
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let after = Config::for_provider(provider.address());
    let mut before = after.clone().with_models(
        "  streamed: { targets: [{ provider: held, model: m }] }\n  \
         twice:\n    targets:\n      - { provider: held, model: m, priority: 1 }\n      \
         - { provider: second, model: sim-1, priority: 2 }\n  \
         sim-1: { targets: [{ provider: sim, model: sim-1 }] }\n",
    );
    for (name, address) in [("held", held.local_addr().unwrap()), ("second", provider.address())] {
        before.providers.push_str(&format!(
            "  {name}: {{ dialect: openai, base_url: \"http://{address}/v1\", api_key: \"env:SIM_KEY\" }}\n"
        ));
    }
    let gateway = Gateway::start(&before);
    let path = "/v1/chat/completions";
    let ask = async |model: &str, stream: bool| {
        let body = json!({
            "model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello"}],
        });
        let mut client = gateway.client().connect().await;
        client.write_all(&Client::request(path, "", &body)).await.unwrap();
        client
    };

    // One has its first event, one waits for its first attempt's answer.
    let mut streamed = ask("streamed", true).await;
    let mut to_streamed = asked(&held).await;
    to_streamed.write_all(first_part().as_bytes()).await.unwrap();
    until_content(&mut streamed, "one").await;
    let mut twice = ask("twice", false).await;
    let mut to_twice = asked(&held).await;

    gateway.rewrite_config(&after);
    gateway.await_log("configuration in force");
    let gone = read_response(&mut ask("streamed", true).await).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "model_not_found"));
    assert_eq!(read_response(&mut ask("sim-1", false).await).await.status, 200);

    to_streamed.write_all(second_part().as_bytes()).await.unwrap();
    drop(to_streamed);
    let rest = until_content(&mut streamed, "data: [DONE]").await;
    assert!(rest.contains("two"), "{rest}");
    let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    to_twice.write_all(busy.as_bytes()).await.unwrap();
    let twice = read_response(&mut twice).await;
    assert_eq!(twice.status, 200, "from the target that is gone by now: {}", twice.text());

    let log = gateway.stop().await;
    let line = |model: &str, status: u16| {
        let mut of = log.iter().filter(|line| line["model"] == model && line["status"] == status);
        let line = of.next().unwrap_or_else(|| panic!("{model}: {log:#?}"));
        (line["generation"].clone(), line["end"].clone(), line["provider"].clone())
    };
    assert_eq!(line("streamed", 200), (json!(1), json!("complete"), json!("held")));
    assert_eq!(line("twice", 200), (json!(1), json!("complete"), json!("second")));
    assert_eq!(line("sim-1", 200), (json!(2), json!("complete"), json!("sim")));
    let refused = log.iter().find(|line| line["code"] == "model_not_found").unwrap();
    assert_eq!(refused["generation"], 2);
}

/// Reads on until this has come.
async fn until_content(client: &mut BufReader<TcpStream>, wanted: &str) -> String {
    let mut read = String::new();
    soon(wanted, async {
        while !read.contains(wanted) {
            let mut piece = [0; 4096];
            let n = client.read(&mut piece).await.unwrap();
            assert_ne!(n, 0, "ended after {read}");
            read.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        }
    })
    .await;
    read
}
