//! TLS: what is spoken, certificates that change under load, certificates of clients, towards callers
//! and towards providers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::certificates::{
    Authority, Leaf, Mounted, TlsFront, ask, client_config, handshake, new_year, replace, serial,
    shown,
};
use crate::support::postgres::Postgres;
use crate::support::{
    Client, Config, Gateway, MASTER_KEY, chat, gateway, provider, read_response, soon,
};

const FAILED: &str = "sluicegate_connections_refused_total";
const GET: &[u8] = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A gateway whose listener has TLS, with files as the kubelet mounts them.
struct Secured {
    gateway: Gateway,
    files: Mounted,
    authority: Authority,
}

impl Secured {
    /// `client_ca`: whose clients are let in.
    async fn start(
        provider: &sluicegate_simulator::Simulator,
        leaf: impl FnOnce(&Authority) -> Leaf,
        client_ca: Option<&Authority>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("servers");
        let leaf = leaf(&authority);
        let mut content = leaf.files().to_vec();
        content.extend(client_ca.map(|ca| ("ca.crt", ca.pem())));
        let files = Mounted::new(directory.path().join("tls"), &content);
        let client_ca = match client_ca {
            Some(_) => format!(", client_ca: {}", files.at("ca.crt").display()),
            None => String::new(),
        };
        let config = Config::for_provider(provider.address()).with(&format!(
            "listeners:\n  proxy: {{ address: \"127.0.0.1:0\", tls: {{ certificate: {}, key: {}{client_ca} }} }}\n  \
             admin: {{ address: \"127.0.0.1:0\" }}\n  metrics: {{ address: \"127.0.0.1:0\" }}",
            files.at("tls.crt").display(),
            files.at("tls.key").display(),
        ));
        let gateway = Gateway::start_in(directory, &config);
        // The one handshake that the gateway breaks off itself, when it looks whether it listens.
        gateway.until_metric(FAILED, "tls_handshake", 1.0).await;
        Self { gateway, files, authority }
    }

    fn client(&self, leaf: Option<&Leaf>) -> Arc<ClientConfig> {
        client_config(self.authority.roots(), leaf)
    }

    async fn shows(&self) -> String {
        shown(self.gateway.proxy, self.authority.roots()).await
    }

    async fn reloads(&self, result: &str) -> f64 {
        let labels = format!("kind=\"listener\",name=\"proxy\",result=\"{result}\"");
        self.gateway.metric("sluicegate_tls_reloads_total", &labels).await
    }

    async fn failed_handshakes(&self) -> f64 {
        self.gateway.metric(FAILED, "tls_").await - 1.0
    }

    async fn in_order(&self) -> f64 {
        self.gateway.metric("sluicegate_tls_last_reload_successful", "kind=\"listener\"").await
    }
}

