//! What the server's answers look like, as far as they are read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// `auth/.../login` and `auth/token/renew-self`
/// (<https://developer.hashicorp.com/vault/api-docs/auth/token#renew-a-token-self>).
#[derive(Deserialize)]
pub(crate) struct Granted {
    pub(crate) auth: Grant,
}

#[derive(Deserialize)]
pub(crate) struct Grant {
    #[serde(deserialize_with = "secret")]
    pub(crate) client_token: SecretString,
    /// Seconds, rounded down.
    pub(crate) lease_duration: u64,
    pub(crate) renewable: bool,
    /// With those of the token's identity.
    #[serde(default)]
    pub(crate) policies: Vec<String>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// `auth/token/lookup-self`
/// (<https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self>).
#[derive(Deserialize)]
pub(crate) struct LookedUp {
    pub(crate) data: Token,
}

#[derive(Deserialize)]
pub(crate) struct Token {
    /// Seconds left, rounded down; 0 where there is no end.
    pub(crate) ttl: u64,
    /// `null` where there is no end.
    #[serde(default)]
    pub(crate) expire_time: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) renewable: bool,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) policies: Vec<String>,
    #[serde(default)]
    pub(crate) identity_policies: Option<Vec<String>>,
}

/// A secret of version 1
/// (<https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v1#read-secret>).
#[derive(Deserialize)]
pub(crate) struct V1 {
    pub(crate) data: Fields,
}

/// A secret of version 2
/// (<https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version>).
#[derive(Deserialize)]
pub(crate) struct V2 {
    pub(crate) data: Versioned,
}

#[derive(Deserialize)]
pub(crate) struct Versioned {
    pub(crate) data: Fields,
    pub(crate) metadata: Metadata,
}

#[derive(Deserialize)]
pub(crate) struct Metadata {
    created_time: jiff::Timestamp,
}

impl Metadata {
    pub(crate) fn created(&self) -> SystemTime {
        self.created_time.into()
    }
}

/// A secret's fields; `None` for one that is not text.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(pub(crate) BTreeMap<String, Field>);

pub(crate) struct Field(pub(crate) Option<SecretString>);

/// By hand: an untagged enum would keep a copy of everything that it tries.
impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;

        impl<'de> Visitor<'de> for Value {
            type Value = Option<SecretString>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Some(SecretString::from(text)))
            }

            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Some(SecretString::from(text)))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(None)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(None)
            }
        }

        deserializer.deserialize_any(Value).map(Field)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_secret_s_texts_are_read_and_all_else_is_passed_over() {
        let text = r#"{"data": {"data": {"key": "a\nb", "n": 1, "m": -1, "f": 1.5, "b": true, "null": null,
            "list": ["x"], "map": {"x": "y"}}, "metadata": {"created_time": "2026-01-02T03:04:05.6Z"}}}"#;
        let V2 { data } = serde_json::from_str(text).unwrap();
        let Fields(fields) = data.data;
        assert_eq!(fields["key"].0.as_ref().unwrap().expose_secret(), "a\nb");
        assert_eq!(fields.values().filter(|Field(text)| text.is_none()).count(), 7);
        let since = data.metadata.created().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_secs(), 1_767_323_045);
    }

    #[test]
    fn an_end_that_is_null_is_none() {
        let token = |text: &str| serde_json::from_str::<Token>(text).unwrap();
        assert!(token(r#"{"ttl": 0, "expire_time": null, "path": "p"}"#).expire_time.is_none());
        let token = token(r#"{"ttl": 1, "expire_time": "2026-01-02T03:04:05Z", "path": "p"}"#);
        assert!(token.expire_time.is_some());
    }
}
