//! What providers of clouds need beside an address: `api_version`, `entra`, `region`, `aws`, `project`,
//! `location`, `service_account`.

use http::Uri;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::providers::literal;
use super::{required, value};
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::secrets::SecretRef;
use crate::config::url;
use crate::config::valid::{
    Api, AwsKeys, Azure, BaseUrl, Bedrock, Entra, Secret, ServiceAccount, Vertex,
};
use crate::providers::dialect::ProviderDialect;

pub(in crate::config) const ENTRA: Keys = Keys {
    known: &["tenant_id", "client_id", "client_secret", "authority"],
    renamed: &[
        ("tenant", "tenant_id"),
        ("directory_id", "tenant_id"),
        ("application_id", "client_id"),
        ("app_id", "client_id"),
        ("secret", "client_secret"),
        ("authority_host", "authority"),
    ],
    later: &[],
};

pub(in crate::config) const AWS: Keys = Keys {
    known: &["access_key_id", "secret_access_key", "session_token"],
    renamed: &[
        ("aws_access_key_id", "access_key_id"),
        ("access_key", "access_key_id"),
        ("aws_secret_access_key", "secret_access_key"),
        ("secret_key", "secret_access_key"),
        ("aws_session_token", "session_token"),
        ("token", "session_token"),
    ],
    later: &[],
};

/// Keys that belong to one dialect, with their dialects.
const OF_ONE: [(&str, ProviderDialect); 7] = [
    ("api_version", ProviderDialect::AzureOpenAi),
    ("entra", ProviderDialect::AzureOpenAi),
    ("region", ProviderDialect::Bedrock),
    ("aws", ProviderDialect::Bedrock),
    ("project", ProviderDialect::Vertex),
    ("location", ProviderDialect::Vertex),
    ("service_account", ProviderDialect::Vertex),
];

/// Where tokens of Entra's come from unless configured; sovereign clouds have others.
/// <https://learn.microsoft.com/en-us/entra/identity-platform/authentication-national-cloud>
const ENTRA_AUTHORITY: &str = "https://login.microsoftonline.com";

/// What `dialect` has to be told beside an address. `None`: it is told wrongly.
pub(super) fn api(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    fields: &Fields<'_>,
    dialect: ProviderDialect,
) -> Option<Api> {
    for (key, of) in OF_ONE {
        if of != dialect
            && let Some(at) = fields.get(key)
        {
            let message = format!("`{key}` belongs to the dialect `{}`", of.name());
            reader.wrong(&at, message, "take it out, or name that dialect");
        }
    }
    match dialect {
        ProviderDialect::OpenAi => Some(Api::OpenAi),
        ProviderDialect::Anthropic => Some(Api::Anthropic),
        ProviderDialect::Gemini => Some(Api::Gemini),
        ProviderDialect::AzureOpenAi => azure(reader, fields).map(Api::AzureOpenAi),
        ProviderDialect::Bedrock => bedrock(reader, at, fields).map(Api::Bedrock),
        ProviderDialect::Vertex => vertex(reader, at, fields).map(Api::Vertex),
    }
}

/// Where a dialect is spoken unless configured.
pub(super) fn default_base(api: &Api) -> Option<BaseUrl> {
    let text = match api {
        Api::OpenAi | Api::Anthropic | Api::AzureOpenAi(_) => return None,
        Api::Gemini => "https://generativelanguage.googleapis.com".to_owned(),
        Api::Bedrock(Bedrock { region, .. }) => {
            let domain =
                if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            format!("https://bedrock-runtime.{region}.{domain}")
        }
        Api::Vertex(Vertex { location, .. }) if location == "global" => {
            "https://aiplatform.googleapis.com".to_owned()
        }
        Api::Vertex(Vertex { location, .. }) => {
            format!("https://{location}-aiplatform.googleapis.com")
        }
    };
    url::parse_base(&text).ok()
}

