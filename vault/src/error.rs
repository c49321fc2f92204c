//! What can go wrong, and what to do about it.

use std::path::PathBuf;

/// Why there is no value, or no fresh one. Holds nothing that the server said beyond a status, and never a
/// token, a credential or a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The file of authorities.
    #[error("{path}: {message}", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The machine trusts nobody.
    #[error("this machine has no public authorities ({0}); install them, or set `ca`")]
    NoAuthorities(String),
    /// No thread to work in.
    #[error("no thread could be started: {0}")]
    Thread(String),
    /// A file with a credential.
    #[error("{path}: {reason}", path = path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// What the system, or we, have against it.
        reason: String,
    },
    /// No connection, or one that broke.
    #[error("Vault can't be reached: {0}")]
    Unreachable(String),
    /// Too slow.
    #[error("Vault has not answered in time")]
    TimedOut,
    /// 503.
    #[error("Vault is sealed, or not ready yet; unseal it")]
    Sealed,
    /// 429, 472 or 473.
    #[error(
        "Vault answers with status {0}: a standby, or its rate limit is reached; let the address \
         lead to the active server"
    )]
    Standby(u16),
    /// A redirection, which is not followed: a token would go to whoever is named there.
    #[error(
        "Vault answers with a redirection, as a standby without request forwarding does; let the \
         address lead to the active server"
    )]
    Redirected,
    /// Any other status of the server's trouble.
    #[error("Vault answers with status {0}; its log says why")]
    Failing(u16),
    /// Any other status of our trouble.
    #[error("Vault refuses the request with status {status}: {path}")]
    Refused {
        /// The status.
        status: u16,
        /// What was asked for.
        path: String,
    },
    /// An answer beyond the bound.
    #[error("Vault's answer is larger than 1 MiB")]
    TooLarge,
    /// An answer that is none of Vault's.
    #[error("the answer is not one of Vault's ({0}); does the address lead to something else?")]
    Garbled(&'static str),
    /// Credentials that are not good.
    #[error(
        "Vault refuses the login at auth/{mount} with status {status}: the role or its credential is \
         wrong, expired, used up or not allowed from here"
    )]
    LoginRefused {
        /// The method's mount.
        mount: String,
        /// The status.
        status: u16,
    },
    /// A token that is not good.
    #[error("Vault does not know the token: it is expired or revoked; put a new one into its file")]
    TokenRefused,
    /// A token that nobody can make last longer.
    #[error("the token reaches the end of its life; put a new one into its file")]
    TokenEnds,
    /// A token that may do everything.
    #[error("this is a root token; make one with a policy that may only read what is needed")]
    RootToken,
    /// 403 though the token is good.
    #[error("permission denied: no policy of the token allows to read {path}")]
    Denied {
        /// What was asked for, in the HTTP API.
        path: String,
    },
    /// 404.
    #[error(
        "there is no secret at {path}, or its latest version is deleted; `mounts` names engines of version 1"
    )]
    NotFound {
        /// What was asked for, in the HTTP API.
        path: String,
    },
    /// A secret without this field.
    #[error("the secret at {path} has no field `{field}`")]
    NoField {
        /// The secret, in the HTTP API.
        path: String,
        /// The field.
        field: String,
    },
    /// A field that is a number, a list or the like.
    #[error("the field `{field}` of the secret at {path} is not text")]
    NotText {
        /// The secret, in the HTTP API.
        path: String,
        /// The field.
        field: String,
    },
    /// A reference that names a mount alone.
    #[error("{0} names a mount, and no secret in it")]
    NoPath(String),
    /// The client has been closed.
    #[error("the client of Vault has stopped")]
    Stopped,
}

impl VaultError {
    /// Whether nothing else can be asked for either, so that it is of no use to try now.
    pub(crate) fn is_of_all(&self) -> bool {
        !matches!(
            self,
            Self::Denied { .. }
                | Self::NotFound { .. }
                | Self::NoField { .. }
                | Self::NotText { .. }
                | Self::NoPath(_)
                | Self::Refused { .. }
                | Self::TooLarge
        )
    }
}
