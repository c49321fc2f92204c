//! Where the server is, and how to log in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use secrecy::{ExposeSecret, SecretString};

/// How a [`Vault`](crate::Vault) is reached and used. Two are equal where one client can serve both.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where the server is.
    pub address: Address,
    /// The namespace of everything, where it is not the root's.
    pub namespace: Option<String>,
    /// PEM certificates of the only authorities that may vouch for the server; else the machine's.
    pub ca: Option<PathBuf>,
    /// How to log in.
    pub auth: Auth,
    /// Mounts that are not what a path's first segment and version 2 make them: those of version 1,
    /// and those with a slash in their name.
    pub mounts: BTreeMap<String, KvVersion>,
    /// How often the values are read anew.
    pub refresh: Duration,
    /// The longest that one exchange may take, connecting included.
    pub timeout: Duration,
    /// How long to wait after failures.
    pub retry: Retry,
    /// Whether a root token is refused. It could read, change and delete everything, and lives for
    /// ever, so nothing that serves strangers should hold one.
    pub refuse_root: bool,
}

/// How a token is got.
#[derive(Clone)]
pub enum Auth {
    /// By the AppRole method.
    AppRole {
        /// Where the method is mounted, below `auth/`.
        mount: String,
        /// The role.
        role_id: SecretString,
        /// Holds the secret id. Read at each login, so that it can be rotated.
        secret_id_file: PathBuf,
    },
    /// By a service account's token: the methods `kubernetes` and `jwt`, which ask for the same.
    Kubernetes {
        /// Where the method is mounted, below `auth/`.
        mount: String,
        /// The role.
        role: String,
        /// Holds the service account's token. Read at each login: the kubelet rotates it.
        jwt_file: PathBuf,
    },
    /// By a token that somebody else got.
    Token {
        /// Holds the token. Looked at whenever the token is due, so that it can be replaced.
        file: PathBuf,
    },
}

/// The two versions of the key-value engine, which differ in their paths and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KvVersion {
    /// Without versions of a secret.
    V1,
    /// With them.
    V2,
}

/// How long to wait after failures: twice as long after each, up to a most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// After the first failure.
    pub first: Duration,
    /// After many.
    pub most: Duration,
    /// Before credentials that were refused are tried again unchanged. Servers lock a role out after a few
    /// refused logins (by default five within fifteen minutes), so this must be much longer.
    pub refused: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            most: Duration::from_secs(60),
            refused: Duration::from_secs(5 * 60),
        }
    }
}

/// A server's address: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    scheme: Scheme,
    authority: Authority,
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No URL at all, or of another scheme.
    #[error("is not a URL that begins with https:// or http://")]
    NotAUrl,
    /// Credentials in the address.
    #[error("has a user name or password in it")]
    UserInfo,
    /// A path or a query.
    #[error("has a path or a query; paths belong into references")]
    Path,
}

impl Address {
    /// Whether certificates are checked, which is whenever there are any.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn scheme(&self) -> &Scheme {
        &self.scheme
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parts = text.parse::<Uri>().map_err(|_| AddressError::NotAUrl)?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(AddressError::NotAUrl);
        };
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP || authority.host().is_empty() {
            return Err(AddressError::NotAUrl);
        }
        if authority.as_str().contains('@') {
            return Err(AddressError::UserInfo);
        }
        if text.contains('#') || parts.path_and_query.is_some_and(|path| path.as_str() != "/") {
            return Err(AddressError::Path);
        }
        Ok(Self { scheme, authority })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl Auth {
    /// The method's name, as it stands in the configuration.
    pub fn method(&self) -> &'static str {
        match self {
            Self::AppRole { .. } => "approle",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Token { .. } => "token",
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Auth").field(&self.method()).finish_non_exhaustive()
    }
}

impl PartialEq for Auth {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::AppRole { mount, role_id, secret_id_file },
                Self::AppRole { mount: mount_b, role_id: role_id_b, secret_id_file: file_b },
            ) => {
                (mount, secret_id_file) == (mount_b, file_b)
                    && role_id.expose_secret() == role_id_b.expose_secret()
            }
            (
                Self::Kubernetes { mount, role, jwt_file },
                Self::Kubernetes { mount: mount_b, role: role_b, jwt_file: file_b },
            ) => (mount, role, jwt_file) == (mount_b, role_b, file_b),
            (Self::Token { file }, Self::Token { file: file_b }) => file == file_b,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("https://vault:8200", "https://vault:8200"),
            ("https://vault.example.com/", "https://vault.example.com"),
            ("http://[::1]:8200", "http://[::1]:8200"),
        ] {
            assert_eq!(text.parse::<Address>().map(|it| it.to_string()), Ok(shown.to_owned()));
        }
        for (text, error) in [
            ("vault:8200", AddressError::NotAUrl),
            ("ftp://vault", AddressError::NotAUrl),
            ("", AddressError::NotAUrl),
            ("https://root:s3cret@vault", AddressError::UserInfo),
            ("https://vault/v1", AddressError::Path),
            ("https://vault?a", AddressError::Path),
            ("https://vault#a", AddressError::Path),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }

    #[test]
    fn nothing_shows_a_credential_and_another_one_is_seen() {
        let auth = |id: &str| Auth::AppRole {
            mount: "approle".to_owned(),
            role_id: id.to_owned().into(),
            secret_id_file: "/run/secret-id".into(),
        };
        assert!(!format!("{:?}", auth("hidden")).contains("hidden"));
        assert!(auth("a") == auth("a"));
        assert!(auth("a") != auth("b"));
        assert!(auth("a") != Auth::Token { file: "/run/secret-id".into() });
    }
}
