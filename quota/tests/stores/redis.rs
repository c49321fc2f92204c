use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sluicegate_quota::redis::{RedisOptions, RedisQuotas, RedisServers};
use sluicegate_quota::{Answer, Charge, Exchange, QuotaStore, QuotaStoreError};
use tokio::runtime::Handle;

use crate::contract::{self, Effort, exchange};
use crate::support::redis::{MASTER, Redis};
use crate::support::soon;

fn options(servers: RedisServers) -> RedisOptions {
    RedisOptions {
        servers,
        prefix: "test:".to_owned(),
        ca: None,
        plain_elsewhere: true,
        wait_replicas: 0,
    }
}

fn open(options: &RedisOptions) -> Arc<dyn QuotaStore> {
    Arc::new(RedisQuotas::new(options, &Handle::current()).unwrap())
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn one(redis: &Redis) -> Arc<dyn QuotaStore> {
    open(&options(RedisServers::One(secret(&redis.url()))))
}

fn behind(sentinel: &Redis) -> RedisServers {
    RedisServers::Sentinel {
        nodes: vec![secret(&sentinel.url())],
        master: MASTER.to_owned(),
        username: None,
        password: None,
    }
}

fn charging(name: &str, seq: u64, amount: i64) -> Exchange {
    Exchange { charges: vec![Charge { bucket: 0, amount }], ..exchange(name, "a", seq) }
}

/// Sends the same until it is answered, as the engine does.
async fn at_last(store: &dyn QuotaStore, it: &Exchange) -> Answer {
    soon("the store", async {
        loop {
            match store.exchange(std::slice::from_ref(it)).await {
                Ok(replies) => break contract::answer(&replies[0]),
                Err(QuotaStoreError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_keeps_the_contract_also_when_it_forgets_scripts_and_after_a_restart() {
    let mut redis = Redis::start_durable();
    let store = one(&redis);
    contract::check(Arc::clone(&store), Effort::Some).await;
    contract::concurrency(&[Arc::clone(&store), one(&redis)]).await;

    assert_eq!(redis.command(&["SCRIPT", "FLUSH"]), ["OK"]);
    let before = contract::done(&*store, &charging("restart", 1, 7)).await;
    assert_eq!((before.previous_seq, before.used), (0, 7));
    assert_eq!(redis.command(&["SCRIPT", "FLUSH"]), ["OK"]);
    let states = store.look(&[contract::look("restart"), contract::look("other")]).await.unwrap();
    assert_eq!((states[0].used, states[1].used), (7, 0));

    redis.kill();
    let away = soon("an answer", store.exchange(&[charging("restart", 2, 1)])).await;
    assert!(matches!(away, Err(QuotaStoreError::Unavailable(_))), "{away:?}");
    redis.restart();
    let after = at_last(&*store, &charging("restart", 2, 1)).await;
    assert_eq!((after.previous_seq, after.used), (1, 8));
    let again = at_last(&*store, &charging("restart", 2, 1)).await;
    assert_eq!((again.previous_seq, again.used), (2, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_not_waited_for_and_found_again() {
    let redis = Redis::start();
    let store = one(&redis);
    contract::done(&*store, &charging("still", 1, 1)).await;
    redis.pause();
    let calls = (0..20).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.exchange(&[charging("still", 2, 1)]).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let answer = soon("an answer", call).await.unwrap();
        assert!(matches!(answer, Err(QuotaStoreError::Unavailable(_))), "{answer:?}");
    }
    redis.go_on();
    let after = at_last(&*store, &charging("still", 2, 1)).await;
    assert_eq!(after.used, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_expire_by_themselves() {
    let redis = Redis::start();
    let store = one(&redis);
    contract::done(&*store, &charging("for-ever", 1, 1)).await;
    assert_eq!(redis.command(&["PTTL", "test:{for-ever}"]), ["-1"]);
    let span = sluicegate_filters::admit::Span::Rolling { ms: 60_000, bucket_ms: 1_000 };
    let now = store.look(&[contract::look("rolling")]).await.unwrap()[0].now;
    let charges = vec![Charge { bucket: now - now % 1_000, amount: 1 }];
    contract::done(&*store, &Exchange { span, charges, ..exchange("rolling", "a", 1) }).await;
    let left: i64 = redis.command(&["PTTL", "test:{rolling}"])[0].parse().unwrap();
    assert!((1..=122_000).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_is_an_error_and_no_panic() {
    let redis = Redis::start();
    let store = one(&redis);
    let corruptions: [&[&str]; 4] = [
        &["HSET", "test:{c}", "bx", "1"],
        &["HSET", "test:{c}", "b1", "many"],
        &["HSET", "test:{c}", "la", "1 2 3"],
        &["SET", "test:{c}", "text"],
    ];
    for corruption in corruptions {
        redis.command(&["DEL", "test:{c}"]);
        redis.command(corruption);
        let errors = [
            store.exchange(&[exchange("c", "a", 1)]).await.err(),
            store.look(&[contract::look("c")]).await.err(),
        ];
        for error in errors {
            let Some(QuotaStoreError::Broken(why)) = error else { panic!("{error:?}") };
            assert!(why.contains("counter") && why.contains('c'), "{why}");
        }
    }
    redis.command(&["DEL", "test:{c}"]);
    contract::done(&*store, &exchange("c", "a", 1)).await;
}

#[tokio::test]
async fn passwords_are_needed_and_never_shown() {
    let redis = Redis::start_with(&["requirepass hunter2"]);
    let port = redis.address().port();
    let url = |user: &str| RedisServers::One(secret(&format!("redis://{user}127.0.0.1:{port}")));
    contract::done(&*open(&options(url(":hunter2@"))), &exchange("c", "a", 1)).await;
    for user in ["", ":hunter3@", "gate:hunter3@"] {
        let refused = open(&options(url(user))).exchange(&[exchange("c", "a", 2)]).await;
        let Err(QuotaStoreError::Broken(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("user name and password") && !why.contains("hunter"), "{why}");
    }
    for url in ["hunter2", "redis://:hunter2@", "rediss://:hunter2@localhost#insecure"] {
        let options = options(RedisServers::One(secret(url)));
        let error = RedisQuotas::new(&options, &Handle::current()).err().unwrap().to_string();
        assert!(!error.contains("hunter"), "{error}");
    }
    let braces = RedisOptions { prefix: "{a}".to_owned(), ..options(url("")) };
    assert!(RedisQuotas::new(&braces, &Handle::current()).is_err());
}

/// As docs/stores.md writes it.
#[tokio::test]
async fn the_rights_that_the_documentation_asks_for_are_enough() {
    const DOCUMENTATION: &str = include_str!("../../../docs/stores.md");
    let redis = Redis::start();
    let line = DOCUMENTATION.lines().find(|line| line.starts_with("ACL SETUSER")).unwrap();
    let words: Vec<_> = line.split(' ').collect();
    assert_eq!(redis.command(&words), ["OK"]);
    let port = redis.address().port();
    let url = secret(&format!("redis://sluicegate:PASSWORD@127.0.0.1:{port}"));
    let prefix = |prefix: &str| RedisOptions {
        prefix: prefix.to_owned(),
        ..options(RedisServers::One(url.clone()))
    };
    let store = open(&prefix("sluicegate:quota:"));
    contract::done(&*store, &charging("c", 1, 1)).await;
    assert_eq!(store.look(&[contract::look("c")]).await.unwrap()[0].used, 1);
    let elsewhere = open(&prefix("other:")).exchange(&[charging("c", 1, 1)]).await;
    let Err(QuotaStoreError::Broken(why)) = elsewhere else { panic!("{elsewhere:?}") };
    assert!(why.contains("lacks a right"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_the_contract_also_when_a_node_comes_back() {
    let mut nodes = Redis::start_cluster();
    let urls = nodes[..2].iter().map(|node| secret(&node.url())).collect();
    let cluster = options(RedisServers::Cluster(urls));
    let store = open(&cluster);
    contract::check(Arc::clone(&store), Effort::Some).await;
    contract::concurrency(&[Arc::clone(&store), open(&cluster)]).await;

    // Enough counters that each node has some.
    let names: Vec<_> = (0..30).map(|number| format!("counter-{number}")).collect();
    let batch: Vec<_> = names.iter().map(|name| charging(name, 1, 3)).collect();
    assert_eq!(store.exchange(&batch).await.unwrap().len(), batch.len());
    for node in &nodes {
        assert_ne!(node.command(&["DBSIZE"]), ["0"], "a node without counters");
        assert_eq!(node.command(&["SCRIPT", "FLUSH"]), ["OK"]);
    }
    let replies = store.exchange(&batch).await.unwrap();
    assert!(replies.iter().all(|reply| contract::answer(reply).used == 3), "{replies:?}");

    nodes[2].kill();
    let away = soon("an answer", store.exchange(&batch)).await;
    assert!(matches!(away, Err(QuotaStoreError::Unavailable(_))), "{away:?}");
    nodes[2].restart();
    for it in &batch {
        at_last(&*store, it).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_the_new_primary_counts_on() {
    let mut primary = Redis::start();
    let replica = Redis::start_replica(&primary);
    let sentinel = Redis::start_sentinel(&primary);
    // One that nobody listens at goes first.
    let RedisServers::Sentinel { mut nodes, master, .. } = behind(&sentinel) else { panic!() };
    nodes.insert(0, secret(&format!("redis://{}", crate::support::free_address())));
    let servers = RedisServers::Sentinel { nodes, master, username: None, password: None };
    contract::check(open(&options(servers)), Effort::Little).await;
    let store = open(&RedisOptions { wait_replicas: 1, ..options(behind(&sentinel)) });
    for seq in 1..=5 {
        // A replica that has only just been told may be late, and then the same is told again.
        assert_eq!(at_last(&*store, &charging("failover", seq, 2)).await.used, 2 * seq);
    }
    primary.kill();
    // There are no two servers for a while, so this one has nobody to wait for.
    let store = open(&options(behind(&sentinel)));
    let told_again = at_last(&*store, &charging("failover", 5, 2)).await;
    assert_eq!((told_again.previous_seq, told_again.used), (5, 10), "charged once");
    assert_eq!(replica.command(&["ROLE"])[0], "master");

    // The old one comes back, and is told what it is; nobody writes to it.
    primary.restart();
    soon("a demotion", async {
        while primary.command(&["ROLE"])[0] != "slave" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let next = at_last(&*store, &charging("failover", 6, 2)).await;
    assert_eq!((next.previous_seq, next.used), (5, 12));
}

/// A certificate for this machine in the files `tls.crt` and `tls.key`, and its authority's.
fn put_certificate(directory: &Path) -> String {
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer_key = rcgen::KeyPair::generate().unwrap();
    let issuer = authority.self_signed(&issuer_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(authority, issuer_key)).unwrap();
    std::fs::write(directory.join("tls.crt"), leaf.pem()).unwrap();
    std::fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
    issuer.pem()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_is_trusted_by_new_connections() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let directory = tempfile::tempdir().unwrap();
    let [ca, certificate, key] =
        ["ca.pem", "tls.crt", "tls.key"].map(|it| directory.path().join(it));
    std::fs::write(&ca, put_certificate(directory.path())).unwrap();
    let port = crate::support::free_address().port();
    let redis = Redis::start_with(&[
        &format!("tls-port {port}"),
        &format!("tls-cert-file {}", certificate.display()),
        &format!("tls-key-file {}", key.display()),
        "tls-auth-clients no",
        "tls-ca-cert-dir /etc/ssl/certs",
    ]);
    let url = secret(&format!("rediss://localhost:{port}"));
    let store =
        open(&RedisOptions { ca: Some(ca.clone()), ..options(RedisServers::One(url.clone())) });
    contract::done(&*store, &charging("tls", 1, 1)).await;

    let other = put_certificate(directory.path());
    let set = [
        "CONFIG",
        "SET",
        "tls-cert-file",
        certificate.to_str().unwrap(),
        "tls-key-file",
        key.to_str().unwrap(),
    ];
    assert_eq!(redis.command(&set), ["OK"]);
    // Who is connected stays so.
    contract::done(&*store, &charging("tls", 2, 1)).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let distrusted = soon("a refusal", async {
        loop {
            match store.exchange(&[charging("tls", 3, 1)]).await {
                Err(error) if error.to_string().contains("certificate") => break error,
                Err(_) => {}
                Ok(replies) => panic!("{replies:?}"),
            }
        }
    })
    .await;
    assert!(distrusted.to_string().contains("certificate"), "{distrusted}");
    // A file that is not whole yet is not taken up.
    std::fs::write(&ca, "").unwrap();
    assert!(store.exchange(&[charging("tls", 3, 1)]).await.is_err());
    std::fs::write(&ca, other).unwrap();
    assert_eq!(at_last(&*store, &charging("tls", 3, 1)).await.used, 3);
    std::fs::write(&ca, "").unwrap();
    let broken = RedisOptions { ca: Some(ca), ..options(RedisServers::One(url)) };
    let error = RedisQuotas::new(&broken, &Handle::current()).err().unwrap().to_string();
    assert!(error.contains("no PEM certificate"), "{error}");
}

/// Sentinels that vote, one of which then hears nothing of a failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_missed_a_failover_is_not_believed() {
    let mut primary = Redis::start();
    let replica = Redis::start_replica(&primary);
    let mut sentinels = [(); 3].map(|()| Redis::start_sentinel_of(&primary, 2));
    soon("sentinels that know each other", async {
        for sentinel in &sentinels {
            while !sentinel.command(&["SENTINEL", "CKQUORUM", MASTER])[0].contains("3 usable") {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let [cut_off, others @ ..] = &mut sentinels;
    let nodes = |some: &[&Redis]| RedisServers::Sentinel {
        nodes: some.iter().map(|sentinel| secret(&sentinel.url())).collect(),
        master: MASTER.to_owned(),
        username: None,
        password: None,
    };
    let store = open(&options(nodes(&[cut_off, &others[0], &others[1]])));
    contract::done(&*store, &charging("cut-off", 1, 1)).await;

    // Away, it keeps what it knew, and nobody tells it when it is back.
    cut_off.kill();
    primary.kill();
    let after = at_last(&*store, &charging("cut-off", 2, 2)).await;
    assert_eq!(after.used, 3);
    assert_eq!(replica.command(&["ROLE"])[0], "master");

    // The old primary is there again as if the network had parted it, and answers as one. The sentinel
    // that knows nothing else would send us there.
    for other in &*others {
        other.pause();
    }
    primary.restart();
    assert_eq!(primary.command(&["ROLE"])[0], "master");
    cut_off.restart();
    let port = primary.address().port().to_string();
    assert_eq!(cut_off.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER])[1], port);
    let before = open(&options(nodes(&[cut_off])));
    assert_eq!(contract::done(&*before, &charging("cut-off", 3, 1)).await.used, 1, "the trap");
    // A new connection has to be made, for which only that one can be asked.
    replica.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    let refused = soon("a refusal", async {
        loop {
            match store.exchange(&[charging("cut-off", 3, 4)]).await {
                Err(QuotaStoreError::Unavailable(why)) if why.contains("failover") => break why,
                Err(QuotaStoreError::Unavailable(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert!(refused.contains("missed a failover"), "{refused}");
    for other in &*others {
        other.go_on();
    }
    assert_eq!(at_last(&*store, &charging("cut-off", 3, 4)).await.used, 7);
}

#[tokio::test]
async fn in_production_no_server_elsewhere_is_reached_without_tls() {
    let elsewhere = "192.0.2.1";
    let primary = Redis::start();
    let sentinel = Redis::start_sentinel_alone(elsewhere);
    let production = |servers| RedisOptions { plain_elsewhere: false, ..options(servers) };
    contract::done(
        &*open(&production(RedisServers::One(secret(&primary.url())))),
        &exchange("c", "a", 1),
    )
    .await;
    let refused = open(&production(behind(&sentinel))).exchange(&[exchange("c", "a", 2)]).await;
    let Err(QuotaStoreError::Broken(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("another machine") && why.contains("rediss://"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_lost_in_a_failover_are_seen_to_be_lost() {
    let mut primary = Redis::start();
    let replica = Redis::start_replica(&primary);
    let sentinel = Redis::start_sentinel(&primary);
    let store = open(&options(behind(&sentinel)));
    contract::done(&*store, &charging("handed", 1, 1)).await;
    soon("a copy of the counter", async {
        while replica.command(&["DBSIZE"]) != ["1"] {
            tokio::task::yield_now().await;
        }
    })
    .await;

    // What comes now is answered, and lost with the primary.
    replica.pause();
    assert_eq!(primary.command(&["CLIENT", "KILL", "TYPE", "replica"]), ["1"]);
    contract::done(&*store, &charging("handed", 2, 10)).await;
    primary.kill();
    replica.go_on();
    let after = at_last(&*store, &charging("handed", 3, 100)).await;
    assert_eq!((after.previous_seq, after.used), (1, 101), "the second is seen to be lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_too_few_replicas_have_is_not_done() {
    let redis = Redis::start();
    let one = RedisServers::One(secret(&redis.url()));
    let store = open(&RedisOptions { wait_replicas: 1, ..options(one) });
    let alone = store.exchange(&[charging("copied", 1, 4)]).await;
    assert!(matches!(alone, Err(QuotaStoreError::Unavailable(_))), "{alone:?}");
    let _replica = Redis::start_replica(&redis);
    let copied = at_last(&*store, &charging("copied", 1, 4)).await;
    assert_eq!((copied.previous_seq, copied.used), (1, 4), "done once");
}

#[tokio::test]
async fn nobody_there_is_told_soon() {
    let nowhere = || secret(&format!("redis://{}", crate::support::free_address()));
    for servers in [
        RedisServers::One(nowhere()),
        RedisServers::Cluster(vec![nowhere(), nowhere()]),
        RedisServers::Sentinel {
            nodes: vec![nowhere(), nowhere()],
            master: MASTER.to_owned(),
            username: None,
            password: None,
        },
    ] {
        let store = open(&options(servers));
        let batch = [exchange("c", "a", 1)];
        let away =
            tokio::time::timeout(Duration::from_secs(10), store.exchange(&batch)).await.unwrap();
        assert!(matches!(away, Err(QuotaStoreError::Unavailable(_))), "{away:?}");
    }
}
