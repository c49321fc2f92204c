use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Client, PATIENCE, Response};

/// What `env:MASTER_KEY` is for the gateways of the tests.
pub const MASTER_KEY: &str = "sk-gateway-master-0123456789abcdef0123456789abcdef";

/// A configuration as text, in pieces that tests change.
#[derive(Clone)]
pub struct Config {
    pub listen: String,
    pub head: String,
    pub providers: String,
    pub models: String,
}

impl Config {
    /// One provider for both dialects at `address`.
    pub fn for_provider(address: SocketAddr) -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            head: "auth: { anonymous: true }\n".to_owned(),
            providers: format!(
                "  sim: {{ dialect: openai, base_url: \"http://{address}/v1\", api_key: \"env:SIM_KEY\" }}\n  \
                   anth: {{ dialect: anthropic, base_url: \"http://{address}\", api_key: \"env:SIM_KEY\" }}\n"
            ),
            models: "  sim-1: { targets: [{ provider: sim, model: sim-1 }] }\n  \
                     alias: { targets: [{ provider: sim, model: a-longer-name-upstream }] }\n  \
                     claude-sim: { targets: [{ provider: anth, model: claude-sim }] }\n"
                .to_owned(),
        }
    }

    /// Adds lines at the top level.
    pub fn with(mut self, head: &str) -> Self {
        self.head.push_str(head);
        self.head.push('\n');
        self
    }

    /// Replaces the models.
    pub fn with_models(mut self, models: &str) -> Self {
        self.models = models.to_owned();
        self
    }

    pub fn yaml(&self) -> String {
        let Self { listen, head, providers, models } = self;
        let listeners = if head.contains("listeners:") {
            String::new()
        } else {
            format!(
                "listeners:\n  proxy: {{ address: \"{listen}\" }}\n  \
                 admin: {{ address: \"127.0.0.1:0\" }}\n  metrics: {{ address: \"127.0.0.1:0\" }}\n"
            )
        };
        format!("{listeners}{head}providers:\n{providers}models:\n{models}")
    }
}

/// A running gateway. It is killed when dropped.
pub struct Gateway {
    child: Child,
    lines: Mutex<Receiver<String>>,
    log: std::thread::JoinHandle<Vec<Value>>,
    directory: Option<TempDir>,
    root: PathBuf,
    pub proxy: SocketAddr,
    pub admin: SocketAddr,
    pub metrics: SocketAddr,
}

