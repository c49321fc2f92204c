//! `store` and `audit`: what is kept, and where.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{required, value};
use crate::config::named::PemFiles;
use crate::config::node::Scalar;
use crate::config::postgres::{self, SslFiles, SslMode};
use crate::config::reader::{Cursor, Keys, Reader};
use crate::config::valid::{Audit, Secret, SqlitePath, Store};

pub(in crate::config) const STORE: Keys = Keys {
    known: &["sqlite", "postgres"],
    renamed: &[
        ("postgresql", "postgres"),
        ("pg", "postgres"),
        ("url", "postgres.url"),
        ("database_url", "postgres.url"),
        ("path", "sqlite.path"),
        ("file", "sqlite.path"),
    ],
    later: &[],
};

pub(in crate::config) const SQLITE: Keys = Keys {
    known: &["path"],
    renamed: &[
        ("file", "path"),
        ("filename", "path"),
        ("database", "path"),
        ("url", "path"),
        ("directory", "path"),
    ],
    later: &[],
};

pub(in crate::config) const POSTGRES: Keys = Keys {
    known: &["url", "max_connections", "replica_url"],
    renamed: &[
        ("database_url", "url"),
        ("connection_string", "url"),
        ("dsn", "url"),
        ("uri", "url"),
        ("host", "url"),
        ("password", "url"),
        ("pool_size", "max_connections"),
        ("connections", "max_connections"),
        ("connection_limit", "max_connections"),
        ("database_connection_pool_limit", "max_connections"),
        ("replica", "replica_url"),
        ("read_replica_url", "replica_url"),
    ],
    later: &[],
};

pub(in crate::config) const AUDIT: Keys = Keys {
    known: &["directory", "retention", "segment_size"],
    renamed: &[
        ("path", "directory"),
        ("dir", "directory"),
        ("keep", "retention"),
        ("max_age", "retention"),
        ("retention_days", "retention"),
        ("max_size", "segment_size"),
        ("max_segment_size", "segment_size"),
        ("rotation_size", "segment_size"),
    ],
    later: &[],
};

const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_hours(24);
/// What one process may take of a server's connections, of which there are a hundred by default.
const CONNECTIONS: RangeInclusive<u64> = 1..=1_000;
/// How long records are kept: up to ten years, as tax law asks of some.
const RETENTIONS: RangeInclusive<Duration> = DAY..=Duration::from_hours(24 * 3_650);
/// Small enough to be read into memory, large enough that there are not too many.
const SEGMENT_SIZES: RangeInclusive<u64> = MIB..=1 << 30;

