//! `auth.jwt`: whose JSON Web Tokens are trusted, and what they say of a caller.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use sluicegate_filters::identify::jwt::{
    Algorithm, ClaimMap, ClaimPath, DEFAULT_LEEWAY, Issuer, MAX_LEEWAY,
};

use super::{authorities, section, value};
use crate::config::node::Scalar;
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::url::{self, UrlError};
use crate::config::valid::{JwtIssuer, KeySource};

pub(in crate::config) const KEYS: Keys = Keys {
    known: &[
        "issuer",
        "audience",
        "algorithms",
        "jwks_url",
        "jwks_file",
        "ca",
        "stale_for",
        "leeway",
        "required",
        "claims",
    ],
    renamed: &[
        ("iss", "issuer"),
        ("issuer_url", "issuer"),
        ("aud", "audience"),
        ("audiences", "audience"),
        ("client_id", "audience"),
        ("alg", "algorithms"),
        ("algorithm", "algorithms"),
        ("jwks", "jwks_url"),
        ("jwks_uri", "jwks_url"),
        ("public_key_url", "jwks_url"),
        ("ca_file", "ca"),
        ("max_stale", "stale_for"),
        ("clock_skew", "leeway"),
        ("required_claims", "required"),
        ("mapping", "claims"),
        ("claim_mappings", "claims"),
    ],
    later: &[],
};

pub(in crate::config) const CLAIMS: Keys = Keys {
    known: &["user", "team", "organization", "roles", "tags", "prefix", "expose"],
    renamed: &[
        ("sub", "user"),
        ("username", "user"),
        ("user_id", "user"),
        ("user_id_jwt_field", "user"),
        ("team_id", "team"),
        ("team_id_jwt_field", "team"),
        ("org", "organization"),
        ("org_id_jwt_field", "organization"),
        ("role", "roles"),
        ("groups", "roles"),
        ("roles_jwt_field", "roles"),
        ("username_prefix", "prefix"),
        ("allow", "expose"),
    ],
    later: &[],
};

/// How long keys may be used without hearing from their issuer: a week-end and the days around it.
const STALE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(7 * 24);
const DEFAULT_STALE: Duration = Duration::from_hours(24);
/// Bytes of an issuer's or an audience's name, and of a prefix, at most.
const MAX_NAME: usize = 1024;
const MAX_PREFIX: usize = 64;
/// Claims of one kind of list.
const MAX_PATHS: usize = 64;

/// Reads `auth.jwt`.
pub(super) fn issuers(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Vec<JwtIssuer> {
    let Some(at) = at else { return Vec::new() };
    let mut issuers: Vec<JwtIssuer> = Vec::new();
    let read = reader.list(at, |reader, at| Some((at.clone(), issuer(reader, at))));
    for (at, read) in read.unwrap_or_default() {
        let Some(read) = read else { continue };
        let name = &read.rules.issuer;
        if issuers.iter().any(|other| other.rules.issuer == *name) {
            let hint = "merge the two: `audience` takes several names";
            reader.report.error(at.key, &at.path, "this issuer is there already", hint);
        } else if issuers.iter().any(|o| o.rules.claims.prefix == read.rules.claims.prefix) {
            let message = "a user of this issuer and one of another are the same where they have \
                           the same name";
            let hint = "give each issuer a `claims.prefix` of its own";
            reader.report.warning(at.key, &at.path, message, hint);
        }
        issuers.push(read);
    }
    issuers
}

fn issuer(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<JwtIssuer> {
    let fields = reader.fields(at, &KEYS);
    if at.is_broken() {
        return None;
    }
    let name = required(reader, &fields, at, "issuer", "write the `iss` of its tokens");
    let name = name.and_then(|at| Some((text(reader, &at, MAX_NAME)?, at)));
    let audience = audience(reader, &fields, at);
    let algorithms = value(reader, Some(&fields), "algorithms", algorithms);
    let (source, url_at) = source(reader, &fields, name.as_ref());
    let ca = ca(reader, &fields, source.as_ref());
    let stale_for = value(reader, Some(&fields), "stale_for", |r, at| r.duration(at, STALE));
    let leeway = value(reader, Some(&fields), "leeway", |reader, at| {
        reader.duration(at, Duration::ZERO..=MAX_LEEWAY)
    });
    let required = value(reader, Some(&fields), "required", paths);
    let claims = value(reader, Some(&fields), "claims", |r, at| Some(claims(r, at)));
    if let (Some(source), Some(url_at)) = (&source, &url_at) {
        refuse_plain(reader, url_at, source);
    }
    Some(JwtIssuer {
        rules: Issuer {
            issuer: name?.0,
            audience: audience?,
            algorithms: algorithms.unwrap_or_else(|| Algorithm::DEFAULT.to_vec()),
            leeway: leeway.unwrap_or(DEFAULT_LEEWAY),
            required: required.unwrap_or_default(),
            claims: claims.unwrap_or_default(),
        },
        keys: source?,
        ca,
        stale_for: stale_for.unwrap_or(DEFAULT_STALE),
    })
}

/// The value of a key that must be there.
fn required<'n>(
    reader: &mut Reader<'_>,
    fields: &Fields<'n>,
    at: &Cursor<'_>,
    key: &str,
    hint: &str,
) -> Option<Cursor<'n>> {
    let found = fields.get(key);
    if found.is_none() {
        reader.report.error(at.key, &at.path, format!("`{key}` is missing"), hint);
    }
    found
}

