//! `providers`: who serves models, and with which credential.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;

use super::{access, authorities, clouds, health_check, pair, value};
use crate::config::node::Scalar;
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::report;
use crate::config::secrets::SecretRef;
use crate::config::url;
use crate::config::valid::{Api, AuthStyle, BaseUrl, HttpVersion, PairFiles, Provider, Secret};
use crate::providers::catalogue::{self, Auth, Entry, Key, StreamUsage};
use crate::providers::dialect::ProviderDialect;

pub(in crate::config) const KEYS: Keys = Keys {
    known: &[
        "dialect",
        "base_url",
        "api_key",
        "auth",
        "headers",
        "http_version",
        "ca",
        "client_certificate",
        "check_certificate",
        "stream_usage",
        "api_version",
        "entra",
        "region",
        "aws",
        "project",
        "location",
        "service_account",
        "health_check",
    ],
    renamed: &[
        ("type", "dialect"),
        ("kind", "dialect"),
        ("format", "dialect"),
        ("api_type", "dialect"),
        ("custom_llm_provider", "dialect"),
        ("api_base", "base_url"),
        ("base", "base_url"),
        ("url", "base_url"),
        ("endpoint", "base_url"),
        ("address", "base_url"),
        ("key", "api_key"),
        ("apikey", "api_key"),
        ("token", "api_key"),
        ("secret", "api_key"),
        ("extra_headers", "headers"),
        ("default_headers", "headers"),
        ("http", "http_version"),
        ("ca_file", "ca"),
        ("ssl_verify", "ca"),
        ("client_cert", "client_certificate"),
        ("mtls", "client_certificate"),
        ("ssl_certificate", "client_certificate"),
        ("healthcheck", "health_check"),
        ("health_checks", "health_check"),
        ("timeout", "models.<name>.timeouts"),
        ("models", "models.<name>.targets"),
        ("azure_ad", "entra"),
        ("aws_region_name", "region"),
        ("aws_region", "region"),
        ("credentials", "aws"),
        ("project_id", "project"),
        ("vertex_project", "project"),
        ("vertex_location", "location"),
        ("vertex_credentials", "service_account"),
        ("google_credentials", "service_account"),
    ],
    later: &[],
};

pub(in crate::config) const AUTH: Keys =
    Keys { known: &["header"], renamed: &[("name", "header")], later: &[] };

pub(in crate::config) const CLIENT_CERTIFICATE: Keys = Keys {
    known: &["certificate", "key"],
    renamed: &[
        ("cert", "certificate"),
        ("cert_file", "certificate"),
        ("private_key", "key"),
        ("key_file", "key"),
    ],
    later: &[],
};

/// The dialects with their names.
const DIALECTS: [(&str, ProviderDialect); 6] = [
    ("openai", ProviderDialect::OpenAi),
    ("anthropic", ProviderDialect::Anthropic),
    ("azure_openai", ProviderDialect::AzureOpenAi),
    ("gemini", ProviderDialect::Gemini),
    ("vertex", ProviderDialect::Vertex),
    ("bedrock", ProviderDialect::Bedrock),
];

const HTTP_VERSIONS: [(&str, HttpVersion); 3] =
    [("auto", HttpVersion::Auto), ("h1", HttpVersion::H1), ("h2", HttpVersion::H2)];

const MAX_NAME: usize = 64;

/// Parts of a name that tell of a secret in its value.
pub(super) const SECRET_WORDS: [&str; 8] =
    ["key", "token", "secret", "auth", "password", "cookie", "credential", "signature"];

/// What was read of `providers`.
pub(super) struct Providers {
    /// Those without a mistake.
    pub(super) valid: BTreeMap<String, Provider>,
    /// All names, so that a mistake in a provider is not a mistake in every model, too.
    pub(super) named: BTreeSet<String>,
}

/// Reads `providers`.
pub(super) fn providers(reader: &mut Reader<'_>, at: Option<Cursor<'_>>) -> Providers {
    let mut providers = Providers { valid: BTreeMap::new(), named: BTreeSet::new() };
    let Some(at) = at else { return providers };
    for (name, at) in reader.map(&at).named() {
        providers.named.insert(name.to_owned());
        if let Some(provider) = provider(reader, name, &at) {
            providers.valid.insert(name.to_owned(), provider);
        }
    }
    providers
}

