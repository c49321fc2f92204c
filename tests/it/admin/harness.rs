//! A server of the admin API, and what it is made of.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::HeaderMap;
use serde_json::{Map, Value, json};
use sluicegate::admin::audit::{AuditLine, AuditSink, AuditUnavailable};
use sluicegate::admin::services::AdminIdentity;
use sluicegate::admin::{Services, serve_admin};
use sluicegate::app::{self, Gateway, Source};
use sluicegate::clock::now_ms;
use sluicegate::config::Env;
use sluicegate::stores::Store;
use sluicegate::stores::records::{
    Key, KeyHash, Limits, Member, MemberRole, Organization, Team, User, UserRole,
};
use sluicegate::telemetry::access_log::AccessLog;
use sluicegate::telemetry::metrics::Metrics;
use sluicegate_filters::caller::{Bearer, Caller};
use sluicegate_filters::denial::Denial;
use sluicegate_filters::identify::jwt::Verified;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{Client, MASTER_KEY, Response, soon};

/// With a master key.
pub const LOCKED: &str = "admin: { master_key: \"env:MASTER_KEY\" }\n";
/// Without one, as a developer may have it.
pub const OPEN: &str = "auth: { anonymous: true }\n";

const REST: &str = r#"
listeners:
  proxy: { address: "127.0.0.1:0" }
  admin: { address: "127.0.0.1:0" }
  metrics: { address: "127.0.0.1:0" }
store: { sqlite: { path: ":memory:" } }
providers:
  openai: { api_key: "env:PROVIDER_KEY" }
models:
  gpt-4o: { targets: [{ provider: openai, model: gpt-4o-2024 }] }
  o3: { targets: [{ provider: openai, model: o3 }] }
"#;

