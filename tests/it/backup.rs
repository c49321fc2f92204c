//! Backup, loss of everything, restore: keys, rows, usage and counters are there again, to the last unit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::postgres::{Postgres, program};
use crate::support::{Client, Config, Gateway, chat, provider, soon};

const CLIENTS: usize = 8;

/// A store with the scripts that copy it.
enum Store {
    File(PathBuf),
    Server(Postgres),
}

impl Store {
    /// With the roles that production has.
    async fn server() -> Self {
        let store = Self::Server(Postgres::start());
        store.make_database().await;
        store
    }

    fn postgres(&self) -> &Postgres {
        match self {
            Self::Server(postgres) => postgres,
            Self::File(_) => unreachable!("asked of a server only"),
        }
    }

    async fn make_database(&self) {
        let postgres = self.postgres();
        postgres.execute("postgres", "CREATE DATABASE gate").await;
        self.give_roles().await;
    }

    async fn give_roles(&self) {
        let postgres = self.postgres();
        postgres.execute("gate", include_str!("../../sql/roles.sql")).await;
        let passwords = "SET password_encryption = 'md5'; \
             ALTER ROLE sluicegate_migrate PASSWORD 'secret'; ALTER ROLE sluicegate_run PASSWORD 'secret'";
        postgres.execute("gate", passwords).await;
    }

    fn yaml(&self, role: &str) -> String {
        match self {
            Self::File(path) => format!("{{ sqlite: {{ path: \"{}\" }} }}", path.display()),
            Self::Server(postgres) => {
                let url = postgres.url_of(role, "secret", "gate");
                format!("{{ postgres: {{ url: \"{url}\" }} }}")
            }
        }
    }

    /// One of the scripts, with what names the store.
    fn script(&self, name: &str) -> Command {
        let mut command =
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name));
        match self {
            Self::File(path) => _ = command.arg("--sqlite").arg(path),
            Self::Server(postgres) => {
                command.arg("--postgres");
                command
                    .env("DATABASE_URL", postgres.url_of("sluicegate_migrate", "secret", "gate"));
            }
        }
        if let Some(programs) = program("psql").parent() {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut path: Vec<_> = std::env::split_paths(&path).collect();
            path.insert(0, programs.to_owned());
            command.env("PATH", std::env::join_paths(path).unwrap());
        }
        command
    }

    async fn lose(&self) {
        match self {
            Self::File(path) => {
                for suffix in ["", "-wal", "-shm"] {
                    std::fs::remove_file(format!("{}{suffix}", path.display())).ok();
                }
            }
            Self::Server(postgres) => {
                postgres.execute("postgres", "DROP DATABASE gate WITH (FORCE)").await;
                self.make_database().await;
            }
        }
    }

    /// What a statement that both databases understand finds, one text a row.
    fn query(&self, sql: &str) -> Vec<String> {
        let mut command = match self {
            Self::File(path) => {
                let mut command = Command::new("sqlite3");
                command.arg("-readonly").arg(path);
                command
            }
            Self::Server(postgres) => {
                let mut command = Command::new(program("psql"));
                command.args(["-XAt", "-v", "ON_ERROR_STOP=1", "-d"]);
                command.arg(postgres.url_of("sluicegate_migrate", "secret", "gate")).arg("-c");
                command
            }
        };
        said(command.arg(sql)).lines().map(str::to_owned).collect()
    }

    /// All of each attempt's row, by its request and number.
    fn rows(&self) -> BTreeMap<String, String> {
        let rows = self.query("SELECT * FROM ledger");
        let id = |row: &str| row.splitn(3, '|').take(2).collect::<Vec<_>>().join(" ");
        rows.into_iter().map(|row| (id(&row), row)).collect()
    }

    /// Of each counter of money: what is used, and what is leased.
    fn counters(&self) -> BTreeMap<String, (i64, i64)> {
        let rows = self.query("SELECT counter, buckets, leases FROM quota_counters");
        let money = rows.iter().filter(|row| row.contains("|nano_usd|"));
        money
            .map(|row| {
                let mut columns = row.rsplitn(3, '|');
                let (leases, buckets) = (columns.next().unwrap(), columns.next().unwrap());
                let leases: BTreeMap<String, Value> = serde_json::from_str(leases).unwrap();
                let buckets: BTreeMap<String, i64> = serde_json::from_str(buckets).unwrap();
                let leased = leases.values().map(|lease| lease["leased"].as_i64().unwrap()).sum();
                (columns.next().unwrap().to_owned(), (buckets.values().sum(), leased))
            })
            .collect()
    }

    /// What rows cost together.
    fn cost(&self, of: &str) -> i64 {
        self.query(&format!("SELECT COALESCE(sum(cost), 0) FROM ledger WHERE {of}"))[0]
            .parse()
            .unwrap()
    }
}