fn provider(reader: &mut Reader<'_>, name: &str, at: &Cursor<'_>) -> Option<Provider> {
    let simple = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(simple) {
        let hint = format!("use up to {MAX_NAME} letters, digits, `.`, `_` and `-`");
        reader.report.error(at.key, &at.path, "not a provider's name", hint);
    }
    let known = catalogue::find(name);
    let fields = reader.fields(at, &KEYS);
    let dialect = dialect(reader, &fields, at, name, known);
    let api = dialect.and_then(|dialect| clouds::api(reader, at, &fields, dialect));
    // What a catalogue says of another dialect than this is of no use; that it does has been said.
    let plain = [ProviderDialect::OpenAi, ProviderDialect::Anthropic];
    let near = known.filter(|entry| {
        dialect.is_none_or(|dialect| entry.dialect == dialect || plain.contains(&dialect))
    });
    let base_url = base_url(reader, &fields, at, near, dialect, api.as_ref());
    let known = known.filter(|entry| dialect.is_none_or(|dialect| entry.dialect == dialect));
    let auth = value(reader, Some(&fields), "auth", |r, at| auth_style(r, at, access::is_own));
    let auth = auth.or_else(|| default_auth(known, dialect?));
    let key_at = fields.get("api_key");
    let api_key = key_at.as_ref().and_then(|at| reader.secret(at));
    let headers = value(reader, Some(&fields), "headers", |reader, at| {
        headers(reader, at, auth.as_ref().filter(|_| key_at.is_some()), access::is_own)
    });
    let http_version = value(reader, Some(&fields), "http_version", |reader, at| {
        reader.choice(at, &HTTP_VERSIONS)
    });
    let ca = value(reader, Some(&fields), "ca", |reader, at| {
        if base_url.as_ref().is_some_and(|base| !base.tls) {
            reader.wrong(at, "`ca` without TLS", "use an https:// `base_url`, or take it out");
        }
        authorities(reader, at)
    });
    let client_certificate = value(reader, Some(&fields), "client_certificate", |reader, at| {
        if base_url.as_ref().is_some_and(|base| !base.tls) {
            let hint = "use an https:// `base_url`, or take it out";
            reader.wrong(at, "`client_certificate` without TLS", hint);
        }
        client_certificate(reader, at)
    });
    let check_certificate =
        value(reader, Some(&fields), "check_certificate", |r, at| r.boolean(at));
    let stream_usage = value(reader, Some(&fields), "stream_usage", |r, at| r.boolean(at));

    let health_check = value(reader, Some(&fields), "health_check", |reader, at| {
        Some(health_check::health_check(reader, at, base_url.as_ref()?, dialect?))
    });
    let (base_url, api, headers) = (base_url?, api?, headers.unwrap_or_default());
    let authorized = headers.iter().any(|(name, _)| access::is_credential(name));
    // What listens on this machine may want none; Amazon's requests are signed wherever they go.
    let optional =
        authorized || (url::is_loopback(&base_url.host) && !matches!(api, Api::Bedrock(_)));
    credential(reader, at, key_at.as_ref(), &api, known, optional);
    Some(Provider {
        name: name.to_owned(),
        api,
        base_url,
        api_key,
        auth: auth?,
        headers,
        http_version: http_version.unwrap_or(HttpVersion::Auto),
        ca,
        client_certificate,
        check_certificate: check_certificate.unwrap_or(true),
        stream_usage: stream_usage.unwrap_or_else(|| {
            known.is_none_or(|entry| entry.quirks.stream_usage == StreamUsage::OnRequest)
        }),
        health_check,
    })
}

