//! OpenBao processes of the tests' own, and what an administrator does to them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, until};

/// The root token of servers that keep nothing.
const ROOT: &str = "root-of-a-test";

/// A server. It ends, and its data goes, when this is dropped.
pub struct Bao {
    directory: TempDir,
    address: SocketAddr,
    arguments: Vec<String>,
    root: String,
    /// Of a server that keeps its data, and is sealed whenever it starts.
    unseal_key: Option<String>,
    namespace: Option<&'static str>,
    server: Option<Child>,
}

impl Bao {
    /// Starts a server that keeps its data in memory and is never sealed.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same with more in its configuration.
    pub fn start_with(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bao.hcl");
        std::fs::write(&file, settings).unwrap();
        let address = free_address();
        let arguments = [
            "server".to_owned(),
            "-dev".to_owned(),
            "-dev-no-store-token".to_owned(),
            format!("-dev-root-token-id={ROOT}"),
            format!("-dev-listen-address={address}"),
            format!("-config={}", file.display()),
        ];
        let mut bao = Self {
            directory,
            address,
            arguments: arguments.to_vec(),
            root: ROOT.to_owned(),
            unseal_key: None,
            namespace: None,
            server: None,
        };
        bao.restart();
        bao
    }

    /// Starts a server that keeps its data on disk.
    pub fn start_durable() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (address, cluster) = (free_address(), free_address());
        let data = directory.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let settings = format!(
            r#"
            storage "raft" {{
              path = "{}"
              node_id = "one"
              performance_multiplier = 1
            }}
            listener "tcp" {{
              address = "{address}"
              tls_disable = true
            }}
            api_addr = "http://{address}"
            cluster_addr = "http://{cluster}"
            "#,
            data.display()
        );
        let file = directory.path().join("bao.hcl");
        std::fs::write(&file, settings).unwrap();
        let mut bao = Self {
            directory,
            address,
            arguments: vec!["server".to_owned(), format!("-config={}", file.display())],
            root: String::new(),
            unseal_key: None,
            namespace: None,
            server: None,
        };
        bao.launch();
        until("OpenBao", || bao.ask("GET", "sys/seal-status", None).is_ok());
        let made = bao.put("sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 }));
        bao.root = made["root_token"].as_str().unwrap().to_owned();
        bao.unseal_key = Some(made["keys_base64"][0].as_str().unwrap().to_owned());
        bao.unseal();
        bao.put("sys/mounts/secret", &json!({ "type": "kv", "options": { "version": "2" } }));
        bao
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn root_token(&self) -> &str {
        &self.root
    }

    /// What follows is done within a namespace.
    pub fn enter(&mut self, namespace: &'static str) {
        self.namespace = Some(namespace);
    }

    /// Ends the server as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts the server again on the same address and, if it keeps any, the same data.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
        if self.unseal_key.is_some() {
            until("OpenBao", || self.ask("GET", "sys/seal-status", None).is_ok());
            self.unseal();
        }
        until("OpenBao", || self.is_active());
    }

    /// Has the server read its certificate anew.
    pub fn reload(&self) {
        let id = self.server.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &id]).status().unwrap().success());
    }

    pub fn seal(&self) {
        self.put("sys/seal", &json!({}));
    }

    pub fn unseal(&self) {
        let key = self.unseal_key.as_ref().unwrap();
        self.put("sys/unseal", &json!({ "key": key }));
        until("an unsealed OpenBao", || self.is_active());
    }

    fn is_active(&self) -> bool {
        self.ask("GET", "sys/health", None).is_ok_and(|(status, _)| status == 200)
    }

    /// Writes a secret of version 2.
    pub fn write_secret(&self, path: &str, fields: &Value) {
        self.put(&format!("secret/data/{path}"), &json!({ "data": fields }));
    }

    /// Asks for something that must be granted.
    pub fn get(&self, path: &str) -> Value {
        self.granted("GET", path, None)
    }

    /// Writes something that must be granted.
    pub fn put(&self, path: &str, body: &Value) -> Value {
        self.granted("POST", path, Some(body))
    }

    fn granted(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(method, path, body).unwrap();
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap_or_default()
    }

    /// One request, by hand: what is tested must not be what tests.
    fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let namespace = self.namespace.unwrap_or_default();
        let head = format!(
            "{method} /v1/{path} HTTP/1.0\r\nhost: {}\r\nx-vault-token: {}\r\n\
             x-vault-namespace: {namespace}\r\ncontent-length: {}\r\n\r\n",
            self.address,
            self.root,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        Ok((status, body.unwrap_or_default()))
    }

    fn launch(&mut self) {
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let server = Command::new(program())
            .args(&self.arguments)
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.server = Some(server.expect("no `bao`: run `make test-tools`"));
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill().ok();
            server.wait().ok();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log"));
            eprintln!("{}", log.unwrap_or_default());
        }
    }
}

/// Where `make test-tools` puts it, or wherever the system has it.
fn program() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut ours = above.map(|directory| directory.join(".tools/openbao/bao"));
    ours.find(|ours| ours.exists()).unwrap_or_else(|| "bao".into())
}

pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
