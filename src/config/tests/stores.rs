//! What is kept: the store, its keys, the policies and the audit log.

use super::*;
use crate::config::valid::{PolicyMode, SqlitePath, Store};

/// Production with a good master key and an audit log; a store needs a pepper as well.
const STRICT: &str = "environment: production
admin: { master_key: \"env:SLUICEGATE_MASTER_KEY\" }
audit: { directory: data/audit }
";
const MEMORY: &str = "store: { sqlite: { path: \":memory:\" } }\n";

fn warnings(text: &str) -> Vec<String> {
    warnings_of(&loaded(text))
}

/// All but the one that files without models have in common.
fn warnings_of(loaded: &Loaded) -> Vec<String> {
    let warnings = loaded.warnings.iter().map(ToString::to_string);
    warnings.filter(|warning| !warning.contains(": no models, ")).collect()
}

/// A file in which `URL`, or `REPLICA`, is what the variable of that name says.
fn with_url(key: &str) -> String {
    let other = if key == "replica_url" { "\n    url: env:DATABASE_URL" } else { "" };
    format!("store:\n  postgres:\n    {key}: env:URL{other}\n")
}

#[test]
fn a_store_is_one_of_two() {
    for (text, expected) in [
        (
            "store: {}",
            "1:1: store: neither `sqlite` nor `postgres`; write `sqlite: { path: data/sluicegate.db }`, or `postgres: { url: \"env:DATABASE_URL\" }`",
        ),
        (
            "store: sqlite",
            "1:8: store: expected a mapping, found `sqlite`; indent its keys below it, or write `{ key: value }`",
        ),
        (
            "store: { sqlite: { path: x }, postgres: { url: \"env:DATABASE_URL\" } }",
            "1:31: store.postgres: `sqlite` and `postgres` at once; keep one of them",
        ),
        (
            "store: { mysql: { url: x }, sqlite: { path: x } }",
            "1:10: store.mysql: unknown key; known here: `sqlite`, `postgres`",
        ),
        (
            "store: { sqlite: {} }",
            "1:10: store.sqlite: `path` is missing; write a path such as data/sluicegate.db",
        ),
        (
            "store: { sqlite: { path: src } }",
            "1:26: store.sqlite.path: is a directory; write the path of a file in it",
        ),
        (
            "store: { sqlite: { path: \"sqlite://x.db\" } }",
            "1:26: store.sqlite.path: `sqlite://x.db` is not the path of a file; write a path such as data/sluicegate.db",
        ),
        (
            "store: { sqlite: { path: \":Memory:\" } }",
            "1:26: store.sqlite.path: `:Memory:` is not the path of a file; write a path such as data/sluicegate.db",
        ),
        (
            "store: { postgres: { max_connections: 5 } }",
            "1:10: store.postgres: `url` is missing; set `url: env:DATABASE_URL`",
        ),
        (
            "store: { postgres: { url: \"env:DATABASE_URL\", max_connections: 0 } }",
            "1:64: store.postgres.max_connections: `0` is out of range; it can be 1 to 1000",
        ),
        (
            "store: { postgres: { url: \"env:DATABASE_URL\", max_connections: 1001 } }",
            "1:64: store.postgres.max_connections: `1001` is out of range; it can be 1 to 1000",
        ),
        (
            "store: { postgres: { url: \"env:NONE\" } }",
            "1:27: store.postgres.url: environment variable NONE is not set; set it before the start",
        ),
        (
            "store: { postgres: { dsn: x, url: \"env:DATABASE_URL\" } }",
            "1:22: store.postgres.dsn: unknown key; it is called `url` here",
        ),
    ] {
        refused(text, &format!("c.yaml:{expected}"));
    }
    refused_in_production(
        &format!("{MEMORY}auth: {{ keys: {{ pepper: \"env:SLUICEGATE_KEY_PEPPER\" }} }}"),
        "c.yaml:1:26: store.sqlite.path: keys that are gone at every restart are refused in production; write the path of a file, or use `postgres`",
    );
}

#[test]
fn stores_with_their_defaults() {
    let store = |text: &str| loaded(text).config.store.unwrap();
    let Store::Sqlite { path } = store("store: { sqlite: { path: data/x.db } }") else { panic!() };
    assert_eq!(path, SqlitePath::File("data/x.db".into()));
    let Store::Sqlite { path } = store(MEMORY) else { panic!() };
    assert_eq!(path, SqlitePath::Memory);
    let text = "store: { postgres: { url: \"env:DATABASE_URL\" } }";
    let Store::Postgres { url, max_connections, replica_url } = store(text) else { panic!() };
    assert_eq!(url.value.expose_secret(), DATABASE_URL);
    assert_eq!((max_connections, replica_url.is_none()), (20, true));
    let keys = loaded(text).config.auth.keys;
    assert!(keys.pepper.is_none() && keys.previous_pepper.is_none());
    assert_eq!((keys.cache, keys.stale_for), (100_000, Duration::from_hours(1)));
    assert!(loaded("auth: { anonymous: true }").config.store.is_none());
}

#[test]
fn a_database_url_is_understood_and_never_shown() {
    const ESCAPES: &str =
        "write `#`, `/`, `?`, `@`, `:` and `%` of a password as %23, %2F, %3F, %40, %3A and %25";
    const HOSTS: &str =
        "name one, such as db.example.com, 192.0.2.1, [2001:db8::1] or `?host=/var/run/postgresql`";
    const KNOWN: &str = "take it out; known are sslmode, sslrootcert, sslcert, sslkey, host, hostaddr, port, dbname, user, application_name";
    const URIS: &str = "see the documentation of PostgreSQL's connection URIs";
    for (url, message, hint) in [
        (
            "mysql://u:hunter2@db/x",
            "does not begin with postgres:// or postgresql://",
            "it is like postgres://user:password@db.example.com:5432/sluicegate",
        ),
        ("postgres:///hunter2", "has no host", HOSTS),
        ("postgres://u:hunter2@a b/x", "has a host that is neither a name nor an address", HOSTS),
        ("postgres://u:hunter2/x@db/x", "has a `#`, or an `@` behind its host", ESCAPES),
        ("postgres://u:hunter#2@db/x", "has a `#`, or an `@` behind its host", ESCAPES),
        ("postgres://u:hunter2/x", "has a port that is not 1 to 65535", ESCAPES),
        ("postgres://db/x?pasword=hunter2", "has a parameter that is not known", KNOWN),
        ("postgres://db/x?sslmode=hunter2", "has a `sslmode` that is not valid", URIS),
        ("postgres://db/x?hostaddr=hunter2", "has a `hostaddr` that is not valid", URIS),
        ("postgres://db/x?sslmode=allow&sslmode=allow", "has more than one `sslmode`", "keep one"),
    ] {
        for key in ["url", "replica_url"] {
            let found = problems_with(&with_url(key), &env_with("URL", url));
            let place = format!("c.yaml:3:{}: store.postgres.{key}", 5 + key.len() + 2);
            assert_eq!(found, [format!("{place}: the URL {message}; {hint}")], "{url}");
            assert!(!found.concat().contains("hunter"), "{found:?}");
        }
    }
}

#[test]
fn a_database_elsewhere_is_reached_by_tls_in_production() {
    const HINT: &str = "add `?sslmode=verify-full`; `verify-ca` and `require` are accepted as well";
    for key in ["url", "replica_url"] {
        let pepper = "auth: { keys: { pepper: \"env:SLUICEGATE_KEY_PEPPER\" } }\n";
        let text = format!("{}{pepper}{STRICT}", with_url(key));
        let found = |url| problems_with(&text, &env_with("URL", url));
        for (url, message) in [
            ("postgres://u:hidden@db/x", "the URL has no `sslmode`"),
            ("postgres://db/x?sslmode=disable", "the URL says `sslmode=disable`"),
            ("postgres://db/x?sslmode=allow", "the URL says `sslmode=allow`"),
            ("postgres://db/x?sslmode=prefer", "the URL says `sslmode=prefer`"),
            ("postgres://localhost/x?host=db", "the URL has no `sslmode`"),
        ] {
            let place = format!("c.yaml:3:{}: store.postgres.{key}", 5 + key.len() + 2);
            let rule = "a connection that may be plain is refused in production";
            assert_eq!(found(url), [format!("{place}: {message}: {rule}; {HINT}")], "{url}");
        }
        for url in [
            "postgres://db/x?sslmode=require",
            "postgres://db/x?sslmode=verify-ca",
            "postgresql://db/x?sslmode=verify-full",
            "postgres://127.0.0.1/x",
            "postgres://u@[::1]/x?sslmode=disable",
            "postgres:///x?host=/var/run/postgresql",
        ] {
            assert_eq!(found(url), [""; 0], "{url}");
        }
    }
}

#[test]
fn a_database_url_in_the_file_itself_is_left_out_of_the_dump() {
    let literal = "store: { postgres: { url: \"postgres://u:hidden-1@localhost/x\" } }\n";
    let loaded = loaded(literal);
    assert_eq!(
        warnings_of(&loaded),
        [
            "c.yaml:1:27: store.postgres.url: a secret in the file itself; production refuses it; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`"
        ]
    );
    let dump = dump(&loaded.config);
    assert!(!format!("{loaded:?}{dump}").contains("hidden"));
    assert!(dump.contains("<redacted>"));
    refused_in_production(
        &format!("{literal}auth: {{ keys: {{ pepper: \"env:SLUICEGATE_KEY_PEPPER\" }} }}"),
        "c.yaml:1:27: store.postgres.url: a secret in the file itself is refused in production; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`",
    );
}

#[test]
fn where_keys_can_be_somebody_can_call() {
    assert_eq!(problems(MEMORY), [""; 0]);
    assert_eq!(problems(&format!("{MEMORY}auth: {{ anonymous: false }}")), [""; 0]);
    // A store with a mistake is one.
    assert_eq!(problems("store: { sqlite: { path: src } }").len(), 1);
    assert_eq!(
        problems(
            "environment: production\nstore: { sqlite: { path: x } }\nauth: { keys: { pepper: \"env:SLUICEGATE_KEY_PEPPER\" } }"
        ),
        [
            "c.yaml:1:1: production needs a master key; set `admin.master_key: env:SLUICEGATE_MASTER_KEY`"
        ]
    );
}

#[test]
fn peppers() {
    const MAKE_ONE: &str = "make one with `sluicegate keys generate-master`";
    let found = |keys: &str| {
        let text = format!(
            "auth:\n  keys: {keys}\n{MEMORY}admin: {{ master_key: \"env:SLUICEGATE_MASTER_KEY\" }}"
        );
        let env = env_with("SHORT", "0123456789abcdef0123456789abcde");
        problems_with(&text, &env)
    };
    for (keys, expected) in [
        (
            "{ pepper: \"env:SHORT\" }",
            format!("19: auth.keys.pepper: the pepper is shorter than 32 bytes; {MAKE_ONE}"),
        ),
        (
            "{ pepper: \"env:SLUICEGATE_MASTER_KEY\" }",
            "19: auth.keys.pepper: the pepper is the master key; give each a value of its own"
                .to_owned(),
        ),
        (
            "{ pepper: \"env:SLUICEGATE_KEY_PEPPER\", previous_pepper: \"env:SHORT\" }",
            format!(
                "65: auth.keys.previous_pepper: the previous pepper is shorter than 32 bytes; {MAKE_ONE}"
            ),
        ),
        (
            "{ pepper: \"env:SLUICEGATE_KEY_PEPPER\", previous_pepper: \"env:SLUICEGATE_MASTER_KEY\" }",
            "65: auth.keys.previous_pepper: the previous pepper is the master key; give each a value of its own"
                .to_owned(),
        ),
        (
            "{ previous_pepper: \"env:SLUICEGATE_KEY_PEPPER\" }",
            "11: auth.keys.previous_pepper: `previous_pepper` without `pepper`; write both, or call it `pepper`"
                .to_owned(),
        ),
        (
            "{ cache: 999 }",
            "18: auth.keys.cache: `999` is out of range; it can be 1000 to 10000000".to_owned(),
        ),
        (
            "{ cache: 10000001 }",
            "18: auth.keys.cache: `10000001` is out of range; it can be 1000 to 10000000"
                .to_owned(),
        ),
        (
            "{ stale_for: 8d }",
            "22: auth.keys.stale_for: `8d` is out of range; it can be 0s to 7d".to_owned(),
        ),
        (
            "{ salt: x }",
            "11: auth.keys.salt: unknown key; it is called `pepper` here".to_owned(),
        ),
    ] {
        assert_eq!(found(keys), [format!("c.yaml:2:{expected}")], "{keys}");
    }
    let keys = "{ pepper: \"env:SLUICEGATE_KEY_PEPPER\", cache: 10000000, stale_for: 0s }";
    assert_eq!(found(keys), [""; 0]);
    assert_eq!(
        warnings(&format!(
            "{MEMORY}auth:\n  keys: {{ pepper: \"env:SLUICEGATE_KEY_PEPPER\", previous_pepper: \"env:SLUICEGATE_KEY_PEPPER\" }}"
        )),
        [
            "c.yaml:3:65: auth.keys.previous_pepper: the previous pepper is the present one, so it has no effect; take it out"
        ]
    );
}

#[test]
fn a_pepper_is_strong_in_production_and_there_where_there_are_keys() {
    let store = "store: { sqlite: { path: x } }\n";
    const HINT: &str = "set `auth.keys.pepper: env:SLUICEGATE_KEY_PEPPER`; any 32 random bytes or more do, as `sluicegate keys generate-master` prints them";
    refused_in_production(
        store,
        &format!("c.yaml:1:1: store: production needs a pepper for its keys; {HINT}"),
    );
    refused_in_production(
        &format!("{store}auth: {{ keys: {{ cache: 1000 }} }}"),
        &format!("c.yaml:2:9: auth.keys: production needs a pepper for its keys; {HINT}"),
    );
    let weak = "changeme-changeme-changeme-changeme";
    let text = format!("{store}auth:\n  keys: {{ pepper: \"env:WEAK\" }}\n");
    let place = "c.yaml:3:19: auth.keys.pepper: the pepper is a known placeholder";
    let make = "make one with `sluicegate keys generate-master`";
    assert_eq!(
        problems_with(&format!("{text}{STRICT}"), &env_with("WEAK", weak)),
        [format!("{place}, which production refuses; {make}")]
    );
    let loaded = load_str("c.yaml", &text, &env_with("WEAK", weak)).unwrap();
    assert_eq!(warnings_of(&loaded), [format!("{place}; production refuses it; {make}")]);
    refused_in_production(
        &format!("{store}auth: {{ keys: {{ pepper: hidden-{PEPPER} }} }}"),
        "c.yaml:2:25: auth.keys.pepper: a secret in the file itself is refused in production; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`",
    );
}

#[test]
fn keys_without_a_store_are_a_warning_and_no_part_of_the_dump() {
    let text = "auth:\n  anonymous: true\n  keys: { pepper: \"env:SLUICEGATE_KEY_PEPPER\" }";
    assert_eq!(
        warnings(text),
        [
            "c.yaml:3:3: auth.keys: there are no keys without `store`, so this has no effect; add `store`, or take it out"
        ]
    );
    let with = loaded(text);
    assert_eq!(with.hash, loaded("auth: { anonymous: true }").hash);
    assert!(!dump(&with.config).contains("keys"));
}

#[test]
fn policies() {
    for (text, expected) in [
        (
            "policies: {}",
            "1:1: policies: `directory` is missing; give the path of a directory with Cedar policies",
        ),
        (
            "policies: { directory: nowhere }",
            "1:24: policies.directory: `nowhere` can't be read: No such file or directory (os error 2); relative paths are relative to the working directory",
        ),
        (
            "policies: { directory: /nowhere }",
            "1:24: policies.directory: `/nowhere` can't be read: No such file or directory (os error 2)",
        ),
        (
            "policies: { directory: Cargo.toml }",
            "1:24: policies.directory: `Cargo.toml` can't be read: Not a directory (os error 20); relative paths are relative to the working directory",
        ),
        (
            "policies: { directory: src, mode: on }",
            "1:35: policies.mode: unknown value `on`; it can be `enforce`, `shadow`",
        ),
        (
            "policies: { path: x, directory: src }",
            "1:13: policies.path: unknown key; it is called `directory` here",
        ),
    ] {
        refused(text, &format!("c.yaml:{expected}"));
    }
    let policies = |mode: &str| {
        let text = format!("{STRICT}policies: {{ directory: src{mode} }}");
        (loaded(&text).config.policies.unwrap(), warnings(&text))
    };
    let (enforced, warnings) = policies("");
    assert_eq!((enforced.mode, enforced.directory.to_str()), (PolicyMode::Enforce, Some("src")));
    assert_eq!(warnings, [""; 0]);
    let (shadow, warnings) = policies(", mode: shadow");
    assert_eq!(shadow.mode, PolicyMode::Shadow);
    assert_eq!(
        warnings,
        [
            "c.yaml:4:35: policies.mode: in shadow mode the policies refuse nothing, in production too; write `enforce` when their decisions are right"
        ]
    );
}

#[test]
fn audit() {
    for (text, expected) in [
        ("audit: {}", "1:1: audit: `directory` is missing; write a path such as data/audit"),
        (
            "audit: { directory: Cargo.toml }",
            "1:21: audit.directory: is not a directory; name a directory; a missing one is made",
        ),
        (
            "audit: { directory: x, retention: 23h }",
            "1:35: audit.retention: `23h` is out of range; it can be 24h to 3650d",
        ),
        (
            "audit: { directory: x, retention: 3651d }",
            "1:35: audit.retention: `3651d` is out of range; it can be 24h to 3650d",
        ),
        (
            "audit: { directory: x, segment_size: 1023KiB }",
            "1:38: audit.segment_size: `1023KiB` is out of range; it can be 1MiB to 1GiB",
        ),
        (
            "audit: { directory: x, segment_size: 2GiB }",
            "1:38: audit.segment_size: `2GiB` is out of range; it can be 1MiB to 1GiB",
        ),
        (
            "audit: { path: x, directory: x }",
            "1:10: audit.path: unknown key; it is called `directory` here",
        ),
    ] {
        refused(text, &format!("c.yaml:{expected}"));
    }
    let audit = loaded(STRICT).config.audit.unwrap();
    assert_eq!(audit.retention, Duration::from_hours(90 * 24));
    assert_eq!((audit.segment_size, audit.directory.to_str()), (64 << 20, Some("data/audit")));
    let without = STRICT.replace("audit:", "#");
    assert_eq!(
        warnings(&without),
        [
            "c.yaml:1:1: production without `audit`: nothing is kept of who changed what; set `audit.directory: data/audit`"
        ]
    );
    assert_eq!(warnings(&without.replace("production", "staging")), [""; 0]);
}

#[test]
fn what_is_kept_changes_with_a_restart_and_policies_do_not() {
    let shown = |a: &Config, b: &Config| {
        let changes = diff(a, b);
        let text = format!("{changes:?}");
        assert!(!shows_a_secret(&text), "{text}");
        changes.into_iter().map(|change| (change.path, change.effect)).collect::<Vec<_>>()
    };
    let a = loaded(PRODUCTION).config;
    let changed = PRODUCTION
        .replace("max_connections: 20", "max_connections: 21")
        .replace("cache: 100000", "cache: 100001")
        .replace("retention: 90d", "retention: 91d")
        .replace("mode: enforce }", "mode: shadow }");
    let expected = [
        ("audit.retention", Effect::Restart),
        ("auth.keys.cache", Effect::Restart),
        ("policies.mode", Effect::Live),
        ("store.postgres.max_connections", Effect::Restart),
    ];
    let expected = expected.map(|(path, effect)| (path.to_owned(), effect));
    assert_eq!(shown(&a, &loaded(&changed).config), expected);
    // Other values behind the same references.
    for (variable, value, path) in [
        ("DATABASE_URL", "postgres://u:hidden-2@localhost/x", "store.postgres.url"),
        ("DATABASE_REPLICA_URL", "postgres://u:hidden-2@localhost/x", "store.postgres.replica_url"),
        (
            "SLUICEGATE_KEY_PEPPER",
            "hidden-c91f27a04be86d35107e9fd24a8b63c5f0d71e2b94KQZX",
            "auth.keys.pepper",
        ),
    ] {
        let b = load_with(PRODUCTION, &env_with(variable, value)).unwrap().config;
        assert_eq!(shown(&a, &b), [(path.to_owned(), Effect::Restart)], "{variable}");
    }
    // A store that comes or goes brings its keys along.
    let without = loaded("auth: { anonymous: true }").config;
    let with = loaded(&format!("{MEMORY}auth: {{ anonymous: true }}")).config;
    let expected = ["auth.keys", "ledger", "store"].map(|path| (path.to_owned(), Effect::Restart));
    assert_eq!(shown(&without, &with), expected);
    assert_eq!(shown(&with, &without), expected);
}
