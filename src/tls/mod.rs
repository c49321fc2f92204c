//! Certificates, keys and authorities from files, and what is made of them.
//!
//! | module | what it is |
//! |---|---|
//! | [`pem`] | one file: read, checked, with errors that name its config key and never its content |
//! | [`slot`] | something made of such files that is made anew when they change |
//! | [`listener`] | what listeners speak |
//! | [`beside`] | authorities of those that are asked beside providers, only to tell when they expire |
//! | [`findings()`] | what there is to say of those that a configuration names |
//!
//! Who uses them: [`edge`](crate::edge) and [`admin`](crate::admin) for their listeners,
//! [`providers::tls`](crate::providers::tls) for calls to providers.

pub mod beside;
mod findings;
pub mod listener;
pub mod pem;
pub mod slot;

pub use self::findings::{Findings, findings};
pub use self::listener::{Acceptor, Acceptors, Listener};
pub use self::pem::{File, TlsError};
pub use self::slot::{Refresh, Slot, Source};

/// A certificate in use, as far as it is told: for the metric of when it expires, and for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What it is for.
    pub kind: Kind,
    /// The file that it is from.
    pub file: File,
    /// Its serial number, in hex.
    pub serial: String,
    /// From when on it is good, in seconds since the epoch.
    pub not_before: i64,
    /// Until when it is good, in seconds since the epoch.
    pub not_after: i64,
    /// Until when it is good together with those that are sent beside it.
    pub chain_not_after: i64,
}

impl Certificate {
    /// Whether it is good at `now`, in seconds since the epoch (RFC 5280 section 4.1.2.5: both ends
    /// included).
    pub fn is_good_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What a listener shows to clients.
    Listener,
    /// Whoever may have signed clients' certificates.
    ClientCa,
    /// What is shown to a provider.
    Client,
    /// Whoever may have signed a provider's certificate.
    Ca,
    /// What a provider shows.
    Upstream,
    /// Whoever may have signed the certificate of Vault.
    VaultCa,
    /// Whoever may have signed the certificates of Redis.
    RedisCa,
    /// Whoever may have signed the certificate of PostgreSQL.
    PostgresCa,
    /// What is shown to PostgreSQL.
    PostgresClient,
    /// Whoever may have signed the certificate of an issuer of tokens.
    IssuerCa,
    /// Whoever may have signed the certificate of an MCP server.
    McpCa,
    /// What is shown to an MCP server.
    McpClient,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Listener,
        Self::ClientCa,
        Self::Client,
        Self::Ca,
        Self::Upstream,
        Self::VaultCa,
        Self::RedisCa,
        Self::PostgresCa,
        Self::PostgresClient,
        Self::IssuerCa,
        Self::McpCa,
        Self::McpClient,
    ];

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::ClientCa => "client_ca",
            Self::Client => "client",
            Self::Ca => "ca",
            Self::Upstream => "upstream",
            Self::VaultCa => "vault_ca",
            Self::RedisCa => "redis_ca",
            Self::PostgresCa => "postgres_ca",
            Self::PostgresClient => "postgres_client",
            Self::IssuerCa => "issuer_ca",
            Self::McpCa => "mcp_ca",
            Self::McpClient => "mcp_client",
        }
    }
}

/// Now, in seconds since the epoch.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A time as people read it.
pub fn shown(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}
