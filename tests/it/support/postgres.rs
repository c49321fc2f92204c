use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use super::{PATIENCE, free_address};

/// The superuser's password.
pub const PASSWORD: &str = "a-password-for-tests";

/// A PostgreSQL server of the test's own. It ends, and its data goes, when this is dropped.
///
/// PostgreSQL refuses to run as root. There it runs as the user `postgres`, whom Debian's package makes.
pub struct Postgres {
    directory: TempDir,
    address: SocketAddr,
    tls: bool,
    server: Option<Child>,
    databases: AtomicUsize,
}

impl Postgres {
    /// Starts a server with one empty database.
    pub fn start() -> Self {
        Self::launch(false)
    }

    /// Starts a server that takes TLS only. Its certificate is for `localhost` and from an authority of
    /// its own.
    pub fn start_with_tls() -> Self {
        Self::launch(true)
    }

    fn launch(tls: bool) -> Self {
        let directory = public_directory();
        initialize(directory.path());
        let mut postgres = Self {
            directory,
            address: free_address(),
            tls,
            server: None,
            databases: AtomicUsize::new(0),
        };
        if tls {
            postgres.install_certificate();
        }
        postgres.restart();
        postgres
    }

    /// A URL for the superuser.
    pub fn url(&self) -> String {
        self.url_of("postgres", PASSWORD, "postgres")
    }

    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        let port = self.address.port();
        let parameters = if self.tls {
            format!("?sslmode=verify-full&sslrootcert={}", text(&self.authority()))
        } else {
            "?sslmode=disable".to_owned()
        };
        format!("postgres://{user}:{password}@localhost:{port}/{database}{parameters}")
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the authority that the server's own is from.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Makes another empty database, and gives its name.
    pub async fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        name
    }

    /// Runs statements as the superuser.
    pub async fn execute(&self, database: &str, sql: &str) {
        let url = self.url_of("postgres", PASSWORD, database);
        let options: PgConnectOptions = url.parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Ends the server as a crash does.
    pub fn kill(&mut self) {
        let sessions = self.sessions();
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
        // They would notice by themselves, but go on answering until then.
        for session in sessions {
            Command::new("kill").args(["-s", "KILL", &session]).status().unwrap();
            while is_running(&session) {
                std::thread::yield_now();
            }
        }
    }

    /// Ends the server in the regular way; connections are closed.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            signal(&server, "INT");
            server.wait().unwrap();
        }
    }

    /// Lets the server stand still, with all its sessions.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// The end of a pause.
    pub fn go_on(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, signal: &str) {
        let server = self.server.as_ref().map(|server| server.id().to_string());
        for process in self.sessions().into_iter().chain(server) {
            run("kill", &["-s", signal, &process]);
        }
    }

    /// The server's other processes.
    fn sessions(&self) -> Vec<String> {
        let Some(server) = self.server.as_ref().map(Child::id) else { return Vec::new() };
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        children.unwrap().split_whitespace().map(str::to_owned).collect()
    }

    /// Starts the server again on the same data and address.
    pub fn restart(&mut self) {
        self.stop();
        let deadline = Instant::now() + PATIENCE;
        // Until the last session of a killed server has noticed, the data is in use.
        while self.server.is_none() {
            assert!(Instant::now() < deadline, "PostgreSQL did not start");
            self.server = self.try_start("database system is ready to accept connections");
        }
    }

    /// A standby of this server that streams from it.
    pub fn standby(&self) -> Self {
        let directory = public_directory();
        let copied = as_postgres(text(&program("pg_basebackup")))
            .args(["-D", text(&directory.path().join("data")), "-R", "-X", "stream"])
            .args(["-c", "fast", "--no-sync", "-d", &self.url()])
            .status()
            .unwrap();
        assert!(copied.success(), "pg_basebackup");
        let mut standby = Self {
            directory,
            address: free_address(),
            tls: self.tls,
            server: None,
            databases: AtomicUsize::new(0),
        };
        standby.server = standby.try_start("database system is ready to accept read-only");
        assert!(standby.server.is_some(), "the standby did not start");
        standby
    }

    /// From now on, what is committed is on a standby, too.
    pub async fn wait_for_standbys(&self) {
        let setting = "ALTER SYSTEM SET synchronous_standby_names = '*'";
        self.execute("postgres", setting).await;
        self.execute("postgres", "SELECT pg_reload_conf()").await;
        let options: PgConnectOptions = self.url().parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        let waits = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        super::soon("a standby that is waited for", async {
            while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut connection).await.unwrap() == 0
            {
            }
        })
        .await;
        connection.close().await.unwrap();
    }

    /// Makes a standby the primary.
    pub async fn promote(&self) {
        self.execute("postgres", "SELECT pg_promote()").await;
    }

    fn try_start(&self, ready: &str) -> Option<Child> {
        let data = self.directory.path().join("data");
        let mut command = as_postgres(text(&program("postgres")));
        command.args(["-D", text(&data), "-p", &self.address.port().to_string()]);
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=400",
            "shared_buffers=32MB",
            "log_line_prefix=",
        ];
        for setting in settings {
            command.args(["-c", setting]);
        }
        if self.tls {
            command.args(["-c", "ssl=on"]);
        }
        let mut server = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(server.stderr.take().unwrap());
        if said(log, "postgres", ready) {
            return Some(server);
        }
        server.wait().unwrap();
        None
    }

    /// Has another authority sign another certificate, and the server show it from now on. Connections
    /// that are open stay.
    pub async fn rotate_certificate(&self) {
        self.install_certificate();
        signal(self.server.as_ref().unwrap(), "HUP");
        let options: PgConnectOptions = self.url().parse().unwrap();
        super::soon("the other certificate", async {
            // The file has the new authority alone.
            while options.connect().await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn install_certificate(&self) {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = authority.self_signed(&authority_key).unwrap();
        std::fs::write(self.authority(), issuer.pem()).unwrap();

        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let signer = rcgen::Issuer::new(authority, authority_key);
        let certificate =
            rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &signer).unwrap();
        let data = self.directory.path().join("data");
        std::fs::write(data.join("server.crt"), certificate.pem()).unwrap();
        std::fs::write(data.join("server.key"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(data.join("server.key"), PermissionsExt::from_mode(0o600))
            .unwrap();
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 md5\n").unwrap();
        give_to_postgres(&data.join("server.crt"));
        give_to_postgres(&data.join("server.key"));
        give_to_postgres(&data.join("pg_hba.conf"));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // At once, with its sessions.
            signal(server, "QUIT");
            server.wait().ok();
        }
    }
}

/// Makes the data of a server.
fn initialize(directory: &Path) {
    let password = directory.join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    // SCRAM takes thousands of hashes, and a program that is not optimized takes long for them. Where
    // a user's password is stored for SCRAM, `md5` means SCRAM.
    let made = as_postgres(text(&program("initdb")))
        .args(["-D", text(&directory.join("data"))])
        .args(["-U", "postgres", "--pwfile", text(&password)])
        .args(["--auth=md5", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success(), "initdb");
}

/// A directory that the server's user may write into.
pub fn public_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    give_to_postgres(directory.path());
    directory
}

fn give_to_postgres(path: &Path) {
    if is_root() {
        run("chown", &["postgres:", text(path)]);
    }
}

/// A command that runs as a user that is not root.
pub fn as_postgres(program: &str) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--", program]);
        command
    } else {
        Command::new(program)
    };
    // Debian has PgBouncer where only root looks.
    let path = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
    command.stdin(Stdio::null()).current_dir("/").env("PATH", path);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Debian keeps each version's programs in a directory of its own.
pub fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .max();
    match newest {
        Some((_, path)) => path.join("bin").join(name),
        None => PathBuf::from(name),
    }
}

/// Passes a server's log on, and waits for one line. `false`: it ended without it.
pub fn said(log: impl BufRead + Send + 'static, server: &'static str, wanted: &str) -> bool {
    let mut lines = log.lines().map_while(Result::ok);
    for line in lines.by_ref() {
        eprintln!("{server}: {line}");
        if line.contains(wanted) {
            // Somebody must go on reading, or the server stops when the pipe is full.
            std::thread::spawn(move || {
                for line in lines {
                    eprintln!("{server}: {line}");
                }
            });
            return true;
        }
    }
    false
}

/// Not if it is only kept for a parent that has not asked about it yet.
fn is_running(process: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

pub fn signal(server: &Child, signal: &str) {
    run("kill", &["-s", signal, &server.id().to_string()]);
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