/// Says that there is no credential where there has to be one, or that there are two.
fn credential(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    key_at: Option<&Cursor<'_>>,
    api: &Api,
    known: Option<&Entry>,
    optional: bool,
) {
    match (key_at, api.has_credential()) {
        (Some(at), true) => {
            let message = "there are two credentials: this key, and that of its cloud";
            reader.wrong(at, message, "take one of them out");
        }
        (Some(_), false) | (None, true) => {}
        (None, false) => {
            let required = known.is_some_and(|entry| entry.key == Key::Required)
                || !matches!(api, Api::OpenAi | Api::Anthropic);
            if optional || !required {
                return;
            }
            let (message, hint) = match api {
                Api::AzureOpenAi(_) => {
                    ("it has no credential", "set `api_key`, or `entra`".to_owned())
                }
                Api::Bedrock(_) => ("it has no credential", "set `aws`, or `api_key`".to_owned()),
                _ => {
                    let variable = known.map_or("NAME", |entry| entry.key_env);
                    ("`api_key` is missing", format!("set `api_key: env:{variable}`"))
                }
            };
            reader.report.error(at.key, &at.path, message, hint);
        }
    }
}

pub(super) fn client_certificate(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<PairFiles> {
    let fields = reader.fields(at, &CLIENT_CERTIFICATE);
    pair(reader, &fields, at)
}

fn dialect(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    at: &Cursor<'_>,
    name: &str,
    known: Option<&Entry>,
) -> Option<ProviderDialect> {
    if let Some(at) = fields.get("dialect") {
        let dialect = reader.choice(&at, &DIALECTS)?;
        if let Some(entry) = known
            && entry.dialect != dialect
            && matches!(dialect, ProviderDialect::OpenAi | ProviderDialect::Anthropic)
            && fields.get("base_url").is_none()
        {
            let message = format!("{} speaks {} at {}", name, entry.dialect.name(), entry.base_url);
            reader.wrong(&at, message, "take it out, or give the `base_url` that speaks this");
        }
        return Some(dialect);
    }
    if known.is_none() {
        let hint = match report::nearest(name, catalogue::CATALOGUE.iter().map(|e| e.name)) {
            Some(near) => format!("did you mean `{near}`, or is it {}?", all_dialects()),
            None => format!("it can be {}", all_dialects()),
        };
        reader.report.error(at.key, &at.path, "`dialect` is missing", hint);
    }
    known.map(|entry| entry.dialect)
}

fn all_dialects() -> String {
    report::list(DIALECTS.iter().map(|(name, _)| *name))
}

fn base_url(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    at: &Cursor<'_>,
    known: Option<&Entry>,
    dialect: Option<ProviderDialect>,
    api: Option<&Api>,
) -> Option<BaseUrl> {
    let Some(at) = fields.get("base_url") else {
        if let Some(entry) = known {
            return url::parse_base(entry.base_url).ok();
        }
        let hint = match dialect {
            Some(ProviderDialect::AzureOpenAi) => {
                "write it as in https://my-resource.openai.azure.com"
            }
            Some(ProviderDialect::OpenAi | ProviderDialect::Anthropic) | None => {
                "write it as in https://api.example.com/v1"
            }
            Some(_) => {
                // Without a region or location there is none; that has been said.
                let base = clouds::default_base(api?);
                if base.is_none() {
                    let message = "no address can be made of its region or location";
                    reader.report.error(at.key, &at.path, message, "use letters, digits and `-`");
                }
                return base;
            }
        };
        reader.report.error(at.key, &at.path, "`base_url` is missing", hint);
        return None;
    };
    let text = reader.text(&at)?;
    match url::parse_base(text) {
        Ok(base) => {
            if reader.production && !base.tls && !url::is_loopback(&base.host) {
                let message = "plain http to another host is refused in production";
                reader.wrong(&at, message, "use https://");
            }
            let plain = [None, Some(ProviderDialect::OpenAi), Some(ProviderDialect::Anthropic)];
            if !plain.contains(&dialect) && url::names_version(&base) {
                let message = "this dialect's paths begin with their version";
                reader.wrong(&at, message, "leave out what is behind the host");
            }
            Some(base)
        }
        Err(error) => {
            // A password in it must not get into a log.
            let shown = match &error {
                url::UrlError::UserInfo | url::UrlError::Query => "the URL".to_owned(),
                _ => at.scalar().map(Scalar::shown).unwrap_or_default(),
            };
            reader.wrong(&at, format!("{shown} {error}"), error.hint());
            None
        }
    }
}

fn default_auth(known: Option<&Entry>, dialect: ProviderDialect) -> Option<AuthStyle> {
    let auth = known.map(|entry| entry.auth).unwrap_or(match dialect {
        ProviderDialect::OpenAi | ProviderDialect::Vertex | ProviderDialect::Bedrock => {
            Auth::Bearer
        }
        ProviderDialect::Anthropic => Auth::Header("x-api-key"),
        ProviderDialect::AzureOpenAi => Auth::Header("api-key"),
        ProviderDialect::Gemini => Auth::Header("x-goog-api-key"),
    });
    Some(match auth {
        Auth::Bearer => AuthStyle::Bearer,
        Auth::Header(name) => AuthStyle::Header(HeaderName::from_static(name)),
    })
}

/// How a call carries its key. `is_own`: whether a header is the gateway's alone to set.
pub(super) fn auth_style(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    is_own: fn(&HeaderName) -> bool,
) -> Option<AuthStyle> {
    if at.scalar().is_some() {
        return reader.choice(at, &[("bearer", ())]).map(|()| AuthStyle::Bearer);
    }
    let fields = reader.fields(at, &AUTH);
    let Some(header) = fields.get("header") else {
        let hint = "write `bearer`, or `{ header: x-api-key }`";
        reader.report.error(at.key, &at.path, "`header` is missing", hint);
        return None;
    };
    let name = reader.header_name(&header)?;
    if is_own(&name) {
        let message = format!("`{name}` is set by the gateway");
        reader.wrong(&header, message, "name another header");
        return None;
    }
    Some(AuthStyle::Header(name))
}

/// Headers sent with every call. `key_header`: what carries the key. `is_own`: whether a header is the
/// gateway's alone to set.
pub(super) fn headers(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    key_header: Option<&AuthStyle>,
    is_own: fn(&HeaderName) -> bool,
) -> Option<Vec<(HeaderName, Secret)>> {
    let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
    for (text, at) in reader.map(at).all() {
        let Ok(name) = text.parse::<HeaderName>() else {
            let hint = "a name has letters, digits and `-`";
            reader.report.error(at.key, &at.path, "not a valid header name", hint);
            continue;
        };
        let taken = match key_header {
            Some(AuthStyle::Bearer) => name == http::header::AUTHORIZATION,
            Some(AuthStyle::Header(header)) => name == *header,
            None => false,
        };
        let problem = if taken {
            Some("carries `api_key` already")
        } else if is_own(&name) {
            Some("is set by the gateway")
        } else if headers.iter().any(|(other, _)| *other == name) {
            Some("stands here already, in other case")
        } else {
            None
        };
        if let Some(problem) = problem {
            let message = format!("`{name}` {problem}");
            reader.report.error(at.key, &at.path, message, "take it out");
        } else if let Some(value) = header_value(reader, &name, &at) {
            headers.push((name, value));
        }
    }
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    Some(headers)
}

/// A header's value: a reference, or text. Text where a secret is to be expected counts as one.
pub(super) fn header_value(
    reader: &mut Reader<'_>,
    name: &HeaderName,
    at: &Cursor<'_>,
) -> Option<Secret> {
    let secret = SECRET_WORDS.iter().any(|word| name.as_str().contains(word));
    match literal(at).filter(|_| !secret) {
        Some(text) => reader.resolved(at, SecretRef::Public(text.to_owned())),
        None => reader.secret(at),
    }
}

/// Text that is written out in the configuration itself, and refers to nothing.
pub(super) fn literal<'n>(at: &Cursor<'n>) -> Option<&'n str> {
    let scalar = at.scalar().filter(|scalar| scalar.source.is_none())?;
    let refers = !matches!(SecretRef::parse(&scalar.text), Ok(SecretRef::Literal(_)));
    (!refers).then_some(&scalar.text)
}
