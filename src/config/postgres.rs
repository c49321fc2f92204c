//! Postgres URLs, as far as the rules for them go: a host, and whether the way there is encrypted.
//!
//! The driver reads `PGHOST`, `PGSSLMODE` and their like where a URL is silent, takes what it does
//! not know for nothing and writes it to the log with its value. So a URL must say where it leads,
//! and may have only parameters that have a meaning here. A URL holds a password: no error here shows
//! any part of one.

use std::net::IpAddr;
use std::path::PathBuf;

use super::url::{self, UrlError};

/// Parameters whose values the driver takes as they are. Not `options`: what belongs to a session is lost
/// behind a PgBouncer that changes sessions with every transaction.
const PLAIN_PARAMETERS: [&str; 3] = ["dbname", "user", "application_name"];

/// What the rules look at in a Postgres URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostgresUrl {
    /// Whether every host it names is this machine or a Unix socket.
    pub(crate) local: bool,
    /// What it says of TLS; `None` where it leaves that to the driver.
    pub(crate) ssl_mode: Option<SslMode>,
    /// Whether it names authorities, in a file or as they are.
    pub(crate) has_authorities: bool,
    /// The files that it names for TLS.
    pub(crate) files: SslFiles,
}

/// Files of certificates that a URL names. What stands in the URL itself, as PEM, is not one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SslFiles {
    /// `sslrootcert`: who may have signed the server's certificate.
    pub(crate) authorities: Option<PathBuf>,
    /// `sslcert`: ours.
    pub(crate) certificate: Option<PathBuf>,
    /// `sslkey`: its key.
    pub(crate) key: Option<PathBuf>,
}

/// `sslmode`, the weakest first (PostgreSQL documentation, 32.19.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    const ALL: [(&str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    /// As it stands in a URL.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }

    /// Whether there is no connection without TLS.
    pub(crate) fn is_encrypted(self) -> bool {
        self >= Self::Require
    }
}

/// Why a URL is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PostgresUrlError {
    #[error("does not begin with postgres:// or postgresql://")]
    Scheme,
    #[error("has a `#`, or an `@` behind its host")]
    Unescaped,
    #[error("has no host")]
    NoHost,
    #[error("{0}")]
    Host(UrlError),
    /// It is not named: with a `?` in it, part of a password stands where a name does.
    #[error("has a parameter that is not known")]
    Parameter,
    #[error("has a `{0}` that is not valid")]
    Value(&'static str),
    #[error("has more than one `sslmode`")]
    SslModes,
    #[error("has one of `sslcert` and `sslkey` without the other")]
    HalfPair,
}

impl PostgresUrlError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Scheme => "it is like postgres://user:password@db.example.com:5432/sluicegate",
            Self::Unescaped | Self::Host(UrlError::Port) => {
                "write `#`, `/`, `?`, `@`, `:` and `%` of a password as %23, %2F, %3F, %40, %3A \
                 and %25"
            }
            Self::NoHost | Self::Host(_) => {
                "name one, such as db.example.com, 192.0.2.1, [2001:db8::1] or \
                 `?host=/var/run/postgresql`"
            }
            Self::Parameter => {
                "take it out; known are sslmode, sslrootcert, sslcert, sslkey, host, hostaddr, \
                 port, dbname, user, application_name"
            }
            Self::Value(_) => "see the documentation of PostgreSQL's connection URIs",
            Self::SslModes => "keep one",
            Self::HalfPair => "write both, or neither",
        }
    }
}

