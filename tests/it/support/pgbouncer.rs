use std::io::BufReader;
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::free_address;
use super::postgres::{PASSWORD, Postgres, as_postgres, public_directory, said, signal};

/// A PgBouncer before a PostgreSQL server. It gives a client another session for every transaction.
pub struct PgBouncer {
    _directory: TempDir,
    address: SocketAddr,
    server: Child,
}

impl PgBouncer {
    /// `sessions`: how many of the server's sessions all clients of one database share.
    pub fn start(postgres: &Postgres, sessions: u32) -> Self {
        Self::start_ignoring(postgres, sessions, "")
    }

    /// `ignored`: settings of a client that are forgotten. Other settings that it does not know it
    /// refuses.
    pub fn start_ignoring(postgres: &Postgres, sessions: u32, ignored: &str) -> Self {
        let directory = public_directory();
        let (address, port) = (free_address(), postgres.address().port());
        let users = directory.path().join("users.txt");
        std::fs::write(&users, format!("\"postgres\" \"{PASSWORD}\"\n")).unwrap();
        let settings = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={port}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\n\
             auth_type = md5\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {sessions}\nmax_client_conn = 500\n\
             ignore_startup_parameters = {ignored}\n",
            address.port(),
            users.display(),
        );
        std::fs::write(&settings, text).unwrap();
        let mut server =
            as_postgres("pgbouncer").arg(&settings).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(server.stderr.take().unwrap());
        assert!(said(log, "pgbouncer", "process up"), "PgBouncer did not start");
        Self { _directory: directory, address, server }
    }

    pub fn url_of(&self, database: &str) -> String {
        let port = self.address.port();
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{database}?sslmode=disable")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // At once.
        signal(&self.server, "TERM");
        self.server.wait().ok();
    }
}
