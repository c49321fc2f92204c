//! `auth`, `admin` and `request_headers`: who may call, and what passes.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;
use secrecy::ExposeSecret;
use sluicegate_filters::identify::virtual_key::MIN_PEPPER;
use sluicegate_filters::screen::headers::never_forwarded;

use super::{jwt, section, value};
use crate::config::master_key::{self, Weakness};
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::valid::{self, Admin, Auth, RequestHeaders, Secret};

pub(in crate::config) const AUTH: Keys = Keys {
    known: &["anonymous", "keys", "jwt"],
    renamed: &[
        ("allow_anonymous", "anonymous"),
        ("disabled", "anonymous"),
        ("virtual_keys", "keys"),
        ("api_keys", "keys"),
        ("pepper", "keys.pepper"),
        ("salt_key", "keys.pepper"),
        ("jwt_auth", "jwt"),
        ("oidc", "jwt"),
        ("enable_jwt_auth", "jwt"),
    ],
    later: &[],
};

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["pepper", "previous_pepper", "cache", "stale_for"],
    renamed: &[
        ("salt", "pepper"),
        ("salt_key", "pepper"),
        ("secret", "pepper"),
        ("old_pepper", "previous_pepper"),
        ("cache_size", "cache"),
        ("max_stale", "stale_for"),
        ("grace", "stale_for"),
    ],
    later: &[],
};

pub(in crate::config) const ADMIN: Keys = Keys {
    known: &["master_key"],
    renamed: &[("key", "master_key"), ("password", "master_key"), ("token", "master_key")],
    later: &[],
};

pub(in crate::config) const REQUEST_HEADERS: Keys = Keys {
    known: &["allow"],
    renamed: &[("allowed", "allow"), ("forward", "allow"), ("pass", "allow")],
    later: &[],
};

/// Credentials kept in memory: some hundred bytes each.
const CACHE: RangeInclusive<u64> = 1_000..=10_000_000;
/// How long a key may be used without a look at the store: a week-end and the days around it.
const STALE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(7 * 24);

/// What a person can make a secret with.
const MAKE_ONE: &str = "make one with `sluicegate keys generate-master`";

/// Headers that belong to one connection (RFC 9110, 7.6.1) or that the gateway writes itself.
const OWN_HEADERS: [&str; 14] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "expect",
    "forwarded",
    "x-real-ip",
];

