//! `auth`, `admin` and `request_headers`: who may call, and what passes.

use http::HeaderName;
use secrecy::ExposeSecret;
use sluicegate_filters::screen::headers::never_forwarded;

use super::{section, value};
use crate::config::master_key;
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::valid::{Admin, Auth, RequestHeaders, Secret};

pub(in crate::config) const AUTH: Keys = Keys {
    known: &["anonymous"],
    renamed: &[
        ("allow_anonymous", "anonymous"),
        ("disabled", "anonymous"),
        ("jwt_auth", "jwt"),
        ("oidc", "jwt"),
        ("enable_jwt_auth", "jwt"),
    ],
    later: &["jwt"],
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

    // A value that is there but wrong has been reported; this is for what is not there at all.
    let anonymous_at = auth.as_ref().and_then(|auth| auth.get("anonymous"));
    let could_call = anonymous.unwrap_or(anonymous_at.is_some());
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
    (Auth { anonymous: anonymous.unwrap_or(false) }, Admin { master_key })
}

fn master_key(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Secret> {
    let secret = reader.secret(at)?;
    if let Err(weakness) = master_key::check(secret.value.expose_secret()) {
        const HINT: &str = "make one with `sluicegate keys generate-master`";
        if reader.production {
            reader.wrong(at, format!("{weakness}, which production refuses"), HINT);
        } else {
            let message = format!("{weakness}; production refuses it");
            reader.report.warning(at.place(), &at.path, message, HINT);
        }
    }
    Some(secret)
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
pub(super) fn is_own(name: &HeaderName) -> bool {
    let name = name.as_str();
    OWN_HEADERS.contains(&name)
        || ["proxy-", "x-forwarded-", "x-sluicegate-"].iter().any(|own| name.starts_with(own))
}

/// Whether the header carries a caller's credential.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    CREDENTIAL_HEADERS.contains(&name.as_str())
}
