//! Reloads: all or nothing, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::AsyncWriteExt;

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
    let gateway = Gateway::launch(root.path(), &mount.join("sluicegate.yaml"), false);
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
            set.spawn(run(client, headers.to_owned(), number, stop.clone(), done.clone()));
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
async fn run(
    client: Client,
    headers: String,
    number: usize,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut stream = client.connect().await;
    while !stop.load(Ordering::Relaxed) {
        let streamed = number.is_multiple_of(2);
        let request = Client::request(
            "/v1/chat/completions",
            &headers,
            &chat(streamed, "tokens=20,token_ms=1"),
        );
        if let Err(error) = stream.write_all(&request).await {
            failures.push(error.to_string());
            stream = client.connect().await;
            continue;
        }
        let answer = read_response(&mut stream).await;
        if answer.status != 200 || answer.cut || (streamed && !answer.text().contains("[DONE]")) {
            failures.push(format!("{answer:?}"));
        }
        if answer.closes() {
            stream = client.connect().await;
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