/// Headers that carry a caller's credential.
const CREDENTIAL_HEADERS: [&str; 6] =
    ["authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "set-cookie"];

/// Reads `auth` and `admin`, and sees that somebody could call.
pub(super) fn access(
    reader: &mut Reader<'_>,
    root: &Cursor<'_>,
    fields: &Fields<'_>,
) -> (Auth, Admin) {
    let (auth_at, admin_at) = (fields.get("auth"), fields.get("admin"));
    let auth = section(reader, auth_at.as_ref(), &AUTH);
    let admin = section(reader, admin_at.as_ref(), &ADMIN);
    let anonymous = value(reader, auth.as_ref(), "anonymous", |reader, at| {
        let anonymous = reader.boolean(at)?;
        if anonymous && reader.production {
            let hint = "take it out, and give callers a key";
            reader.wrong(at, "calls without a credential are refused in production", hint);
        }
        Some(anonymous)
    });
    let key_at = admin.as_ref().and_then(|admin| admin.get("master_key"));
    let master_key = key_at.as_ref().and_then(|at| master_key(reader, at));

    let store_at = fields.get("store");
    let keys_at = auth.as_ref().and_then(|auth| auth.get("keys"));
    let keys = keys(reader, keys_at.as_ref(), store_at.as_ref(), master_key.as_ref());

    let jwt_at = auth.as_ref().and_then(|auth| auth.get("jwt"));
    let jwt = jwt::issuers(reader, jwt_at.as_ref());

    // A value that is there but wrong has been reported; this is for what is not there at all.
    let anonymous_at = auth.as_ref().and_then(|auth| auth.get("anonymous"));
    let issues = jwt_at.is_some_and(|at| !at.is_empty_list());
    let could_call = anonymous.unwrap_or(anonymous_at.is_some()) || store_at.is_some() || issues;
    if key_at.is_none() && (reader.production || !could_call) {
        let (at, message) = if reader.production {
            (admin_at.as_ref(), "production needs a master key")
        } else {
            (auth_at.as_ref().or(admin_at.as_ref()), "nobody could call the gateway")
        };
        let hint = if reader.production {
            "set `admin.master_key: env:SLUICEGATE_MASTER_KEY`"
        } else {
            "set `admin.master_key: env:SLUICEGATE_MASTER_KEY`, or `auth.anonymous: true`"
        };
        let at = at.unwrap_or(root);
        reader.report.error(at.key, &at.path, message, hint);
    }
    (Auth { anonymous: anonymous.unwrap_or(false), keys, jwt }, Admin { master_key })
}

fn master_key(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Secret> {
    let secret = reader.secret(at)?;
    if let Err(weakness) = master_key::check(secret.value.expose_secret()) {
        weak(reader, at, "the master key", weakness);
    }
    Some(secret)
}

fn weak(reader: &mut Reader<'_>, at: &Cursor<'_>, name: &str, weakness: Weakness) {
    if reader.production {
        reader.wrong(at, format!("{name} {weakness}, which production refuses"), MAKE_ONE);
    } else {
        let message = format!("{name} {weakness}; production refuses it");
        reader.report.warning(at.place(), &at.path, message, MAKE_ONE);
    }
}

/// Reads `auth.keys`.
fn keys(
    reader: &mut Reader<'_>,
    at: Option<&Cursor<'_>>,
    store_at: Option<&Cursor<'_>>,
    master_key: Option<&Secret>,
) -> valid::Keys {
    let fields = section(reader, at, &KEYS);
    let get = |key| fields.as_ref().and_then(|fields| fields.get(key));
    let (pepper_at, previous_at) = (get("pepper"), get("previous_pepper"));
    let pepper = pepper_at.as_ref().and_then(|at| pepper(reader, at, "the pepper", master_key));
    let previous_pepper = previous_at.as_ref().and_then(|at| {
        let previous = self::pepper(reader, at, "the previous pepper", master_key)?;
        if pepper.as_ref().is_some_and(|pepper| is_same(pepper, &previous)) {
            let message = "the previous pepper is the present one, so it has no effect";
            reader.report.warning(at.place(), &at.path, message, "take it out");
        }
        Some(previous)
    });
    if let (Some(at), None) = (&previous_at, &pepper_at) {
        let hint = "write both, or call it `pepper`";
        reader.report.error(at.key, &at.path, "`previous_pepper` without `pepper`", hint);
    }
    match (at, store_at) {
        (Some(at), None) => {
            let message = "there are no keys without `store`, so this has no effect";
            reader.report.warning(at.key, &at.path, message, "add `store`, or take it out");
        }
        (_, Some(store_at)) if reader.production && pepper_at.is_none() => {
            let at = at.unwrap_or(store_at);
            let hint = "set `auth.keys.pepper: env:SLUICEGATE_KEY_PEPPER`; any 32 random bytes or \
                        more do, as `sluicegate keys generate-master` prints them";
            reader.report.error(at.key, &at.path, "production needs a pepper for its keys", hint);
        }
        _ => {}
    }
    let cache = value(reader, fields.as_ref(), "cache", |r, at| r.integer(at, CACHE));
    let stale_for = value(reader, fields.as_ref(), "stale_for", |r, at| r.duration(at, STALE));
    valid::Keys {
        pepper,
        previous_pepper,
        cache: cache.and_then(|cache| usize::try_from(cache).ok()).unwrap_or(100_000),
        stale_for: stale_for.unwrap_or(Duration::from_hours(1)),
    }
}

/// Reads a pepper that messages call `name`.
fn pepper(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    name: &str,
    master_key: Option<&Secret>,
) -> Option<Secret> {
    let secret = reader.secret(at)?;
    let value = secret.value.expose_secret();
    if value.len() < MIN_PEPPER {
        reader.wrong(at, format!("{name} is shorter than {MIN_PEPPER} bytes"), MAKE_ONE);
        return None;
    }
    if master_key.is_some_and(|key| is_same(key, &secret)) {
        // Whoever administers must not be able to compute hashes, nor the reverse.
        let message = format!("{name} is the master key");
        reader.wrong(at, message, "give each a value of its own");
        return None;
    }
    if let Err(weakness) = master_key::check(value) {
        weak(reader, at, name, weakness);
    }
    Some(secret)
}

fn is_same(a: &Secret, b: &Secret) -> bool {
    a.value.expose_secret() == b.value.expose_secret()
}

/// Reads `request_headers`.
pub(super) fn request_headers(reader: &mut Reader<'_>, at: Option<Cursor<'_>>) -> RequestHeaders {
    let fields = section(reader, at.as_ref(), &REQUEST_HEADERS);
    let allow = value(reader, fields.as_ref(), "allow", |reader, at| {
        reader.list(at, |reader, at| {
            let name = reader.header_name(at)?;
            if let Some(reason) = never_forwarded(name.as_str()) {
                let message = format!("`{name}` never goes on to a provider: {reason}");
                let hint = "take it out; `providers.<name>.headers` sets a header of yours";
                reader.wrong(at, message, hint);
                return None;
            }
            Some(name)
        })
    });
    RequestHeaders { allow: allow.unwrap_or_default() }
}

/// Whether the gateway alone decides on this header.
pub(crate) fn is_own(name: &HeaderName) -> bool {
    let name = name.as_str();
    OWN_HEADERS.contains(&name)
        || ["proxy-", "x-forwarded-", "x-sluicegate-"].iter().any(|own| name.starts_with(own))
}

/// Whether the header carries a caller's credential.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    CREDENTIAL_HEADERS.contains(&name.as_str())
}
