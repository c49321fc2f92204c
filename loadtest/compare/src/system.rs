//! What is measured: a proxy, or the gateway under a configuration of somebody's own.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::service::Proxy;

/// What the provider gets from those that have no credential of their own for it.
const PROVIDER_KEY: &str = "sk-compare";
/// The longest name that fits into the table.
const MAX_NAME: usize = 20;

/// One of the measured. Ordered as in the table: the proxies, then the variants as they were given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct System {
    pub(crate) proxy: Proxy,
    /// The configuration, where it is not the one of this program. Only for the gateway.
    pub(crate) variant: Option<Arc<Variant>>,
}

/// The gateway under a configuration of somebody's own: `name=FILE` or `name=FILE,CREDENTIAL`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variant {
    position: usize,
    pub(crate) name: String,
    pub(crate) config: PathBuf,
    /// Sent as a bearer token.
    credential: Option<String>,
}

/// Why the text names no variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VariantError {
    #[error("write name=FILE or name=FILE,CREDENTIAL")]
    Form,
    #[error("a name has 1 to 20 letters, digits and hyphens, and is not a proxy's")]
    Name,
    #[error("the credential is empty, or can't stand in a header")]
    Credential,
}

impl System {
    /// A proxy as this program configures it.
    pub(crate) fn plain(proxy: Proxy) -> Self {
        Self { proxy, variant: None }
    }

    /// The gateway in this variant, which is the one at `position` of the given ones.
    pub(crate) fn variant(position: usize, variant: Variant) -> Self {
        let variant = Variant { position, ..variant };
        Self { proxy: Proxy::Sluicegate, variant: Some(Arc::new(variant)) }
    }

    /// Its name in tables.
    pub(crate) fn name(&self) -> &str {
        self.variant.as_ref().map_or_else(|| self.proxy.name(), |variant| &variant.name)
    }

    /// The bearer token of its requests. The gateway has its own for the provider, and is configured to let anyone in
    /// unless a variant says otherwise.
    pub(crate) fn credential(&self) -> Option<&str> {
        match (&self.variant, self.proxy) {
            (Some(variant), _) => variant.credential.as_deref(),
            (None, Proxy::Sluicegate) => None,
            (None, Proxy::Direct | Proxy::Nginx | Proxy::Pingora) => Some(PROVIDER_KEY),
        }
    }

    /// Whether it is what the variants are held against.
    pub(crate) fn is_first_variant(&self) -> bool {
        self.variant.as_ref().is_some_and(|variant| variant.position == 0)
    }
}

impl FromStr for Variant {
    type Err = VariantError;

    fn from_str(text: &str) -> Result<Self, VariantError> {
        let (name, rest) = text.split_once('=').ok_or(VariantError::Form)?;
        let (file, credential) = match rest.rsplit_once(',') {
            Some((file, credential)) => (file, Some(credential)),
            None => (rest, None),
        };
        if file.is_empty() {
            return Err(VariantError::Form);
        }
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let taken = Proxy::ALL.iter().any(|proxy| proxy.name() == name);
        if name.is_empty() || name.len() > MAX_NAME || !plain || taken {
            return Err(VariantError::Name);
        }
        let sendable = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !credential.is_none_or(sendable) {
            return Err(VariantError::Credential);
        }
        Ok(Self {
            position: 0,
            name: name.to_owned(),
            config: PathBuf::from(file),
            credential: credential.map(str::to_owned),
        })
    }
}

/// Without the credential, which may be a real one.
impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variant")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Serialize for System {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_names_with_a_file_and_perhaps_a_credential() {
        let variant: Variant = "key=a,b/c.yaml,sk-1=2".parse().unwrap();
        assert_eq!((&variant.name[..], variant.config.to_str()), ("key", Some("a,b/c.yaml")));
        let system = System::variant(0, variant.clone());
        assert_eq!((system.name(), system.credential()), ("key", Some("sk-1=2")));
        assert!(!format!("{variant:?}").contains("sk-1"));
        let open: Variant = "open=c.yaml".parse().unwrap();
        assert_eq!(System::variant(0, open).credential(), None);
        for (text, error) in [
            ("c.yaml", VariantError::Form),
            ("x=", VariantError::Form),
            ("x=,sk", VariantError::Form),
            ("=c.yaml", VariantError::Name),
            ("nginx=c.yaml", VariantError::Name),
            ("a b=c.yaml", VariantError::Name),
            ("x=c.yaml,", VariantError::Credential),
            ("x=c.yaml,a b", VariantError::Credential),
        ] {
            assert_eq!(text.parse::<Variant>(), Err(error), "{text}");
        }
    }

    #[test]
    fn variants_come_behind_the_proxies_in_their_order() {
        let variant =
            |position, name: &str| System::variant(position, format!("{name}=f").parse().unwrap());
        let mut systems = [
            variant(1, "a"),
            variant(0, "b"),
            System::plain(Proxy::Sluicegate),
            System::plain(Proxy::Direct),
        ];
        systems.sort();
        let names: Vec<_> = systems.iter().map(System::name).collect();
        assert_eq!(names, ["direct", "sluicegate", "b", "a"]);
        assert!(systems[2].is_first_variant() && !systems[3].is_first_variant());
    }
}