impl Gateway {
    pub fn start(config: &Config) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config)
    }

    /// Starts in a directory that has other files already, and keeps it.
    pub fn start_in(directory: TempDir, config: &Config) -> Self {
        std::fs::write(directory.path().join("sluicegate.yaml"), config.yaml()).unwrap();
        let root = directory.path().to_owned();
        let mut gateway = Self::launch(&root, &root.join("sluicegate.yaml"));
        gateway.directory = Some(directory);
        gateway
    }

    /// Starts with a configuration file that is there already.
    pub fn launch(root: &Path, config: &Path) -> Self {
        let mut gateway = Self::spawn(root, config, &[]);
        gateway.await_listening();
        gateway
    }

    fn spawn(root: &Path, config: &Path, more: &[&str]) -> Self {
        // Another build of the program, such as an optimized one, can be put to the same tests.
        let program = std::env::var_os("SLUICEGATE_PROGRAM");
        let mut command =
            Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_sluicegate").into()));
        command
            .args(["serve", "--config"])
            .arg(config)
            .arg("--upgrade-socket")
            .arg(root.join("handover/upgrade.sock"))
            // What is written by default, such as the ledger's journal, is this gateway's own.
            .current_dir(root)
            .env_clear()
            .env("SIM_KEY", "sk-provider-secret")
            .env("MASTER_KEY", MASTER_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.args(more).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("gateway: {line}");
                sender.send(line).ok();
            }
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let log = std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            child,
            lines: Mutex::new(lines),
            log,
            directory: None,
            root: root.to_owned(),
            proxy: unknown,
            admin: unknown,
            metrics: unknown,
        }
    }

    /// Starts the successor that takes over this one's sockets, once this one is told to give them.
    pub fn successor(&self) -> Self {
        Self::spawn(&self.root, &self.config_path(), &["--upgrade"])
    }

    /// Starts the successor that asks this one for its sockets.
    pub fn successor_that_asks(&self) -> Self {
        let upgrade = format!("--upgrade={}", self.pid());
        let mut successor = Self::spawn(&self.root, &self.config_path(), &[&upgrade]);
        successor.await_listening();
        successor
    }

    pub fn await_listening(&mut self) {
        let line = self.await_log("listening");
        let address = |key: &str| line[key].as_str().unwrap().parse().unwrap();
        self.proxy = address("proxy");
        self.admin = address("admin");
        self.metrics = address("metrics");
    }

    /// The next line on standard error whose message contains `text`.
    pub fn await_log(&self, text: &str) -> Value {
        loop {
            let line = self
                .lines
                .lock()
                .unwrap()
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("the gateway never said {text:?}"));
            if let Ok(line) = serde_json::from_str::<Value>(&line)
                && line["message"].as_str().is_some_and(|message| message.contains(text))
            {
                return line;
            }
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.proxy)
    }

    /// Calls the admin API with the master key.
    pub async fn admin(&self, method: &str, path: &str, body: &Value) -> Response {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        Client::new(self.admin).raw(request).await
    }

    /// A new virtual key with LiteLLM's `fields`.
    pub async fn key(&self, fields: &Value) -> String {
        let created = self.admin("POST", "/key/generate", fields).await;
        assert_eq!(created.status, 200, "{}", created.text());
        created.json()["key"].as_str().unwrap().to_owned()
    }

    /// Calls the proxy's chat completions with a virtual key.
    pub async fn chat(&self, key: &str, body: &Value) -> Response {
        let bearer = format!("Authorization: Bearer {key}\r\n");
        self.client().post_with("/v1/chat/completions", &bearer, body).await
    }

    pub fn config_path(&self) -> PathBuf {
        self.root.join("sluicegate.yaml")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn rewrite_config(&self, config: &Config) {
        // As editors do: a new file in its place.
        let next = self.root.join("next.yaml");
        std::fs::write(&next, config.yaml()).unwrap();
        std::fs::rename(next, self.config_path()).unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself; its exit code and access log.
    pub async fn ended(mut self) -> (i32, Vec<Value>) {
        let directory = self.directory.take();
        let ended = tokio::task::spawn_blocking(move || {
            let deadline = std::time::Instant::now() + PATIENCE;
            while std::time::Instant::now() < deadline {
                if let Some(status) = self.child.try_wait().unwrap() {
                    let log = std::mem::replace(&mut self.log, std::thread::spawn(Vec::new));
                    return (status.code().unwrap_or(-1), log.join().unwrap());
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            panic!("the gateway did not end");
        });
        let result = ended.await.unwrap();
        drop(directory);
        result
    }

    /// Ends it in the regular way; its access log.
    pub async fn stop(self) -> Vec<Value> {
        self.signal("TERM");
        let (code, log) = self.ended().await;
        assert_eq!(code, 0, "exit code");
        log
    }

    /// One figure of `/metrics`: the sum over all series of `name` that contain `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let page = Client::new(self.metrics).get("/metrics").await.text();
        page.lines()
            .filter(|line| line.starts_with(name) && line.contains(labels))
            .filter(|line| matches!(line.as_bytes().get(name.len()), Some(b'{' | b' ')))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

impl Gateway {
    /// Whether `/metrics` has such a series, whatever its value.
    pub async fn has_metric(&self, name: &str, labels: &str) -> bool {
        let page = Client::new(self.metrics).get("/metrics").await.text();
        page.lines().any(|line| line.starts_with(name) && line.contains(labels))
    }

    /// Waits until a figure has this value: a request is counted after its answer has been sent.
    pub async fn until_metric(&self, name: &str, labels: &str, value: f64) {
        super::soon(&format!("{name} {value}"), async {
            while self.metric(name, labels).await < value {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(self.metric(name, labels).await, value, "{name}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An address where nobody listens.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
