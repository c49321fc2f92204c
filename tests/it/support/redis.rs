use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::postgres::{said, signal};
use super::{PATIENCE, free_address};

/// What sentinels call the primary.
pub const MASTER: &str = "main";

/// A Redis server of the test's own, or a sentinel. It ends, and its data goes, when this is dropped.
pub struct Redis {
    directory: TempDir,
    address: SocketAddr,
    settings: Vec<String>,
    server: Option<Child>,
}

impl Redis {
    /// Starts an empty server that keeps nothing on its disk.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts an empty server whose every write is on its disk before it is answered.
    pub fn start_durable() -> Self {
        Self::start_with(&["appendonly yes", "appendfsync always"])
    }

    /// Starts a server that copies another.
    pub fn start_replica(of: &Self) -> Self {
        let port = of.address.port();
        let replica = Self::start_with(&[&format!("replicaof 127.0.0.1 {port}")]);
        until("a copy", || replica.command(&["ROLE"]).contains(&"connected".to_owned()));
        replica
    }

    /// Starts a sentinel of `primary` that decides alone, and soon.
    pub fn start_sentinel(primary: &Self) -> Self {
        Self::start_sentinel_of(primary, 1)
    }

    /// Starts a sentinel of a primary that is not there.
    pub fn start_sentinel_alone(host: &str) -> Self {
        let monitor = format!("sentinel monitor {MASTER} {host} 6379 1");
        Self::launch(&["sentinel".to_owned(), monitor])
    }

    /// Starts a sentinel of `primary` that decides with others, `quorum` in all.
    pub fn start_sentinel_of(primary: &Self, quorum: usize) -> Self {
        let port = primary.address.port();
        let sentinel = Self::launch(&[
            "sentinel".to_owned(),
            format!("sentinel monitor {MASTER} 127.0.0.1 {port} {quorum}"),
            format!("sentinel down-after-milliseconds {MASTER} 3000"),
            format!("sentinel failover-timeout {MASTER} 2000"),
        ]);
        until("a replica that the sentinel knows", || {
            let told = sentinel.command(&["SENTINEL", "REPLICAS", MASTER]);
            let at = told.iter().position(|word| word == "master-link-status");
            at.is_some_and(|at| told[at + 1] == "ok")
        });
        sentinel
    }

    /// Starts the nodes of a cluster without replicas.
    pub fn start_cluster() -> [Self; 3] {
        let nodes = [(); 3].map(|()| {
            let bus = free_address().port();
            let bus = format!("cluster-port {bus}");
            Self::start_with(&["cluster-enabled yes", "cluster-node-timeout 2000", &bus])
        });
        let ranges = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (node, (first, last)) in nodes.iter().zip(ranges) {
            assert_eq!(node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]), ["OK"]);
        }
        for (epoch, node) in (1..).zip(&nodes) {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()]);
        }
        for node in &nodes[1..] {
            let bus = node.settings.iter().find_map(|it| it.strip_prefix("cluster-port ")).unwrap();
            let port = node.address.port().to_string();
            let met = nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
            assert_eq!(met, ["OK"]);
        }
        until("a whole cluster", || {
            nodes.iter().all(|node| {
                let info = node.command(&["CLUSTER", "INFO"]).concat();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
        });
        nodes
    }

    /// Starts a server with lines of its configuration.
    pub fn start_with(settings: &[&str]) -> Self {
        let settings: Vec<_> = settings.iter().map(|line| (*line).to_owned()).collect();
        Self::launch(&settings)
    }

    fn launch(settings: &[String]) -> Self {
        let mut redis = Self {
            directory: tempfile::tempdir().unwrap(),
            address: free_address(),
            settings: settings.to_vec(),
            server: None,
        };
        redis.write_settings();
        redis.restart();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Lets the server stand still.
    pub fn pause(&self) {
        signal(self.server.as_ref().unwrap(), "STOP");
    }

    /// The end of a pause.
    pub fn go_on(&self) {
        signal(self.server.as_ref().unwrap(), "CONT");
    }

    /// Starts the server again on the same data and address.
    pub fn restart(&mut self) {
        self.kill();
        let sentinel = self.settings.iter().any(|line| line == "sentinel");
        let mut command = Command::new("redis-server");
        command.arg(self.directory.path().join("redis.conf"));
        if sentinel {
            command.arg("--sentinel");
        }
        let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(server.stdout.take().unwrap());
        let ready = if sentinel { "+monitor" } else { "Ready to accept connections" };
        assert!(said(log, "redis", ready), "Redis did not start");
        self.server = Some(server);
    }

    /// What the server answers, as its words. Asked again if a server that is told its new part cuts
    /// all connections meanwhile.
    pub fn command(&self, words: &[&str]) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_command(words) {
                Ok(answer) => return answer,
                Err(error) => assert!(Instant::now() < deadline, "{words:?}: {error}"),
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn try_command(&self, words: &[&str]) -> std::io::Result<Vec<String>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        read(&mut BufReader::new(stream), &mut answer)?;
        Ok(answer)
    }

    fn write_settings(&self) {
        let directory = self.directory.path();
        let mut text = format!(
            "port {}\nbind 127.0.0.1\ndir {}\ndaemonize no\n",
            self.address.port(),
            directory.display()
        );
        if self.settings.iter().all(|line| line != "sentinel") {
            text.push_str("save \"\"\nrepl-diskless-sync-delay 0\n");
        }
        for line in self.settings.iter().filter(|line| *line != "sentinel") {
            text.push_str(&format!("{line}\n"));
        }
        std::fs::write(directory.join("redis.conf"), text).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

/// Reads one answer of any kind.
fn read(from: &mut impl BufRead, words: &mut Vec<String>) -> std::io::Result<()> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let (kind, rest) = line.trim_end().split_at(1);
    match kind {
        "*" => (0..rest.parse().unwrap_or(0)).try_for_each(|_| read(from, words))?,
        "$" => {
            let Ok(length) = rest.parse::<usize>() else { return Ok(()) };
            let mut word = vec![0; length + 2];
            from.read_exact(&mut word)?;
            word.truncate(length);
            words.push(String::from_utf8(word).unwrap());
        }
        _ => words.push(rest.to_owned()),
    }
    Ok(())
}

fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