fn audience(reader: &mut Reader<'_>, fields: &Fields<'_>, at: &Cursor<'_>) -> Option<Vec<String>> {
    let hint = "write the `aud` of tokens for this gateway, as in [sluicegate]";
    let at = required(reader, fields, at, "audience", hint)?;
    if at.is_empty_list() {
        // Whoever takes tokens for anybody takes those that others were given for other purposes.
        reader.wrong(&at, "no audience", hint);
        return None;
    }
    reader.list(&at, |reader, at| text(reader, at, MAX_NAME))
}

fn algorithms(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Vec<Algorithm>> {
    if at.is_empty_list() {
        reader.wrong(at, "no algorithms", "leave it out for RS256, ES256 and EdDSA");
        return None;
    }
    let mut algorithms = reader.list(at, |reader, at| {
        let name = at.scalar().map_or("", |scalar| scalar.text.as_str());
        let problem = match name {
            _ if name.eq_ignore_ascii_case("none") => "a token without a signature proves nothing",
            "HS256" | "HS384" | "HS512" => "whoever can check an HMAC can also make one",
            _ => return reader.choice(at, &Algorithm::NAMES),
        };
        reader.wrong(at, format!("`{name}`: {problem}"), "use one with a public key, as ES256");
        None
    })?;
    algorithms.sort_unstable();
    algorithms.dedup();
    Some(algorithms)
}

/// Where the keys come from, and the place that says so where it is a URL.
fn source<'n>(
    reader: &mut Reader<'_>,
    fields: &Fields<'n>,
    issuer: Option<&(String, Cursor<'n>)>,
) -> (Option<KeySource>, Option<Cursor<'n>>) {
    match (fields.get("jwks_url"), fields.get("jwks_file")) {
        (Some(_), Some(at)) => {
            let hint = "keep one of the two";
            reader.report.error(at.key, &at.path, "`jwks_file` beside `jwks_url`", hint);
            (None, None)
        }
        (None, Some(at)) => (reader.file(&at).map(KeySource::File), None),
        (Some(at), None) => {
            let url = reader.text(&at).and_then(|text| match key_url(text) {
                Ok(url) => Some(KeySource::Url(url)),
                Err(error) => {
                    refused(reader, &at, &error, None);
                    None
                }
            });
            (url, Some(at))
        }
        (None, None) => {
            let Some((name, at)) = issuer else { return (None, None) };
            // OpenID Connect Discovery 1.0 section 4: the document's place follows from the name.
            match url::parse_base(name).and_then(|_| key_url(name)) {
                Ok(url) => (Some(KeySource::Discovery(url)), Some(at.clone())),
                Err(error) => {
                    let hint = "add `jwks_url` or `jwks_file`: only an issuer whose name is an \
                                https:// URL tells where its keys are";
                    refused(reader, at, &error, Some(hint));
                    (None, None)
                }
            }
        }
    }
}

/// A URL, perhaps with a query. Held to what a provider's is held to.
fn key_url(text: &str) -> Result<Uri, UrlError> {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    url::parse_base(base)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$'()*+,;=:@/?%&".contains(&byte);
    if !query.bytes().all(plain) {
        return Err(UrlError::Query);
    }
    text.parse().map_err(|_| UrlError::Path)
}

fn refused(reader: &mut Reader<'_>, at: &Cursor<'_>, error: &UrlError, hint: Option<&'static str>) {
    // A password in it must not get into a log.
    let shown = match error {
        UrlError::UserInfo | UrlError::Query => "the URL".to_owned(),
        _ => at.scalar().map(Scalar::shown).unwrap_or_default(),
    };
    reader.wrong(at, format!("{shown} {error}"), hint.unwrap_or_else(|| error.hint()));
}

/// Keys that anyone on the way could change are nobody's.
fn refuse_plain(reader: &mut Reader<'_>, at: &Cursor<'_>, source: &KeySource) {
    let (KeySource::Url(url) | KeySource::Discovery(url)) = source else { return };
    if url.scheme_str() == Some("https") {
        return;
    }
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    if reader.production {
        reader.wrong(at, "keys over plain http are refused in production", "use https://");
    } else if !url::is_loopback(host) {
        let hint = "use https://; http:// is for this machine only";
        reader.wrong(at, "keys over plain http from another host", hint);
    }
}

fn ca(reader: &mut Reader<'_>, fields: &Fields<'_>, source: Option<&KeySource>) -> Option<PathBuf> {
    let at = fields.get("ca")?;
    let tls = match source {
        Some(KeySource::Url(url) | KeySource::Discovery(url)) => url.scheme_str() == Some("https"),
        Some(KeySource::File(_)) => false,
        None => true,
    };
    if !tls {
        let hint = "fetch the keys from an https:// URL, or take it out";
        reader.wrong(&at, "`ca` without TLS", hint);
    }
    authorities(reader, &at)
}

fn claims(reader: &mut Reader<'_>, at: &Cursor<'_>) -> ClaimMap {
    let fields = section(reader, Some(at), &CLAIMS);
    let fields = fields.as_ref();
    ClaimMap {
        user: value(reader, fields, "user", path).unwrap_or_else(ClaimPath::subject),
        team: value(reader, fields, "team", path),
        organization: value(reader, fields, "organization", path),
        roles: value(reader, fields, "roles", path),
        tags: value(reader, fields, "tags", path),
        prefix: value(reader, fields, "prefix", |r, at| text(r, at, MAX_PREFIX))
            .unwrap_or_default(),
        expose: value(reader, fields, "expose", paths).unwrap_or_default(),
    }
}

fn paths(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Vec<ClaimPath>> {
    let mut paths = reader.list(at, path)?;
    if paths.len() > MAX_PATHS {
        reader.wrong(at, format!("more than {MAX_PATHS} claims"), None::<&str>);
    }
    paths.sort_unstable();
    paths.dedup();
    Some(paths)
}

fn path(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<ClaimPath> {
    match reader.text(at)?.parse() {
        Ok(path) => Some(path),
        Err(error) => {
            let error: sluicegate_filters::identify::jwt::ClaimPathError = error;
            reader.wrong(at, error.to_string(), "write it as in sub or realm_access.roles");
            None
        }
    }
}

/// Text on one line.
fn text(reader: &mut Reader<'_>, at: &Cursor<'_>, most: usize) -> Option<String> {
    let text = reader.text(at)?;
    if text.len() > most || text.chars().any(char::is_control) {
        let message = format!("longer than {most} bytes, or with control characters");
        reader.wrong(at, message, None::<&str>);
        return None;
    }
    Some(text.to_owned())
}