/// A server that ends with the test.
pub struct Admin {
    pub address: SocketAddr,
    pub services: Arc<Services>,
    pub audit: Arc<Recorder>,
    /// Milliseconds by which its clock is ahead.
    pub ahead: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Admin {
    /// One with a master key.
    pub async fn start() -> Self {
        Self::with(LOCKED, &[]).await
    }

    /// One that takes each of `tokens` for its bearer's.
    pub async fn with(head: &str, tokens: &[(&str, Bearer)]) -> Self {
        let text: &'static str = format!("{head}{REST}").leak();
        let variables = [("MASTER_KEY", MASTER_KEY), ("PROVIDER_KEY", "sk-provider-secret")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let source = Source::Embedded { name: "test.yaml", text, env: Env::from_iter(variables) };
        let loaded = source.load().unwrap();
        let opened = app::services::Services::open(
            &loaded.loaded.config,
            Metrics::new().unwrap(),
            AccessLog::start(std::io::sink()).unwrap(),
            &tokio::runtime::Handle::current(),
        )
        .await
        .unwrap();
        let gateway = Gateway::new(source, loaded, opened).unwrap();
        let tokens = tokens.iter().map(|(text, bearer)| ((*text).to_owned(), bearer.clone()));
        let (audit, ahead) = (Arc::new(Recorder::default()), Arc::new(AtomicI64::new(0)));
        let mut services = Services::of(&gateway);
        services.audit = audit.clone();
        services.identity = Arc::new(Identities { gateway, tokens: tokens.collect() });
        let clock = ahead.clone();
        services.clock = Box::new(move || now_ms() + clock.load(Ordering::Relaxed));
        let services = Arc::new(services);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(serve_admin(services.clone(), listener));
        Self { address, services, audit, ahead, task }
    }

    pub fn store(&self) -> &dyn Store {
        self.services.store().unwrap()
    }

    /// Sends a request with these header lines, each as `name: value`.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: Option<&str>,
    ) -> Response {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for header in headers {
            head += &format!("{header}\r\n");
        }
        if let Some(body) = body {
            head += "Content-Type: application/json\r\n";
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        head += body.unwrap_or_default();
        Client::new(self.address).raw(head).await
    }

    /// A request with a bearer's credential.
    pub async fn as_(&self, bearer: &str, method: &str, path: &str, body: &Value) -> Response {
        let header = format!("Authorization: Bearer {bearer}");
        let body = (!body.is_null()).then(|| body.to_string());
        self.send(method, path, &[&header], body.as_deref()).await
    }

    /// A request with the master key.
    pub async fn master(&self, method: &str, path: &str, body: &Value) -> Response {
        self.as_(MASTER_KEY, method, path, body).await
    }

    /// Asks for the bearer's own key until the answer has this status: what is remembered of credentials may
    /// be a moment old.
    pub async fn own_key_until(&self, bearer: &str, status: u16) {
        soon(&format!("status {status}"), async {
            while self.as_(bearer, "GET", "/admin/v1/keys/self", &nothing()).await.status != status
            {
            }
        })
        .await;
    }

    pub async fn get(&self, path: &str) -> Response {
        self.master("GET", path, &Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        self.master("POST", path, &body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Response {
        self.master("PATCH", path, &body).await
    }

    /// A key made with the master key: its id and its text.
    pub async fn key(&self, fields: Value) -> (String, String) {
        let made = self.post("/admin/v1/keys", fields).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let text = |field: &str| made.json()[field].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    /// Stores a team with one administrator.
    pub async fn team(&self, id: &str, administrator: &str) -> Team {
        let members = vec![Member { user: administrator.to_owned(), role: MemberRole::Admin }];
        let team = Team {
            id: id.to_owned(),
            alias: None,
            organization: None,
            members,
            models: Vec::new(),
            blocked: false,
            tags: Vec::new(),
            metadata: Map::new(),
            limits: Limits::default(),
            created_at: 1,
            updated_at: 1,
            version: 1,
        };
        self.store().create_team(&team).await.unwrap();
        team
    }

    pub async fn user(&self, id: &str, role: UserRole) -> User {
        let user = User {
            id: id.to_owned(),
            email: None,
            alias: None,
            role,
            organization: None,
            models: Vec::new(),
            blocked: false,
            tags: Vec::new(),
            metadata: Map::new(),
            limits: Limits::default(),
            created_at: 1,
            updated_at: 1,
            version: 1,
        };
        self.store().create_user(&user).await.unwrap();
        user
    }

    pub async fn organization(&self, id: &str) {
        let organization = Organization {
            id: id.to_owned(),
            alias: None,
            models: Vec::new(),
            blocked: false,
            tags: Vec::new(),
            metadata: Map::new(),
            limits: Limits::default(),
            created_at: 1,
            updated_at: 1,
            version: 1,
        };
        self.store().create_organization(&organization).await.unwrap();
    }

    /// Stores a key; its text.
    pub async fn stored_key(&self, user: Option<&str>, team: Option<&str>) -> (Key, String) {
        let issued = self.services.hasher.issue(&self.services.random().unwrap());
        let key = Key {
            id: Uuid::now_v7(),
            hash: KeyHash(issued.hash),
            previous: None,
            hint: issued.hint,
            alias: None,
            user: user.map(str::to_owned),
            team: team.map(str::to_owned),
            organization: None,
            models: Vec::new(),
            routes: Vec::new(),
            expires_at: None,
            blocked: false,
            tags: Vec::new(),
            metadata: Map::new(),
            limits: Limits::default(),
            created_at: now_ms(),
            updated_at: now_ms(),
            created_by: "master".to_owned(),
            version: 1,
        };
        self.store().create_key(&key).await.unwrap();
        (key, issued.text)
    }

    /// How many changes the store has seen.
    pub async fn changes(&self) -> i64 {
        self.store().changes(None).await.unwrap().last
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a checked token says of its bearer.
pub fn bearer(user: Option<&str>, team: Option<&str>, roles: &[&str]) -> Bearer {
    Bearer {
        user: user.map(str::to_owned),
        team: team.map(str::to_owned),
        roles: roles.iter().map(|&role| role.to_owned()).collect(),
        ..Bearer::default()
    }
}

/// Tokens of the test's own, and else what the gateway says.
struct Identities {
    gateway: Arc<Gateway>,
    tokens: HashMap<String, Bearer>,
}

#[async_trait]
impl AdminIdentity for Identities {
    async fn identify(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Arc<Caller>, Denial> {
        let sent = headers.get("authorization").and_then(|value| value.to_str().ok());
        match sent.and_then(|sent| self.tokens.get(sent.strip_prefix("Bearer ")?)) {
            Some(bearer) => {
                let verified = Verified {
                    issuer: 0,
                    bearer: bearer.clone(),
                    subject: bearer.user.clone(),
                    until_ms: i64::MAX,
                };
                Ok(Arc::new(verified.into_caller(bearer.clone())))
            }
            None => self.gateway.identify(headers, peer).await,
        }
    }
}

/// An audit log that one can look into, and break.
#[derive(Default)]
pub struct Recorder {
    lines: Mutex<Vec<AuditLine>>,
    broken: AtomicBool,
}

impl Recorder {
    /// The lines since the last look.
    pub fn taken(&self) -> Vec<AuditLine> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    pub fn break_it(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }
}

#[async_trait]
impl AuditSink for Recorder {
    async fn commit(&self, line: AuditLine) -> Result<(), AuditUnavailable> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(AuditUnavailable("the disk is full".to_owned()));
        }
        self.note(line);
        Ok(())
    }

    fn note(&self, line: AuditLine) {
        self.lines.lock().unwrap().push(line);
    }
}

/// Status, code and field of an error of ours.
pub fn error(answer: &Response) -> (u16, String, String) {
    let error = &answer.json()["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("field"))
}

/// Status and message of an error.
pub fn message(answer: &Response) -> (u16, String) {
    (answer.status, answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned())
}

/// No body.
pub fn nothing() -> Value {
    json!(null)
}
