//! `cors`: which web pages may call the gateway.

use sluicegate_filters::screen::cors::{DEFAULT_ALLOW_HEADERS, DEFAULT_EXPOSE_HEADERS};
use std::time::Duration;

use http::HeaderName;

use super::{section, value};
use crate::config::node::Scalar;
use crate::config::reader::{Cursor, Keys, Reader};
use crate::config::url;
use crate::config::valid::Cors;

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["origins", "allow_headers", "expose_headers", "max_age", "credentials"],
    renamed: &[
        ("origin", "origins"),
        ("allow_origins", "origins"),
        ("allowed_origins", "origins"),
        ("allow_origin", "origins"),
        ("headers", "allow_headers"),
        ("allowed_headers", "allow_headers"),
        ("exposed_headers", "expose_headers"),
        ("allow_credentials", "credentials"),
        ("max_age_seconds", "max_age"),
    ],
    later: &[],
};

/// Reads `cors`.
pub(super) fn cors(reader: &mut Reader<'_>, at: Option<Cursor<'_>>) -> Cors {
    let fields = section(reader, at.as_ref(), &KEYS);
    let fields = fields.as_ref();
    let origins = value(reader, fields, "origins", origins).unwrap_or_default();
    let any = origins.iter().any(|origin| origin == "*");
    let credentials = value(reader, fields, "credentials", |reader, at| {
        let credentials = reader.boolean(at)?;
        if credentials && any {
            let hint = "list the origins, or set it to false";
            reader.wrong(at, "credentials for every origin (`*`)", hint);
        }
        Some(credentials)
    });
    let max_age = value(reader, fields, "max_age", |reader, at| {
        reader.duration(at, Duration::ZERO..=Duration::from_secs(86_400))
    });
    Cors {
        origins,
        allow_headers: value(reader, fields, "allow_headers", headers)
            .unwrap_or_else(|| DEFAULT_ALLOW_HEADERS.map(HeaderName::from_static).to_vec()),
        expose_headers: value(reader, fields, "expose_headers", headers)
            .unwrap_or_else(|| DEFAULT_EXPOSE_HEADERS.map(HeaderName::from_static).to_vec()),
        max_age: max_age.unwrap_or(Duration::from_secs(600)),
        credentials: credentials.unwrap_or(false),
    }
}

fn origins(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Vec<String>> {
    let mut origins = reader.list(at, origin)?;
    let written = origins.clone();
    let mut index = 0;
    origins.retain(|origin| {
        index += 1;
        !written[..index - 1].contains(origin)
    });
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        reader.wrong(at, "`*` beside other origins", "keep either `*` or the list");
    }
    Some(origins)
}

fn origin(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<String> {
    let text = reader.text(at)?;
    if text == "*" {
        if reader.production {
            let hint = "list the origins of your web pages";
            reader.wrong(at, "every origin (`*`) is refused in production", hint);
        }
        return Some(text.to_owned());
    }
    let shown = at.scalar().map(Scalar::shown).unwrap_or_default();
    match url::parse_origin(text) {
        Ok(origin) => {
            if reader.production && origin.starts_with("http://") {
                let message = format!("origin {shown} without TLS is refused in production");
                reader.wrong(at, message, "use its https:// origin");
            }
            Some(origin)
        }
        Err(error) => {
            reader.wrong(at, format!("origin {shown} {error}"), error.hint());
            None
        }
    }
}

fn headers(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Vec<HeaderName>> {
    reader.list(at, |reader, at| {
        if at.scalar().is_some_and(|scalar| scalar.text == "*") {
            reader.wrong(at, "`*` is not taken for every header", "list the headers");
            return None;
        }
        reader.header_name(at)
    })
}