/// Reads `store`.
pub(super) fn store(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Option<Store> {
    let at = at?;
    let fields = reader.fields(at, &STORE);
    match (fields.get("sqlite"), fields.get("postgres")) {
        (Some(sqlite_at), None) => sqlite(reader, &sqlite_at),
        (None, Some(postgres_at)) => postgres(reader, &postgres_at),
        (Some(_), Some(second)) => {
            let message = "`sqlite` and `postgres` at once";
            reader.report.error(second.key, &second.path, message, "keep one of them");
            None
        }
        (None, None) => {
            if !at.is_broken() {
                let hint = "write `sqlite: { path: data/sluicegate.db }`, or `postgres: { url: \
                            \"env:DATABASE_URL\" }`";
                reader.report.error(at.key, &at.path, "neither `sqlite` nor `postgres`", hint);
            }
            None
        }
    }
}

fn sqlite(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Store> {
    const HINT: &str = "write a path such as data/sluicegate.db";
    let fields = reader.fields(at, &SQLITE);
    let at = required(reader, at, &fields, "path", HINT)?;
    let text = reader.text(&at)?;
    if text == ":memory:" {
        if reader.production {
            let message = "keys that are gone at every restart are refused in production";
            reader.wrong(&at, message, "write the path of a file, or use `postgres`");
        }
        return Some(Store::Sqlite { path: SqlitePath::Memory });
    }
    // SQLite takes the first two for something else than a file's name; nobody means the others.
    if [":", "file:", "sqlite:", "env:"].iter().any(|prefix| text.starts_with(prefix)) {
        let shown = at.scalar().map(Scalar::shown).unwrap_or_default();
        reader.wrong(&at, format!("{shown} is not the path of a file"), HINT);
        return None;
    }
    let path = PathBuf::from(text);
    if path.is_dir() {
        reader.wrong(&at, "is a directory", "write the path of a file in it");
        return None;
    }
    Some(Store::Sqlite { path: SqlitePath::File(path) })
}

fn postgres(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Store> {
    let fields = reader.fields(at, &POSTGRES);
    let hint = "set `url: env:DATABASE_URL`";
    let url = required(reader, at, &fields, "url", hint).and_then(|at| database_url(reader, &at));
    let max_connections =
        value(reader, Some(&fields), "max_connections", |r, at| r.integer(at, CONNECTIONS));
    let replica_url = value(reader, Some(&fields), "replica_url", database_url);
    Some(Store::Postgres {
        url: url?,
        max_connections: max_connections.and_then(|count| u32::try_from(count).ok()).unwrap_or(20),
        replica_url,
    })
}

/// A URL with its password: a secret as a whole.
fn database_url(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Secret> {
    let secret = reader.secret(at)?;
    let url = match postgres::parse(secret.value.expose_secret()) {
        Ok(url) => url,
        Err(error) => {
            reader.wrong(at, format!("the URL {error}"), error.hint());
            return None;
        }
    };
    if reader.production && !url.local && !url.ssl_mode.is_some_and(|mode| mode.is_encrypted()) {
        let found = match url.ssl_mode {
            Some(mode) => format!("the URL says `sslmode={}`", mode.name()),
            None => "the URL has no `sslmode`".to_owned(),
        };
        let message = format!("{found}: a connection that may be plain is refused in production");
        let hint = "add `?sslmode=verify-full`; `verify-ca` and `require` are accepted as well";
        reader.wrong(at, message, hint);
    }
    if !matches!(url.ssl_mode, Some(SslMode::Disable | SslMode::Allow)) {
        ssl_files(reader, at, url.files);
    }
    Some(secret)
}

/// Files that the driver reads when it connects.
fn ssl_files(reader: &mut Reader<'_>, at: &Cursor<'_>, files: SslFiles) {
    let mut named = |parameter, path: PathBuf| {
        let what = format!("the URL's `{parameter}` ");
        let readable = reader.readable(at, &path, &what);
        readable.then(|| reader.report.named(at.place(), &at.path, &path).said_of(what))
    };
    let authorities = files.authorities.and_then(|path| named("sslrootcert", path));
    let certificate = files.certificate.and_then(|path| named("sslcert", path));
    let key = files.key.and_then(|path| named("sslkey", path));
    let certificates = &mut reader.report.certificates;
    certificates.extend(authorities.map(PemFiles::Authorities));
    if let (Some(certificate), Some(key)) = (certificate, key) {
        certificates.push(PemFiles::Pair { certificate, key });
    }
}

/// Reads `audit`.
pub(super) fn audit(
    reader: &mut Reader<'_>,
    root: &Cursor<'_>,
    at: Option<&Cursor<'_>>,
) -> Option<Audit> {
    let Some(at) = at else {
        if reader.production {
            let hint = "set `audit.directory: data/audit`";
            let message = "production without `audit`: nothing is kept of who changed what";
            reader.report.warning(root.key, &root.path, message, hint);
        }
        return None;
    };
    let fields = reader.fields(at, &AUDIT);
    let hint = "write a path such as data/audit";
    let directory = required(reader, at, &fields, "directory", hint).and_then(|at| {
        let path = PathBuf::from(reader.text(&at)?);
        if path.exists() && !path.is_dir() {
            reader.wrong(&at, "is not a directory", "name a directory; a missing one is made");
            return None;
        }
        Some(path)
    });
    let retention = value(reader, Some(&fields), "retention", |r, at| r.duration(at, RETENTIONS));
    let segment_size =
        value(reader, Some(&fields), "segment_size", |r, at| r.size(at, SEGMENT_SIZES));
    Some(Audit {
        directory: directory?,
        retention: retention.unwrap_or(90 * DAY),
        segment_size: segment_size.unwrap_or(64 * MIB),
    })
}