/// Reads a URL (PostgreSQL documentation, 32.1.1.2).
pub(crate) fn parse(text: &str) -> Result<PostgresUrl, PostgresUrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(PostgresUrlError::Scheme)?;
    if !["postgres", "postgresql"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(PostgresUrlError::Scheme);
    }
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before.split_at(before.find('/').unwrap_or(before.len()));
    // A password with a `/` in it would end the host early, and make another one of the user.
    if path.contains('@') || rest.contains('#') {
        return Err(PostgresUrlError::Unescaped);
    }
    let mut hosts = Vec::new();
    if !authority.is_empty() {
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        hosts.push(is_local(host)?);
    }
    let mut ssl_mode = None;
    let [mut authorities, mut certificate, mut key] = [None, None, None];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "sslmode" => {
                let mode = SslMode::ALL.iter().find(|(known, _)| value.eq_ignore_ascii_case(known));
                let (_, mode) = mode.ok_or(PostgresUrlError::Value("sslmode"))?;
                if ssl_mode.replace(*mode).is_some() {
                    return Err(PostgresUrlError::SslModes);
                }
            }
            "host" if value.contains(':') => return Err(PostgresUrlError::Value("host")),
            "host" => hosts.push(is_local(value)?),
            "hostaddr" => {
                let address: Result<IpAddr, _> = value.parse();
                let address = address.map_err(|_| PostgresUrlError::Value("hostaddr"))?;
                hosts.push(address.is_loopback());
            }
            "port" => {
                value.parse::<u16>().map_err(|_| PostgresUrlError::Value("port"))?;
            }
            "sslrootcert" => authorities = Some(pem("sslrootcert", pair)?),
            "sslcert" => certificate = Some(pem("sslcert", pair)?),
            "sslkey" => key = Some(pem("sslkey", pair)?),
            name if PLAIN_PARAMETERS.contains(&name) => {}
            _ => return Err(PostgresUrlError::Parameter),
        }
    }
    if hosts.is_empty() {
        return Err(PostgresUrlError::NoHost);
    }
    if certificate.is_some() != key.is_some() {
        return Err(PostgresUrlError::HalfPair);
    }
    // Which of several hosts the driver takes depends on their order, so all of them count.
    let local = hosts.iter().all(|local| *local);
    let has_authorities = authorities.is_some();
    let files = SslFiles {
        authorities: authorities.and_then(Pem::file),
        certificate: certificate.and_then(Pem::file),
        key: key.and_then(Pem::file),
    };
    Ok(PostgresUrl { local, ssl_mode, has_authorities, files })
}

/// What a parameter for certificates holds.
enum Pem {
    File(PathBuf),
    /// The driver takes PEM itself as well.
    Inline,
}

impl Pem {
    fn file(self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline => None,
        }
    }
}

/// The value of `pair`, as the driver reads it.
fn pem(name: &'static str, pair: &str) -> Result<Pem, PostgresUrlError> {
    let value = form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value);
    let value = value.unwrap_or_default();
    match value.trim() {
        "" => Err(PostgresUrlError::Value(name)),
        text if text.starts_with("-----BEGIN") && text.ends_with("-----") => Ok(Pem::Inline),
        // Half of a key is no file's name, and never shown as one.
        text if text.contains("-----BEGIN") => Err(PostgresUrlError::Value(name)),
        _ => Ok(Pem::File(PathBuf::from(&*value))),
    }
}