fn azure(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Azure> {
    let version = fields.get("api_version");
    let api_version = match &version {
        Some(at) => Some(word(reader, at, "a version such as 2024-10-21")?),
        None => None,
    };
    let entra = match fields.get("entra") {
        Some(at) => Some(entra(reader, &at)?),
        None => None,
    };
    Some(Azure { api_version, entra })
}

fn entra(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Entra> {
    let fields = reader.fields(at, &ENTRA);
    let tenant_id = needed(reader, at, &fields, "tenant_id", identifier);
    let client_id = needed(reader, at, &fields, "client_id", identifier);
    let client_secret = needed(reader, at, &fields, "client_secret", |r, at| r.secret(at));
    let authority = match fields.get("authority") {
        Some(at) => origin(reader, &at)?,
        None => url::parse_base(ENTRA_AUTHORITY).ok()?,
    };
    let tenant_id = tenant_id?;
    let endpoint = format!("{authority}/{}/oauth2/v2.0/token", tenant_id.value.expose_secret());
    let Ok(endpoint) = endpoint.parse::<Uri>() else {
        let hint = "it is the directory's identifier, or its domain";
        reader.wrong(at, "no address can be made of `tenant_id`", hint);
        return None;
    };
    let (client_id, client_secret) = (client_id?, client_secret?);
    Some(Entra { tenant_id, client_id, client_secret, authority, endpoint })
}

fn bedrock(reader: &mut Reader<'_>, at: &Cursor<'_>, fields: &Fields<'_>) -> Option<Bedrock> {
    let region = needed(reader, at, fields, "region", |reader, at| {
        word(reader, at, "a region such as eu-central-1")
    });
    let keys = match fields.get("aws") {
        Some(at) => {
            let fields = reader.fields(&at, &AWS);
            let access_key_id = needed(reader, &at, &fields, "access_key_id", identifier);
            let secret = needed(reader, &at, &fields, "secret_access_key", |r, at| r.secret(at));
            let token = value(reader, Some(&fields), "session_token", |r, at| r.secret(at));
            Some(AwsKeys {
                access_key_id: access_key_id?,
                secret_access_key: secret?,
                session_token: token,
            })
        }
        None => None,
    };
    Some(Bedrock { region: region?, keys })
}

fn vertex(reader: &mut Reader<'_>, at: &Cursor<'_>, fields: &Fields<'_>) -> Option<Vertex> {
    let project = needed(reader, at, fields, "project", |reader, at| {
        word(reader, at, "a project's identifier such as my-project-1")
    });
    let location = match fields.get("location") {
        Some(at) => word(reader, &at, "a location such as europe-west4")?,
        None => "global".to_owned(),
    };
    let account = needed(reader, at, fields, "service_account", service_account);
    Some(Vertex { project: project?, location, service_account: account? })
}

/// The key file of a service account, as Google hands it out.
/// <https://docs.cloud.google.com/iam/docs/keys-create-delete>
fn service_account(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<ServiceAccount> {
    #[derive(Deserialize)]
    struct KeyFile {
        #[serde(rename = "type")]
        kind: String,
        client_email: String,
        private_key: String,
        private_key_id: Option<String>,
        token_uri: String,
    }
    const HINT: &str = "give the JSON file that Google Cloud makes for a service account's key";
    let document = reader.document(at)?;
    let Ok(file) = serde_json::from_str::<KeyFile>(document.value.expose_secret()) else {
        let message = "not JSON with `type`, `client_email`, `private_key` and `token_uri`";
        reader.wrong(at, message, HINT);
        return None;
    };
    if file.kind != "service_account" {
        reader.wrong(at, "the key is not one of a service account", HINT);
        return None;
    }
    let private_key = SecretString::from(file.private_key);
    if !is_rsa_key(&private_key) {
        reader.wrong(at, "its `private_key` is not an RSA key in PEM", HINT);
        return None;
    }
    let base = url::parse_base(&file.token_uri).ok();
    let safe = base.as_ref().is_some_and(|base| base.tls || url::is_loopback(&base.host));
    let Some(endpoint) = file.token_uri.parse::<Uri>().ok().filter(|_| safe) else {
        reader.wrong(at, "its `token_uri` is not an https URL", HINT);
        return None;
    };
    Some(ServiceAccount {
        document,
        client_email: file.client_email,
        key_id: file.private_key_id,
        private_key,
        endpoint,
    })
}

fn is_rsa_key(pem: &SecretString) -> bool {
    jsonwebtoken::EncodingKey::from_rsa_pem(pem.expose_secret().as_bytes()).is_ok()
}

/// What stands at `key`, which has to be there.
fn needed<T>(
    reader: &mut Reader<'_>,
    at: &Cursor<'_>,
    fields: &Fields<'_>,
    key: &str,
    read: impl FnOnce(&mut Reader<'_>, &Cursor<'_>) -> Option<T>,
) -> Option<T> {
    let at = required(reader, at, fields, key, "docs/configuration.md tells what it is")?;
    read(reader, &at)
}

/// A part of an address: letters, digits, and what stands between them.
fn word(reader: &mut Reader<'_>, at: &Cursor<'_>, what: &str) -> Option<String> {
    let text = reader.text(at)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let dots = text.bytes().all(|byte| byte == b'.');
    if text.is_empty() || text.len() > 128 || dots || !text.bytes().all(plain) {
        reader.wrong(at, format!("not {what}"), "use letters, digits and `-`");
        return None;
    }
    Some(text.to_owned())
}

/// A name that is no secret, written out or as a reference.
fn identifier(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Secret> {
    match literal(at) {
        Some(text) => reader.resolved(at, SecretRef::Public(text.to_owned())),
        None => reader.secret(at),
    }
}

/// Where tokens come from.
fn origin(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<BaseUrl> {
    let base = url::parse_base(reader.text(at)?);
    let base = base.ok().filter(|base| base.tls || url::is_loopback(&base.host));
    if base.is_none() {
        reader.wrong(at, "not an https URL", format!("write it as in {ENTRA_AUTHORITY}"));
    }
    base
}