/// Standard output of a command that succeeds.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where a gateway is, and what must come back.
struct Place {
    store: Store,
    root: TempDir,
    config: Config,
}

impl Place {
    async fn new(store: Store, root: TempDir, provider: std::net::SocketAddr) -> Self {
        let config = |role| {
            let mut config = Config::for_provider(provider);
            config.head = format!(
                "admin: {{ master_key: \"env:MASTER_KEY\" }}\nstore: {}\n\
                 ledger: {{ directory: \"{}\" }}\naudit: {{ directory: \"{}\" }}\n\
                 quotas: [{{ scope: gateway, unit: usd, limit: \"1000\", window: lifetime }}]\n",
                store.yaml(role),
                root.path().join("ledger").display(),
                root.path().join("audit").display(),
            );
            config.with_models(
                "  sim-1: { targets: [{ provider: sim, model: sim-1 }], price: { input: \"10\", output: \"20\" } }\n",
            )
        };
        if matches!(store, Store::Server(_)) {
            let gateway = Gateway::start(&config("sluicegate_migrate"));
            assert_eq!(gateway.client().get("/health/ready").await.status, 200);
            gateway.stop().await;
            store.give_roles().await;
        }
        let config = config("sluicegate_run");
        Self { store, root, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn back_up(&self, to: &str) {
        let mut command = self.store.script("backup.sh");
        command.arg("--to").arg(self.path(to)).arg("--ledger").arg(self.path("ledger"));
        said(command.arg("--audit").arg(self.path("audit")));
    }

    /// Everything is gone, and put back. The gateway has replayed the journals when this returns.
    async fn lose_and_restore(&self, from: &str) -> Gateway {
        self.store.lose().await;
        for directory in ["ledger", "audit"] {
            std::fs::remove_dir_all(self.path(directory)).unwrap();
        }
        let mut command = self.store.script("restore.sh");
        command.arg("--from").arg(self.path(from)).arg("--ledger").arg(self.path("ledger"));
        said(command.arg("--audit").arg(self.path("audit")));
        let gateway = Gateway::start(&self.config);
        soon("the journals of the dead", async {
            while std::fs::read_dir(self.path("ledger")).unwrap().count() > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        gateway
    }

    fn audit_is_sound(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        said(command.args(["audit", "verify"]).arg(self.path("audit")));
    }
}

/// A key of its own and one of a team's, each with a budget.
struct Keys {
    ids: [String; 2],
    secrets: [String; 2],
}

impl Keys {
    async fn make(gateway: &Gateway) -> Self {
        let team = json!({"team_id": "blue", "max_budget": 300});
        let made = gateway.admin("POST", "/team/new", &team).await;
        assert_eq!(made.status, 200, "{}", made.text());
        let (mut ids, mut secrets) = (Vec::new(), Vec::new());
        for (alias, team) in [("own", Value::Null), ("of-blue", json!("blue"))] {
            let fields = json!({"key_alias": alias, "team_id": team, "max_budget": 200});
            secrets.push(gateway.key(&fields).await);
            let listed = gateway.admin("GET", "/admin/v1/keys", &Value::Null).await.json();
            let items = listed["items"].as_array().unwrap();
            let key = items.iter().find(|key| key["alias"] == alias).unwrap();
            ids.push(key["id"].as_str().unwrap().to_owned());
        }
        Self { ids: ids.try_into().unwrap(), secrets: secrets.try_into().unwrap() }
    }

    /// What the administrator sees of usage and limits.
    async fn seen(&self, gateway: &Gateway) -> Vec<Value> {
        let get = async |path: String| {
            let answer = gateway.admin("GET", &path, &Value::Null).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            answer.json()
        };
        let mut seen = vec![
            get("/admin/v1/usage?group_by=day,key,team,model".to_owned()).await,
            get("/admin/v1/usage/rows?limit=1000".to_owned()).await,
        ];
        let keys = self.ids.iter().map(|id| format!("key:{id}"));
        for scope in keys.chain(["team:blue".to_owned(), "gateway".to_owned()]) {
            let view = get(format!("/admin/v1/quotas/{scope}")).await;
            let quotas = view["quotas"].as_array().unwrap();
            let settled = quotas.iter().map(|it| json!([it["counter"], it["settled"], it["held"]]));
            seen.push(settled.collect());
        }
        seen
    }
}

fn request(tokens: usize) -> Value {
    let mut body = chat(false, &format!("tokens={tokens}"));
    body["max_tokens"] = json!(tokens);
    body
}

/// Clients that go on asking until `enough`. Gives the identifiers of what was answered.
fn load(gateway: &Gateway, keys: &Keys, enough: &Arc<AtomicBool>) -> JoinSet<Vec<String>> {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (client, enough) = (gateway.client(), enough.clone());
        let bearer = format!("Authorization: Bearer {}\r\n", keys.secrets[number % 2]);
        clients.spawn(async move {
            let mut answered = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                let body = request(3 + answered.len() % 5);
                let answer = ask(&client, &bearer, &body).await;
                answered.push(answer);
            }
            answered
        });
    }
    clients
}

async fn ask(client: &Client, bearer: &str, body: &Value) -> String {
    let answer = client.post_with("/v1/chat/completions", bearer, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-request-id").unwrap().to_owned()
}

async fn everything_comes_back(store: Store, root: TempDir) {
    let provider = provider().await;
    let place = Place::new(store, root, provider.address()).await;
    let store = &place.store;
    let gateway = Gateway::start(&place.config);
    let keys = Keys::make(&gateway).await;

    // Once while nothing is under way: what an administrator sees is the same to the last unit.
    for number in 0..30 {
        let bearer = format!("Authorization: Bearer {}\r\n", keys.secrets[number % 2]);
        ask(&gateway.client(), &bearer, &request(3 + number % 5)).await;
    }
    let (quiet, seen) = soon("all to be written down", async {
        loop {
            let (rows, seen) = (store.rows(), keys.seen(&gateway).await);
            // Each counter hears of what was used at its own time.
            let settled = |at: usize| seen[at][0][1]["nano_usd"].as_i64().unwrap();
            let quiet = seen[2..].iter().all(|it| it[0][2]["nano_usd"] == 0);
            let [first, second, team, all] = [2, 3, 4, 5].map(settled);
            let told = all == store.cost("true") && first + second == all && team == second;
            if rows.len() == 30 && quiet && told {
                return (rows, seen);
            }
        }
    })
    .await;
    place.back_up("quiet");

    // And once under load.
    let enough = Arc::new(AtomicBool::new(false));
    let clients = load(&gateway, &keys, &enough);
    provider.wait_until(|stats| stats.total.completed >= 130).await;
    let early: BTreeSet<String> = store.rows().into_keys().collect();
    let busy = tokio::task::block_in_place(|| {
        place.back_up("busy");
        provider.ledger().total.completed
    });
    provider.wait_until(|stats| stats.total.completed >= busy + 50).await;
    enough.store(true, Ordering::Relaxed);
    let answered: usize = clients.join_all().await.iter().map(Vec::len).sum();
    gateway.stop().await;
    let all = store.rows();
    assert_eq!(all.len(), 30 + answered);

    let gateway = place.lose_and_restore("quiet").await;
    assert_eq!(store.rows(), quiet);
    assert_eq!(keys.seen(&gateway).await, seen);
    assert_eq!(gateway.chat(&keys.secrets[1], &request(5)).await.status, 200, "the key is good");
    gateway.stop().await;
    place.audit_is_sound();

    let gateway = place.lose_and_restore("busy").await;
    gateway.stop().await;
    place.audit_is_sound();
    let restored = store.rows();
    assert!(early.iter().all(|id| restored.contains_key(id)), "rows from before are there");
    // What was under way at that moment is charged what it held, and nothing else differs.
    let other: Vec<_> = restored.iter().filter(|(id, row)| all.get(*id) != Some(*row)).collect();
    assert!(other.iter().all(|(_, row)| row.contains("|crashed|")), "{other:?}");
    assert!(other.len() <= CLIENTS, "{other:?}");
    assert!(restored.len() < all.len(), "it is of a moment under load");
    let daily = "SELECT sum(attempts), sum(cost) FROM ledger_daily";
    let total = store.cost("true");
    assert_eq!(store.query(daily), [format!("{}|{total}", restored.len())]);
    for (counter, counted) in store.counters() {
        let of = match counter.split('|').next().unwrap() {
            scope if scope.starts_with("gateway") => "true".to_owned(),
            scope if scope.starts_with("team") => "team_id = 'blue'".to_owned(),
            scope => {
                let id = keys.ids.iter().find(|id| scope.contains(*id)).unwrap();
                format!("key_id = '{id}'")
            }
        };
        assert_eq!(counted, (store.cost(&of), 0), "{counter}: the counter agrees with the ledger");
    }
    assert_eq!(store.counters().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_comes_back_to_the_last_unit() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::File(root.path().join("gate.db"));
    everything_comes_back(store, root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_comes_back_to_the_last_unit() {
    everything_comes_back(Store::server().await, tempfile::tempdir().unwrap()).await;
}
