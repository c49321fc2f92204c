//! `quota_store`: where it is counted what callers use.

use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{authorities, required, section, value};
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::redis;
use crate::config::valid::{QuotaStore, Redis, RedisServers, RedisUrl, Secret};

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["redis", "lease_ttl"],
    renamed: &[
        ("url", "redis.url"),
        ("redis_url", "redis.url"),
        ("cluster", "redis.cluster"),
        ("sentinel", "redis.sentinel"),
        ("lease", "lease_ttl"),
        ("ttl", "lease_ttl"),
    ],
    later: &[],
};

pub(in crate::config) const REDIS: Keys = Keys {
    known: &["url", "cluster", "sentinel", "prefix", "ca", "wait_replicas"],
    renamed: &[
        ("redis_url", "url"),
        ("uri", "url"),
        ("host", "url"),
        ("password", "url"),
        ("nodes", "cluster"),
        ("startup_nodes", "cluster"),
        ("sentinel_nodes", "sentinel.nodes"),
        ("service_name", "sentinel.master"),
        ("namespace", "prefix"),
        ("key_prefix", "prefix"),
        ("ca_file", "ca"),
        ("replicas", "wait_replicas"),
    ],
    later: &[],
};

pub(in crate::config) const SENTINEL: Keys = Keys {
    known: &["nodes", "master", "username", "password"],
    renamed: &[
        ("urls", "nodes"),
        ("service_name", "master"),
        ("master_name", "master"),
        ("name", "master"),
        ("primary", "master"),
        ("user", "username"),
    ],
    later: &[],
};

/// What the names of keys begin with.
const PREFIX: &str = "sluicegate:quota:";
const MAX_PREFIX: usize = 100;
const LEASE_TTL: Duration = Duration::from_secs(30);
const LEASE_TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(10);
const REPLICAS: RangeInclusive<u64> = 0..=10;

/// Reads `quota_store`.
pub(super) fn quota_store(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> QuotaStore {
    let fields = section(reader, at, &KEYS);
    let redis = value(reader, fields.as_ref(), "redis", redis);
    let lease_ttl = value(reader, fields.as_ref(), "lease_ttl", |r, at| r.duration(at, LEASE_TTLS));
    QuotaStore { redis, lease_ttl: lease_ttl.unwrap_or(LEASE_TTL) }
}

fn redis(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Redis> {
    let fields = reader.fields(at, &REDIS);
    let servers = servers(reader, at, &fields);
    let prefix = value(reader, Some(&fields), "prefix", prefix);
    let ca = value(reader, Some(&fields), "ca", |reader, at| {
        if servers.as_ref().is_some_and(|(_, tls)| !tls) {
            reader.wrong(at, "`ca` without TLS", "use rediss:// URLs, or take it out");
        }
        authorities(reader, at)
    });
    let replicas = value(reader, Some(&fields), "wait_replicas", |r, at| r.integer(at, REPLICAS));
    Some(Redis {
        servers: servers?.0,
        prefix: prefix.unwrap_or_else(|| PREFIX.to_owned()),
        ca,
        wait_replicas: replicas.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
    })
}

/// Where it is, and whether it is reached with TLS.
fn servers(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    fields: &Fields<'_>,
) -> Option<(RedisServers, bool)> {
    let found: Vec<_> =
        ["url", "cluster", "sentinel"].iter().filter_map(|key| fields.get(key)).collect();
    match &found[..] {
        [] => {
            if !at.is_broken() {
                let message = "none of `url`, `cluster` and `sentinel`";
                reader.report.error(at.key, &at.path, message, "set `url: env:REDIS_URL`");
            }
            return None;
        }
        [_] => {}
        [_, second, ..] => {
            let message = "only one of `url`, `cluster` and `sentinel` can be";
            reader.report.error(second.key, &second.path, message, "keep one of them");
            return None;
        }
    }
    if let Some(at) = fields.get("url") {
        let (url, read) = redis_url(reader, &at)?;
        return Some((RedisServers::One(url), read.tls));
    }
    if let Some(at) = fields.get("cluster") {
        let (nodes, tls) = nodes(reader, &at)?;
        return Some((RedisServers::Cluster(nodes), tls));
    }
    let at = fields.get("sentinel")?;
    let fields = reader.fields(&at, &SENTINEL);
    let hint = "list their URLs, such as rediss://sentinel.example.com:26379";
    let nodes_at = required(reader, &at, &fields, "nodes", hint);
    let found = nodes_at.and_then(|at| nodes(reader, &at));
    let hint = "write the name that the sentinels monitor the primary by";
    let master = required(reader, &at, &fields, "master", hint);
    let master = master.and_then(|at| reader.text(&at).map(str::to_owned));
    let username = value(reader, Some(&fields), "username", |r, at| r.secret(at));
    let password = value(reader, Some(&fields), "password", |r, at| r.secret(at));
    if let (Some(_), None, Some(at)) = (&username, &password, fields.get("username")) {
        reader.wrong(&at, "`username` without `password`", "write both, or `password` alone");
    }
    let (nodes, tls) = found?;
    Some((RedisServers::Sentinel { nodes, master: master?, username, password }, tls))
}

/// URLs of several servers, all of them with TLS or none.
fn nodes(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<(Vec<RedisUrl>, bool)> {
    if at.is_empty_list() {
        reader.wrong(at, "is empty", "list at least one URL");
        return None;
    }
    let mut tls = None;
    let nodes = reader.list(at, |reader, at| {
        let (url, read) = redis_url(reader, at)?;
        if read.database {
            reader.wrong(at, "the URL has a database's number", "leave it out: it is 0 here");
        }
        if *tls.get_or_insert(read.tls) != read.tls {
            let hint = "write rediss:// for all of them, or redis:// for all";
            reader.wrong(at, "some URLs are with TLS and some without", hint);
        }
        Some(url)
    })?;
    Some((nodes, tls?))
}

/// A URL: a secret as a whole, unless there is no credential in it.
fn redis_url(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<(RedisUrl, redis::RedisUrl)> {
    let written = at.scalar().filter(|scalar| {
        let text = &scalar.text;
        scalar.source.is_none() && text.contains("://") && !text.contains(['@', '$'])
    });
    let url = match written {
        Some(scalar) => RedisUrl::Written(scalar.text.clone()),
        None => RedisUrl::Secret(reader.secret(at)?),
    };
    let read = match redis::parse(url.expose()) {
        Ok(read) => read,
        Err(error) => {
            reader.wrong(at, format!("the URL {error}"), error.hint());
            return None;
        }
    };
    if reader.production && !read.local && !read.tls {
        let message = "the URL begins with redis://: a plain connection is refused in production";
        reader.wrong(at, message, "use rediss://");
    }
    Some((url, read))
}

fn prefix(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<String> {
    let text = reader.text(at)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"{}".contains(&byte);
    if text.len() > MAX_PREFIX || !text.bytes().all(plain) {
        let hint = format!("write up to {MAX_PREFIX} ASCII characters, no space and no brace");
        reader.wrong(at, "can't be what keys begin with", hint);
        return None;
    }
    Some(text.to_owned())
}

impl RedisUrl {
    /// The URL. It may hold a password.
    pub fn expose(&self) -> &str {
        match self {
            Self::Written(url) => url,
            Self::Secret(Secret { value, .. }) => value.expose_secret(),
        }
    }
}