/// Whether `host`, with a port or without, is a Unix socket or this machine.
fn is_local(host: &str) -> Result<bool, PostgresUrlError> {
    // A socket's directory, as it is written in a parameter.
    if host.starts_with('/') {
        return Ok(true);
    }
    // The same in the place of a host.
    if host.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%2F")) {
        let (directory, port) = host.split_once(':').unzip();
        port.map(url::parse_port).transpose().map_err(PostgresUrlError::Host)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%-._~".contains(&byte);
        let legal = directory.unwrap_or(host).bytes().all(plain);
        return legal.then_some(true).ok_or(PostgresUrlError::Host(UrlError::Host));
    }
    match url::authority_parts(host) {
        Ok((host, _)) => Ok(url::is_loopback(host.trim_matches(['[', ']']))),
        Err(UrlError::NoHost) => Err(PostgresUrlError::NoHost),
        Err(error) => Err(PostgresUrlError::Host(error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sqlx::postgres::{PgConnectOptions, PgSslMode};

    use super::*;

    #[test]
    fn hosts_and_modes_are_found() {
        for (text, local, ssl_mode) in [
            ("postgres://db.example.com/x", false, None),
            ("postgresql://u:p@db:5432/x?sslmode=require", false, Some(SslMode::Require)),
            ("POSTGRES://u@10.0.0.1?sslmode=Verify-Full", false, Some(SslMode::VerifyFull)),
            ("postgres://u:a%2Fb%40c@db/x?sslmode=disable", false, Some(SslMode::Disable)),
            ("postgres://u:p@w@db/x", false, None),
            ("postgres://localhost/x", true, None),
            ("postgres://127.0.0.1:6000/x", true, None),
            ("postgres://u:p@[::1]:5432/x", true, None),
            ("postgres:///x?host=/var/run/postgresql", true, None),
            ("postgres://u@%2Fvar%2Frun%2Fpostgresql/x", true, None),
            ("postgres:///x?host=db.example.com&port=6000&user=u", false, None),
            ("postgres:///x?hostaddr=127.0.0.1", true, None),
            // The driver would take the second.
            ("postgres://localhost/x?host=db.example.com", false, None),
            ("postgres://db.example.com/x?hostaddr=127.0.0.1", false, None),
            ("postgres://db/x?dbname=a&application_name=b", false, None),
        ] {
            let files = SslFiles::default();
            let expected = PostgresUrl { local, ssl_mode, has_authorities: false, files };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn files_for_tls_are_found() {
        let files =
            |parameters: &str| parse(&format!("postgres://db/x?{parameters}")).unwrap().files;
        let path = |path: &str| Some(PathBuf::from(path));
        let found = files("sslrootcert=/a%20b/c+d.pem&sslcert=own.pem&sslkey=%2Fk.pem");
        assert_eq!(
            (found.authorities, found.certificate, found.key),
            (path("/a b/c d.pem"), path("own.pem"), path("/k.pem"))
        );
        // The driver takes the last.
        assert_eq!(files("sslrootcert=a&sslrootcert=b").authorities, path("b"));
        let inline = "sslrootcert=-----BEGIN+CERTIFICATE-----%0AMII%0A-----END+CERTIFICATE-----%0A";
        assert_eq!(files(inline), SslFiles::default());
        assert!(parse(&format!("postgres://db/x?{inline}")).unwrap().has_authorities);
    }

    #[test]
    fn urls_that_are_refused() {
        for (text, expected) in [
            ("db.example.com", PostgresUrlError::Scheme),
            ("mysql://db/x", PostgresUrlError::Scheme),
            ("postgres:db", PostgresUrlError::Scheme),
            ("postgres://", PostgresUrlError::NoHost),
            ("postgres:///x", PostgresUrlError::NoHost),
            ("postgres://u:p@/x?host=/tmp", PostgresUrlError::NoHost),
            ("postgres://:5432/x", PostgresUrlError::NoHost),
            ("postgres:///x?host=", PostgresUrlError::NoHost),
            ("postgres://a,b/x", PostgresUrlError::Host(UrlError::Host)),
            ("postgres://%2Ftmp:66000/x", PostgresUrlError::Host(UrlError::Port)),
            ("postgres://%2Ftmp|a/x", PostgresUrlError::Host(UrlError::Host)),
            ("postgres://db:0/x", PostgresUrlError::Host(UrlError::Port)),
            ("postgres://db/x?host=db:5432", PostgresUrlError::Value("host")),
            ("postgres://db/x?host=d%62", PostgresUrlError::Host(UrlError::Host)),
            ("postgres://db/x?hostaddr=db", PostgresUrlError::Value("hostaddr")),
            ("postgres://db/x?port=70000", PostgresUrlError::Value("port")),
            ("postgres://db/x?sslmode=yes", PostgresUrlError::Value("sslmode")),
            ("postgres://db/x?sslmode", PostgresUrlError::Value("sslmode")),
            ("postgres://db/x?sslmode=require&sslmode=disable", PostgresUrlError::SslModes),
            ("postgres://db/x?sslrootcert=", PostgresUrlError::Value("sslrootcert")),
            ("postgres://db/x?sslcert=a.pem", PostgresUrlError::HalfPair),
            ("postgres://db/x?sslkey=a.pem", PostgresUrlError::HalfPair),
            (
                "postgres://db/x?sslcert=a.pem&sslkey=-----BEGIN+KEY-----hunter2",
                PostgresUrlError::Value("sslkey"),
            ),
            ("postgres://db/x?pasword=hunter2", PostgresUrlError::Parameter),
            ("postgres://db/x?password=hunter2", PostgresUrlError::Parameter),
            ("postgres://db/x?options=-c%20a=b", PostgresUrlError::Parameter),
            ("postgres://db/x?options[search_path]=a", PostgresUrlError::Parameter),
            ("postgres://db/x?ssl-mode=require", PostgresUrlError::Parameter),
            ("postgres://db/x?hunter2", PostgresUrlError::Parameter),
            ("postgres://db/x?Hunter2=1", PostgresUrlError::Parameter),
            ("postgres://db/x?%73slmode=disable", PostgresUrlError::Parameter),
            // Passwords whose characters mean something: each would make the host another one.
            ("postgres://u:1/2@db/x", PostgresUrlError::Unescaped),
            ("postgres://u:a/2@db/x", PostgresUrlError::Unescaped),
            ("postgres://u:1?2@db/x", PostgresUrlError::Parameter),
            ("postgres://u:1#2@db/x", PostgresUrlError::Unescaped),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_driver_reads_the_same(
            user in "([a-z%A-F0-9]{0,4}(:[a-z0-9/@%?#&=]{0,6})?@)?",
            host in "db\\.example\\.com|localhost|127\\.0\\.0\\.[0-9]|\\[::1\\]|%2Ftmp|[a-z.:,0-9]{0,4}",
            port in "(:[0-9]{1,5})?",
            path in "(/[a-z@]{0,3})?",
            query in "(\\?((host|hostaddr|sslmode|port|user|sslrootcert|sslcert|sslkey)=\
                      (localhost|db|127\\.0\\.0\\.1|10\\.0\\.0\\.1|/tmp|require|disable|7|%2Ftmp)&?){0,3})?",
        ) {
            let text = format!("postgres://{user}{host}{port}{path}{query}");
            let driver = text.parse::<PgConnectOptions>();
            let Ok(ours) = parse(&text) else { return Ok(()) };
            // The driver refuses escapes that are no UTF-8, which are not looked at here.
            if driver.is_err() && user.contains('%') {
                return Ok(());
            }
            prop_assert!(driver.is_ok(), "{text}");
            let Ok(driver) = driver else { return Ok(()) };
            let host = driver.get_host().trim_matches(['[', ']']);
            let local = driver.get_socket().is_some() || url::is_loopback(host);
            prop_assert!(!ours.local || local, "{text}: {host}");
            // It tells of no file but in its debugging text.
            let shown = format!("{driver:?}");
            let SslFiles { authorities, certificate, key } = &ours.files;
            for (name, file) in
                [("root_cert", authorities), ("client_cert", certificate), ("client_key", key)]
            {
                let expected = match file {
                    Some(path) => format!("ssl_{name}: Some(File({path:?}))"),
                    None => format!("ssl_{name}: None"),
                };
                prop_assert!(shown.contains(&expected), "{text}: {shown}");
            }
            if let Some(mode) = ours.ssl_mode {
                let encrypted = matches!(
                    driver.get_ssl_mode(),
                    PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
                );
                prop_assert_eq!(mode.is_encrypted(), encrypted, "{}", text);
            }
        }

        #[test]
        fn nothing_panics(text in ".*", rest in "postgres://.*") {
            let _ = (parse(&text), parse(&rest));
        }
    }
}