/// Half of the clients make a connection for each request, half keep theirs. Both resume sessions, and
/// both trust the authority that signs every certificate.
async fn caller(
    address: std::net::SocketAddr,
    config: Arc<ClientConfig>,
    keeps: bool,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let (mut kept, mut connections) = (None, 0);
    let body = chat(keeps, "tokens=5");
    while !stop.load(Ordering::Relaxed) {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => {
                connections += 1;
                match handshake(address, &config).await {
                    Ok(stream) => stream,
                    Err(error) => {
                        failures.push(format!("handshake: {error}"));
                        continue;
                    }
                }
            }
        };
        let close = if keeps { "" } else { "Connection: close\r\n" };
        let request = Client::request("/v1/chat/completions", close, &body);
        if let Err(error) = stream.write_all(&request).await {
            failures.push(format!("request: {error}"));
            continue;
        }
        let answer = read_response(&mut stream).await;
        if answer.status != 200 || answer.cut || (keeps && !answer.text().contains("[DONE]")) {
            failures.push(format!("{answer:?}"));
        }
        if keeps {
            kept = Some(stream);
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    if keeps && connections != 1 {
        failures.push(format!("{connections} connections instead of the one that was kept"));
    }
    failures
}

#[tokio::test]
async fn a_client_that_leaves_over_tls_takes_the_upstream_request_with_it() {
    let provider = provider().await;
    let secured = Secured::start(&provider, Authority::leaf, None).await;
    for directives in ["fault=stall,after=2", "tokens=100000,token_ms=5"] {
        let mut stream = handshake(secured.gateway.proxy, &secured.client(None)).await.unwrap();
        let request = Client::request("/v1/chat/completions", "", &chat(true, directives));
        stream.write_all(&request).await.unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        assert_eq!(provider.streams_open(), 1);
        drop(stream);
        soon("the abort", provider.wait_until(|stats| stats.streams_open == 0)).await;
    }
    let log = secured.gateway.stop().await;
    assert!(log.iter().all(|line| line["end"] == "client_gone"), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_under_load_without_a_lost_request() {
    let provider = provider().await;
    let mut secured = Secured::start(&provider, Authority::leaf, None).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (client, address) = (secured.client(None), secured.gateway.proxy);
        callers.spawn(caller(address, client, number % 2 == 0, stop.clone(), done.clone()));
    }
    let go_on = async |n: usize| {
        let until = done.load(Ordering::Relaxed) + n;
        soon("load", async {
            while done.load(Ordering::Relaxed) < until {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    go_on(40).await;
    for n in 1..=6 {
        let next = secured.authority.leaf();
        secured.files.put(&next.files());
        soon("the reload", async {
            while secured.reloads("ok").await < f64::from(n) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(secured.shows().await, next.serial(), "the new certificate");
        go_on(40).await;
    }
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<_> =
        soon("the callers", callers.join_all()).await.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{} failures, such as {}", failures.len(), failures[0]);
    assert_eq!(secured.reloads("refused").await, 0.0);
    assert_eq!(secured.failed_handshakes().await, 0.0);
}

#[tokio::test]
async fn what_can_not_be_used_is_refused_and_the_old_one_stays() {
    let provider = provider().await;
    let mut secured = Secured::start(&provider, Authority::leaf, None).await;
    let first = secured.shows().await;
    let (one, other) = (secured.authority.leaf(), secured.authority.leaf());
    let pair = |pem: &str, key: &str| [("tls.crt", pem.to_owned()), ("tls.key", key.to_owned())];
    let expired = secured.authority.leaf_good((2020, 2021));
    let early = secured.authority.leaf_good((2079, 2080));
    let cut = &one.pem[..one.pem.len() / 2];
    let cases = [
        (pair(&one.pem, &other.key), "not that of the certificate"),
        (pair(&one.pem, "no key at all"), "no PEM private key"),
        (pair(cut, &one.key), "PEM"),
        (pair("", &one.key), "no PEM certificate"),
        (expired.files(), "2021-01-01"),
        (early.files(), "2079-01-01"),
    ];
    for (n, (files, expected)) in (1..).zip(&cases) {
        secured.files.put(files);
        let line = secured.gateway.await_log("certificate refused");
        let error = line["error"].as_str().unwrap();
        assert!(error.starts_with("listeners.proxy.tls."), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("BEGIN"), "{error}");
        assert_eq!(secured.shows().await, first, "{expected}");
        assert_eq!(
            (secured.reloads("refused").await, secured.in_order().await),
            (f64::from(n), 0.0)
        );
    }
    // A reload says so, too, and does not count it again.
    secured.gateway.signal("HUP");
    let line = secured.gateway.await_log("configuration refused");
    assert!(line["message"].as_str().unwrap().contains("2079-01-01"), "{line}");
    assert_eq!((secured.reloads("ok").await, secured.reloads("refused").await), (0.0, 6.0));

    // In place, one file after the other: whatever is seen between, the pair is what counts.
    replace(&secured.files.at("tls.crt"), &one.pem);
    replace(&secured.files.at("tls.key"), &one.key);
    let line = secured.gateway.await_log("certificate in use");
    assert_eq!(line["serial"], one.serial());
    assert_eq!(secured.shows().await, one.serial());
    assert_eq!((secured.reloads("ok").await, secured.in_order().await), (1.0, 1.0));
}

#[tokio::test]
async fn only_clients_of_the_authority_are_let_in_and_a_new_one_takes_effect() {
    let provider = provider().await;
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let mut secured = Secured::start(&provider, Authority::leaf, Some(&ours)).await;
    let address = secured.gateway.proxy;
    let nobody = secured.client(None);
    let right = secured.client(Some(&ours.leaf()));
    let wrong = secured.client(Some(&theirs.leaf()));
    let old = secured.client(Some(&ours.leaf_good((2020, 2021))));
    let is_let_in = async |client: &Arc<ClientConfig>| match ask(address, client, GET).await {
        Ok(answer) => {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            true
        }
        Err(_) => false,
    };
    assert!(!is_let_in(&nobody).await, "without a certificate");
    assert!(!is_let_in(&wrong).await, "of another authority");
    assert!(!is_let_in(&old).await, "expired");
    assert!(is_let_in(&right).await, "the right one");
    assert_eq!(secured.failed_handshakes().await, 3.0);

    let mut kept = handshake(address, &right).await.unwrap();
    let request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
    kept.write_all(request).await.unwrap();
    assert_eq!(read_response(&mut kept).await.status, 200);

    let mut files = secured.authority.leaf().files().to_vec();
    files.push(("ca.crt", String::new()));
    secured.files.put(&files);
    let line = secured.gateway.await_log("certificate refused");
    assert!(line["error"].as_str().unwrap().contains("client_ca"), "{line}");
    assert!(is_let_in(&right).await, "an empty file changes nothing");

    files[2].1 = theirs.pem();
    secured.files.put(&files);
    secured.gateway.await_log("certificate in use");
    // It has a session from before, which must not let it back in.
    assert!(!is_let_in(&right).await, "of the authority before");
    assert!(is_let_in(&wrong).await, "of the authority now");
    kept.write_all(request).await.unwrap();
    assert_eq!(read_response(&mut kept).await.status, 200, "a connection under way goes on");
}

/// A hello of an old client: the version, and suites of its time.
fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend((suites.len() as u16 * 2).to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    // Groups: secp256r1. Points: uncompressed. Signatures: rsa_pkcs1_sha256, ecdsa_secp256r1_sha256.
    let extensions: [&[u8]; 3] =
        [&[0, 10, 0, 4, 0, 2, 0, 23], &[0, 11, 0, 2, 1, 0], &[0, 13, 0, 6, 0, 4, 4, 1, 4, 3]];
    let extensions = extensions.concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut message = vec![22, 3, 1];
    message.extend((body.len() as u16 + 4).to_be_bytes());
    message.extend([1, 0]);
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);
    message
}

#[tokio::test]
async fn old_versions_and_weak_suites_are_refused() {
    let provider = provider().await;
    let secured = Secured::start(&provider, Authority::leaf, None).await;
    let answer = async |hello: Vec<u8>| {
        let mut stream = TcpStream::connect(secured.gateway.proxy).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        let mut answer = [0; 7];
        soon("an answer", stream.read_exact(&mut answer)).await.unwrap();
        // An alert's level and description, or a handshake's type.
        (answer[0], answer[5], answer[6])
    };
    const ALERT: u8 = 21;
    let modern = 0xc02b;
    for version in [0x0300, 0x0301, 0x0302] {
        let (kind, level, description) = answer(hello(version, &[modern, 0xc009, 0x002f])).await;
        assert_eq!((kind, level, description), (ALERT, 2, 70), "protocol_version for {version:x}");
    }
    // CBC, RC4, 3DES, without forward secrecy, without encryption, anonymous.
    for weak in [0xc009, 0xc013, 0xc007, 0x000a, 0x009c, 0x002f, 0xc006, 0xc018] {
        let (kind, level, description) = answer(hello(0x0303, &[weak])).await;
        assert_eq!((kind, level, description), (ALERT, 2, 40), "handshake_failure for {weak:x}");
    }
    assert_eq!(answer(hello(0x0303, &[modern])).await.0, 22, "TLS 1.2 with a modern suite");
}

/// Production takes no master key that repeats itself.
const MASTER: &str = "sk-46848f2dbb9f0131e454edbcbc8db4ab43d1d26060d50c49e42c9767a8aa039a";

#[tokio::test]
async fn browsers_are_told_to_come_by_tls_in_production() {
    let provider = provider().await;
    let authority = Authority::new("servers");
    let start = |environment: &str, tls: bool| {
        let directory = tempfile::tempdir().unwrap();
        let files = Mounted::new(directory.path().join("tls"), &authority.leaf().files());
        let tls = match tls {
            true => format!(
                ", tls: {{ certificate: {}, key: {} }}",
                files.at("tls.crt").display(),
                files.at("tls.key").display()
            ),
            false => String::new(),
        };
        let mut config = Config::for_provider(provider.address());
        let key = directory.path().join("master-key");
        std::fs::write(&key, MASTER).unwrap();
        config.head = format!(
            "environment: {environment}\nadmin: {{ master_key: \"file:{}\" }}\n\
             listeners:\n  proxy: {{ address: \"127.0.0.1:0\"{tls} }}\n  \
             admin: {{ address: \"127.0.0.1:0\" }}\n  metrics: {{ address: \"127.0.0.1:0\" }}\n",
            key.display()
        );
        Gateway::start_in(directory, &config)
    };
    let headers = format!("Authorization: Bearer {MASTER}\r\nConnection: close\r\n");
    let request = Client::request("/v1/chat/completions", &headers, &chat(false, "tokens=3"));
    let client = client_config(authority.roots(), None);
    let header = "strict-transport-security: max-age=31536000\r\n";
    for (environment, expected) in [("production", true), ("staging", false)] {
        let gateway = start(environment, true);
        let served = ask(gateway.proxy, &client, &request).await.unwrap().to_lowercase();
        assert!(served.starts_with("http/1.1 200 "), "{served}");
        assert_eq!(served.contains(header), expected, "{environment}: {served}");
        let refused = ask(gateway.proxy, &client, GET).await.unwrap().to_lowercase();
        assert!(refused.starts_with("http/1.1 401 "), "{refused}");
        assert_eq!(refused.contains(header), expected, "{environment}: {refused}");
    }
    let plain = start("production", false).client().get("/v1/models").await;
    assert_eq!((plain.status, plain.header("strict-transport-security")), (401, None));
}

/// A gateway before a provider behind TLS. `more` is of the provider's configuration.
fn before(front: &TlsFront, directory: tempfile::TempDir, more: &str) -> Gateway {
    let mut config = Config::for_provider(front.address);
    config.providers = format!(
        "  sim: {{ dialect: openai, base_url: \"https://localhost:{}/v1\", api_key: \"env:SIM_KEY\", {more} }}\n",
        front.address.port()
    );
    let config = config.with_models("  sim-1: { targets: [{ provider: sim, model: sim-1 }] }\n");
    Gateway::start_in(directory, &config)
}

/// Waits until the gateway says that it uses this certificate.
fn in_use(gateway: &Gateway, leaf: &Leaf) {
    while gateway.await_log("certificate in use")["serial"] != leaf.serial() {}
}

async fn status(gateway: &Gateway) -> u16 {
    gateway.client().post("/v1/chat/completions", &chat(false, "tokens=3")).await.status
}

#[tokio::test]
async fn a_provider_that_asks_for_a_certificate_gets_the_one_of_now() {
    let provider = provider().await;
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let front = TlsFront::start(provider.address(), &servers.leaf(), Some(&clients)).await;
    let unchecked = |directory: &tempfile::TempDir| {
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, servers.pem()).unwrap();
        format!("ca: {}, check_certificate: false", ca.display())
    };

    let directory = tempfile::tempdir().unwrap();
    let more = unchecked(&directory);
    assert_eq!(status(&before(&front, directory, &more)).await, 502, "without a certificate");

    let directory = tempfile::tempdir().unwrap();
    let stranger = Authority::new("strangers").leaf();
    let mut files = Mounted::new(directory.path().join("client"), &stranger.files());
    let more = format!(
        "{}, client_certificate: {{ certificate: {}, key: {} }}",
        unchecked(&directory),
        files.at("tls.crt").display(),
        files.at("tls.key").display()
    );
    let gateway = before(&front, directory, &more);
    assert_eq!(status(&gateway).await, 502, "of another authority");
    assert_eq!(front.shown(), []);

    for leaf in [clients.leaf(), clients.leaf(), clients.leaf()] {
        files.put(&leaf.files());
        in_use(&gateway, &leaf);
        let before = front.shown().len();
        // The second request may come over the connection of the first, but of none before.
        assert_eq!((status(&gateway).await, status(&gateway).await), (200, 200));
        let since = front.shown().split_off(before);
        assert!(!since.is_empty(), "a connection of before was used");
        assert!(since.iter().all(|shown| *shown == Some(leaf.serial())), "{since:?}");
    }

    files.put(&[("tls.crt", clients.leaf().pem), ("tls.key", clients.leaf().key)]);
    let line = gateway.await_log("certificate refused");
    let error = line["error"].as_str().unwrap();
    assert!(error.starts_with("providers.sim.client_certificate.key: "), "{error}");
    assert_eq!(status(&gateway).await, 200, "the one before goes on");
    let of = |result: &str| format!("kind=\"provider\",name=\"sim\",result=\"{result}\"");
    for (result, count) in [("ok", 3.0), ("refused", 1.0)] {
        assert_eq!(gateway.metric("sluicegate_tls_reloads_total", &of(result)).await, count);
    }
}

#[tokio::test]
async fn a_pooled_connection_is_not_used_under_another_authority() {
    let provider = provider().await;
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let front = TlsFront::start(provider.address(), &one.leaf(), None).await;
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, one.pem()).unwrap();
    let gateway =
        before(&front, directory, &format!("ca: {}, check_certificate: false", ca.display()));
    assert_eq!((status(&gateway).await, status(&gateway).await), (200, 200));
    let before = front.shown().len();
    replace(&ca, &other.pem());
    gateway.await_log("certificate in use");
    assert_eq!(
        status(&gateway).await,
        503,
        "that authority did not sign this provider's certificate"
    );
    replace(&ca, &format!("{}{}", other.pem(), one.pem()));
    gateway.await_log("certificate in use");
    assert_eq!((status(&gateway).await, front.shown().len()), (200, before + 1));
}

#[tokio::test]
async fn metrics_tell_when_each_certificate_expires() {
    const NAME: &str = "sluicegate_tls_certificate_not_after_timestamp_seconds";
    let provider = provider().await;
    let of = |kind: &str, name: &str| format!("{{kind=\"{kind}\",name=\"{name}\"}}");

    let clients = Authority::good("clients", (2020, 2071));
    let leaf = |authority: &Authority| authority.leaf_good((2020, 2070));
    let mut secured = Secured::start(&provider, leaf, Some(&clients)).await;
    let gateway = &secured.gateway;
    assert_eq!(gateway.metric(NAME, &of("listener", "proxy")).await, new_year(2070));
    assert_eq!(gateway.metric(NAME, &of("client_ca", "proxy")).await, new_year(2071));
    // Of several authorities the next to expire counts; one that has expired already does not.
    let several = [(2020, 2021), (2020, 2075), (2020, 2073)];
    let several: String =
        several.into_iter().map(|years| Authority::good("several", years).pem()).collect();
    let mut files = secured.authority.leaf_good((2020, 2072)).files().to_vec();
    files.push(("ca.crt", several));
    secured.files.put(&files);
    gateway.await_log("certificate in use");
    gateway.until_metric(NAME, &of("listener", "proxy"), new_year(2072)).await;
    assert_eq!(gateway.metric(NAME, &of("client_ca", "proxy")).await, new_year(2073));

    // What a provider shows, expired or not, with our own for it.
    let servers = Authority::good("servers", (2020, 2074));
    let checks = |result: &str| format!("{{name=\"sim\",result=\"{result}\"}}");
    for (years, result) in [((2020, 2076), "ok"), ((2019, 2020), "failed")] {
        let front =
            TlsFront::start(provider.address(), &servers.leaf_good(years), Some(&clients)).await;
        let directory = tempfile::tempdir().unwrap();
        let own =
            Mounted::new(directory.path().join("c"), &clients.leaf_good((2020, 2069)).files());
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, servers.pem()).unwrap();
        let more = format!(
            "ca: {}, client_certificate: {{ certificate: {}, key: {} }}",
            ca.display(),
            own.at("tls.crt").display(),
            own.at("tls.key").display()
        );
        let gateway = before(&front, directory, &more);
        gateway.until_metric("sluicegate_tls_upstream_checks_total", &checks(result), 1.0).await;
        gateway.until_metric(NAME, &of("upstream", "sim"), new_year(years.1)).await;
        assert_eq!(gateway.metric(NAME, &of("client", "sim")).await, new_year(2069));
        assert_eq!(gateway.metric(NAME, &of("ca", "sim")).await, new_year(2074));
        assert_eq!(front.shown(), [], "nothing is sent after the handshake");
    }
}

#[tokio::test]
async fn a_secret_in_a_file_is_taken_up_when_it_changes() {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let key = |letter: &str| format!("sk-{}", letter.repeat(64));
    let mut files = Mounted::new(directory.path().join("keys"), &[("master-key", key("a"))]);
    let mut config = Config::for_provider(provider.address());
    config.head =
        format!("admin: {{ master_key: \"file:{}\" }}\n", files.at("master-key").display());
    let gateway = Gateway::start_in(directory, &config);
    let models = async |key: &str| {
        let request = format!(
            "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
             Connection: close\r\n\r\n"
        );
        gateway.client().raw(request).await.status
    };
    assert_eq!((models(&key("a")).await, models(&key("b")).await), (200, 401));
    files.put(&[("master-key", key("b"))]);
    gateway.await_log("configuration in force");
    assert_eq!((models(&key("a")).await, models(&key("b")).await), (401, 200));
}

#[tokio::test]
async fn metrics_tell_when_the_authorities_of_vault_redis_and_issuers_expire() {
    const NAME: &str = "sluicegate_tls_certificate_not_after_timestamp_seconds";
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().to_owned();
    let at = |name: &str| files.join(name);
    let write = |name: &str, year: i32| {
        replace(&at(name), &Authority::good(name, (2020, year)).pem());
    };
    write("vault.pem", 2070);
    write("redis.pem", 2071);
    write("issuer.pem", 2072);
    write("other.pem", 2073);
    std::fs::write(at("token"), "a-token").unwrap();
    // None of them is there: that is another matter.
    let away = crate::support::free_address();
    let issuer = |name: &str| {
        let file = at(&format!("{name}.pem"));
        let file = file.display();
        format!(
            "    - {{ issuer: \"https://{name}.test\", audience: [sluicegate], \
             jwks_url: \"https://{away}/jwks\", ca: {file} }}\n"
        )
    };
    let mut config = Config::for_provider(provider.address());
    config.head = format!(
        "secrets: {{ vault: {{ address: \"https://{away}\", ca: {}, auth: {{ token: {{ file: {} }} }} }} }}\n\
         quota_store: {{ redis: {{ url: \"rediss://{away}\", ca: {} }} }}\n\
         auth:\n  anonymous: true\n  jwt:\n{}{}",
        at("vault.pem").display(),
        at("token").display(),
        at("redis.pem").display(),
        issuer("issuer"),
        issuer("other"),
    );
    let gateway = Gateway::start_in(directory, &config);
    let of = |kind: &str, name: &str| format!("{{kind=\"{kind}\",name=\"{name}\"}}");
    for (kind, name, year) in [
        ("vault_ca", "vault", 2070),
        ("redis_ca", "redis", 2071),
        ("issuer_ca", "https://issuer.test", 2072),
        ("issuer_ca", "https://other.test", 2073),
    ] {
        gateway.until_metric(NAME, &of(kind, name), new_year(year)).await;
    }
    // They are followed, and what can't be used changes nothing.
    replace(&at("vault.pem"), "no PEM");
    replace(&at("redis.pem"), &Authority::good("redis", (2020, 2075)).pem());
    gateway.until_metric(NAME, &of("redis_ca", "redis"), new_year(2075)).await;
    assert_eq!(gateway.metric(NAME, &of("vault_ca", "vault")).await, new_year(2070));
    // Whose are not named any more have no series.
    config.head = config.head.replace(&issuer("other"), "");
    gateway.rewrite_config(&config);
    gateway.await_log("configuration in force");
    assert_eq!(gateway.metric(NAME, "https://other.test").await, 0.0);
    assert_eq!(gateway.metric(NAME, "https://issuer.test").await, new_year(2072));
}

#[tokio::test]
async fn the_chain_beside_a_certificate_and_what_a_database_is_shown_are_told() {
    const NAME: &str = "sluicegate_tls_certificate_not_after_timestamp_seconds";
    let (provider, postgres) = (provider().await, Postgres::start_with_tls());
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers");
    let leaf = authority.leaf_good((2020, 2070));
    let put = |name: &str, content: &str| {
        let path = directory.path().join(name);
        replace(&path, content);
        path.display().to_string()
    };
    let chain =
        put("chain.pem", &(leaf.pem.clone() + &Authority::good("between", (2020, 2060)).pem()));
    let (certificate, key) = (put("own.pem", &leaf.pem), put("key.pem", &leaf.key));
    let url = format!("{}&sslcert={certificate}&sslkey={key}", postgres.url());
    let config = Config::for_provider(provider.address()).with(&format!(
        "listeners:\n  proxy: {{ address: \"127.0.0.1:0\", tls: {{ certificate: {chain}, key: {key} }} }}\n  \
         admin: {{ address: \"127.0.0.1:0\" }}\n  metrics: {{ address: \"127.0.0.1:0\" }}\n\
         store: {{ postgres: {{ url: \"{url}\" }} }}"
    ));
    let gateway = Gateway::start_in(directory, &config);
    for (labels, year) in [
        ("{kind=\"listener\",name=\"proxy\"}", 2060),
        ("{kind=\"postgres_client\",name=\"postgres\"}", 2070),
    ] {
        gateway.until_metric(NAME, labels, new_year(year)).await;
    }
    let of_ca = "{kind=\"postgres_ca\",name=\"postgres\"}";
    assert!(gateway.metric(NAME, of_ca).await > new_year(2020));
}

/// Speaks HTTP without TLS; all that comes back.
async fn in_the_clear(address: std::net::SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // It may be reset: what was sent has not all been read.
    soon("the end of the connection", stream.read_to_end(&mut answer)).await.ok();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listeners_of_the_administrator_and_of_metrics_speak_tls_too() {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let (servers, scrapers) = (Authority::new("servers"), Authority::new("scrapers"));
    let mounted = |name: &str| {
        let mut content = servers.leaf_good((2020, 2070)).files().to_vec();
        content.push(("ca.crt", scrapers.pem()));
        Mounted::new(directory.path().join(name), &content)
    };
    let (of_admin, mut of_metrics) = (mounted("admin"), mounted("metrics"));
    let pair = |files: &Mounted| {
        let (certificate, key) = (files.at("tls.crt"), files.at("tls.key"));
        format!("certificate: {}, key: {}", certificate.display(), key.display())
    };
    let config = Config::for_provider(provider.address()).with(&format!(
        "listeners:\n  proxy: {{ address: \"127.0.0.1:0\" }}\n  \
         admin: {{ address: \"127.0.0.1:0\", tls: {{ {} }} }}\n  \
         metrics: {{ address: \"127.0.0.1:0\", tls: {{ {}, client_ca: {} }} }}\n\
         admin: {{ master_key: \"env:MASTER_KEY\" }}\nstore: {{ sqlite: {{ path: \":memory:\" }} }}",
        pair(&of_admin),
        pair(&of_metrics),
        of_metrics.at("ca.crt").display(),
    ));
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, servers.pem()).unwrap();
    let gateway = Gateway::start_in(directory, &config);

    for address in [gateway.admin, gateway.metrics] {
        let answer = in_the_clear(address).await;
        assert!(!answer.starts_with(b"HTTP/"), "{}", answer.escape_ascii());
    }

    // The administrator's, by any client that trusts the authority, and by the command line.
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
    };
    let anybody = client_config(servers.roots(), None);
    let bearer = format!("Authorization: Bearer {MASTER_KEY}\r\n");
    for (headers, status) in [(bearer.as_str(), "200"), ("", "401")] {
        let request = get("/admin/v1/keys", headers);
        let answer = ask(gateway.admin, &anybody, request.as_bytes()).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let mut offers = (*anybody).clone();
    offers.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = handshake(gateway.admin, &Arc::new(offers)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let command = |ca: bool| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        let url = format!("https://localhost:{}", gateway.admin.port());
        command.args(["keys", "create", "--alias", "ci", "--url", &url]);
        if ca {
            command.arg("--ca").arg(gateway.root().join("ca.pem"));
        }
        command.env_clear().env("SLUICEGATE_MASTER_KEY", MASTER_KEY).kill_on_drop(true);
        async move { soon("the command", command.output()).await.unwrap() }
    };
    assert!(!command(false).await.status.success(), "who signed it is not known");
    let made = command(true).await;
    assert!(made.status.success(), "{}", made.stderr.escape_ascii());
    assert!(made.stdout.starts_with(b"sk-sg-"));

    // That of metrics, where it is asked for, only by clients with a certificate.
    let page = get("/metrics", "");
    ask(gateway.metrics, &anybody, page.as_bytes()).await.expect_err("no certificate");
    let scraper = client_config(servers.roots(), Some(&scrapers.leaf()));
    let shows = async |line: &str| {
        let answer = ask(gateway.metrics, &scraper, page.as_bytes()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.lines().any(|shown| shown.starts_with(line))
    };
    let good_until = |kind: &str, name: &str, year| {
        let name = format!("kind=\"{kind}\",name=\"{name}\"");
        let metric = "sluicegate_tls_certificate_not_after_timestamp_seconds";
        format!("{metric}{{{name}}} {}", new_year(year))
    };
    assert!(shows(&good_until("listener", "admin", 2070)).await);
    assert!(shows(&good_until("listener", "metrics", 2070)).await);
    assert!(shows(&good_until("client_ca", "metrics", 2080)).await);
    assert!(!shows("sluicegate_tls_reloads_total{kind=\"listener\",name=\"proxy\"").await);

    // One listener's files change, and a connection that is open does not notice.
    let next = servers.leaf();
    let mut open = handshake(gateway.metrics, &scraper).await.unwrap();
    let mut content = next.files().to_vec();
    content.push(("ca.crt", scrapers.pem()));
    of_metrics.put(&content);
    let line = gateway.await_log("certificate in use");
    assert_eq!((line["kind"].as_str(), line["name"].as_str()), (Some("listener"), Some("metrics")));
    assert!(shows(&good_until("listener", "metrics", 2080)).await);
    assert!(shows(&good_until("listener", "admin", 2070)).await);
    let fresh = handshake(gateway.metrics, &scraper).await.unwrap();
    assert_eq!(serial(&fresh.get_ref().1.peer_certificates().unwrap()[0]), next.serial());
    open.write_all(page.as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut open).await.status, 200);
}

#[tokio::test]
async fn without_tls_there_are_no_series_of_it() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let page = Client::new(gateway.metrics).get("/metrics").await.text();
    assert!(!page.contains("sluicegate_tls_"), "{page}");
}

/// What `check` and a start say of certificates, each at the place of the key that names it.
#[tokio::test]
async fn what_is_wrong_with_certificates_is_said_before_they_are_served() {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let authority = Authority::new("servers");
    let put = |name: &str, leaf: &Leaf| {
        std::fs::write(at(&format!("{name}.crt")), &leaf.pem).unwrap();
        std::fs::write(at(&format!("{name}.key")), &leaf.key).unwrap();
    };
    put("good", &authority.leaf());
    put("soon", &authority.leaf_for(4));
    put("over", &authority.leaf_good((2020, 2021)));
    put("early", &authority.leaf_good((2079, 2080)));
    std::fs::write(at("ca.crt"), authority.pem()).unwrap();
    std::fs::write(at("old-ca.crt"), Authority::good("old", (2020, 2021)).pem()).unwrap();
    std::fs::write(at("no-ca.crt"), &authority.leaf().key).unwrap();
    let file = at("sluicegate.yaml");
    // The listener's files are on lines 4 to 6 of the configuration.
    let check = |certificate: &str, key: &str, ca: &str| {
        let path = |name: &str| at(name).display().to_string();
        let yaml = Config::for_provider(provider.address())
            .with(&format!(
                "listeners:\n  proxy:\n    tls:\n      certificate: {}\n      key: {}\n      client_ca: {}",
                path(certificate),
                path(key),
                path(ca)
            ))
            .yaml()
            .replacen("auth: { anonymous: true }\n", "", 1);
        std::fs::write(&file, format!("{yaml}\nauth: {{ anonymous: true }}\n")).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        let output = command
            .args(["check", "--config"])
            .arg(&file)
            .env_clear()
            .env("SIM_KEY", "sk-provider-secret")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check("good.crt", "good.key", "ca.crt"), (Some(0), String::new()));
    let warned = [
        (
            "soon.crt",
            "soon.key",
            "ca.crt",
            ":4:20: listeners.proxy.tls.certificate: ",
            "expires in 3 days, at ",
        ),
        (
            "over.crt",
            "over.key",
            "ca.crt",
            ":4:20: listeners.proxy.tls.certificate: ",
            "expired at 2021-01-01",
        ),
        (
            "early.crt",
            "early.key",
            "ca.crt",
            ":4:20: listeners.proxy.tls.certificate: ",
            "not good before 2079-",
        ),
        (
            "good.crt",
            "good.key",
            "old-ca.crt",
            ":6:18: listeners.proxy.tls.client_ca: ",
            "expired at 2021-01-01",
        ),
    ];
    for (certificate, key, ca, place, message) in warned {
        let (code, said) = check(certificate, key, ca);
        assert_eq!(code, Some(0), "a warning: {said}");
        assert!(said.starts_with("warning: ") && said.lines().count() == 1, "{said}");
        assert!(said.contains(place) && said.contains(message), "{said}");
    }
    let refused = [
        (
            "good.crt",
            "soon.key",
            "ca.crt",
            ":5:12: listeners.proxy.tls.key: ",
            "not that of the certificate",
        ),
        (
            "good.crt",
            "good.crt",
            "ca.crt",
            ":5:12: listeners.proxy.tls.key: ",
            "no PEM private key",
        ),
        (
            "good.key",
            "good.key",
            "ca.crt",
            ":4:20: listeners.proxy.tls.certificate: ",
            "no PEM certificate",
        ),
        (
            "good.crt",
            "good.key",
            "no-ca.crt",
            ":6:18: listeners.proxy.tls.client_ca: ",
            "no PEM certificate",
        ),
    ];
    for (certificate, key, ca, place, message) in refused {
        let (code, said) = check(certificate, key, ca);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(place) && said.contains(message), "{said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
    // All at once.
    let (_, said) = check("good.crt", "soon.key", "no-ca.crt");
    assert_eq!(said.lines().count(), 2, "{said}");

    // A start says the same, and serves what has expired.
    let leaf = |authority: &Authority| authority.leaf_good((2020, 2021));
    let served = Secured::start(&provider, leaf, None).await;
    let status =
        served.gateway.metric("sluicegate_tls_certificate_not_after_timestamp_seconds", "").await;
    assert_eq!(status, new_year(2021));
}

/// The same of those that a database's URL names. The URL, which is a secret, is not shown.
#[test]
fn what_is_wrong_with_a_databases_certificates_is_said_before_it_is_connected_to() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let authority = Authority::new("servers");
    let (leaf, other) = (authority.leaf(), authority.leaf());
    put("ca.crt", &authority.pem());
    put("old ca.crt", &Authority::good("old", (2020, 2021)).pem());
    put("own.crt", &leaf.pem);
    put("own.key", &leaf.key);
    put("other.key", &other.key);
    put("none.crt", "no certificate\n");
    let file = directory.path().join("sluicegate.yaml");
    let check = |key: &str, parameters: &str| {
        let other = if key == "replica_url" { "\n    url: env:OTHER_URL" } else { "" };
        let yaml = format!(
            "auth: {{ anonymous: true }}\nstore:\n  postgres:\n    {key}: env:URL{other}\n\
             providers: {{ sim: {{ dialect: openai, base_url: \"http://127.0.0.1:1\" }} }}\n\
             models: {{ m: {{ targets: [{{ provider: sim, model: m }}] }} }}\n"
        );
        std::fs::write(&file, yaml).unwrap();
        let parameters = parameters.replace('@', directory.path().to_str().unwrap());
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sluicegate"))
            .args(["check", "--config"])
            .arg(&file)
            .env_clear()
            .env("URL", format!("postgres://gate:hunter2@db.example.com/x?{parameters}"))
            .env("OTHER_URL", "postgres://db.example.com/x?sslmode=require")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("hunter2") && !said.contains("PRIVATE KEY"), "{said}");
        (output.status.code(), said)
    };
    let good = "sslmode=verify-full&sslrootcert=@/ca.crt&sslcert=@/own.crt&sslkey=@/own.key";
    for key in ["url", "replica_url"] {
        assert_eq!(check(key, good), (Some(0), String::new()));
        assert_eq!(check(key, "sslmode=disable&sslrootcert=@/nowhere").0, Some(0), "never read");
        let (code, said) = check(key, "sslmode=verify-ca&sslrootcert=@/old%20ca.crt");
        assert_eq!(code, Some(0), "a warning: {said}");
        assert!(said.contains("the URL's `sslrootcert` ") && said.contains("expired at"), "{said}");
        for (parameters, message) in [
            (
                "sslrootcert=@/nowhere.crt",
                "`sslrootcert` `@/nowhere.crt` can't be read: No such file",
            ),
            ("sslrootcert=@", "`sslrootcert` `@` can't be read: is not a regular file"),
            (
                "sslrootcert=@/none.crt",
                "`sslrootcert` `@/none.crt`: the file holds no PEM certificate",
            ),
            (
                "sslcert=@/own.crt&sslkey=@/nowhere.key",
                "`sslkey` `@/nowhere.key` can't be read: No",
            ),
            (
                "sslcert=@/none.crt&sslkey=@/own.key",
                "`sslcert` `@/none.crt`: the file holds no PEM c",
            ),
            (
                "sslcert=@/own.crt&sslkey=@/own.crt",
                "`sslkey` `@/own.crt`: the file holds no PEM pri",
            ),
            (
                "sslcert=@/own.crt&sslkey=@/other.key",
                "`sslkey` `@/other.key`: the key is not that of",
            ),
            ("sslcert=@/own.crt", "the URL has one of `sslcert` and `sslkey` without the other"),
        ] {
            let (code, said) = check(key, &format!("sslmode=verify-full&{parameters}"));
            assert_eq!(code, Some(64), "{parameters}: {said}");
            let place = format!("store.postgres.{key}: ");
            let message = message.replace('@', directory.path().to_str().unwrap());
            assert!(said.contains(&place) && said.contains(&message), "{parameters}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}
