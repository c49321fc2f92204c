//! Where the server is, and how the way to it is protected.

use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::super::StoreError;
use crate::config::postgres;

/// Reads a `postgres://` URL.
///
/// In production, a connection that leaves the machine is encrypted: `sslmode` is `require`,
/// `verify-ca` or `verify-full`. As in libpq, `require` with a `sslrootcert` verifies the certificate
/// against it.
///
/// # Errors
/// `Broken` for a URL that can't be used. It shows nothing that the URL holds.
pub(super) fn parse(url: &SecretString, production: bool) -> Result<PgConnectOptions, StoreError> {
    let url = url.expose_secret();
    let read =
        postgres::parse(url).map_err(|error| unusable(&format!("it {error}; {}", error.hint())))?;
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| unusable("it is not postgres://user:password@host:port/database?sslmode=.."))?
        // What belongs to a session is lost behind a PgBouncer that changes sessions with every
        // transaction; and parameters that it does not know, it refuses.
        .statement_cache_capacity(0)
        .extra_float_digits(None);
    let options = match options.get_ssl_mode() {
        PgSslMode::Require if read.has_authorities => options.ssl_mode(PgSslMode::VerifyCa),
        _ => options,
    };
    if production && !is_encrypted(&options) && !read.local {
        return Err(unusable(
            "its `sslmode` lets the connection be unencrypted, which is refused in production. Add \
             `sslmode=verify-full` and `sslrootcert` with the file of the certificate authority",
        ));
    }
    if options.get_application_name().is_none() {
        return Ok(options.application_name("sluicegate"));
    }
    Ok(options)
}

fn is_encrypted(options: &PgConnectOptions) -> bool {
    matches!(
        options.get_ssl_mode(),
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
    )
}

fn unusable(why: &str) -> StoreError {
    StoreError::Broken(format!("the URL of the PostgreSQL server can't be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, production: bool) -> Result<PgConnectOptions, String> {
        parse(&SecretString::from(url), production).map_err(|error| error.to_string())
    }

    #[test]
    fn in_production_what_leaves_the_machine_is_encrypted() {
        let allowed = [
            "postgres://u:p@db.example.com/d?sslmode=require",
            "postgres://u:p@db.example.com/d?sslmode=verify-ca&sslrootcert=/ca.pem",
            "postgresql://u:p@db.example.com/d?sslmode=verify-full&sslrootcert=/ca.pem",
            "postgres://u:p@127.0.0.1/d",
            "postgres://u:p@127.8.8.8/d?sslmode=disable",
            "postgres://u:p@[::1]/d?sslmode=prefer",
            "postgres://u:p@localhost:6432/d",
            "postgres://u:p@%2Fvar%2Frun%2Fpostgresql/d",
            "postgres:///d?host=/var/run/postgresql&user=u",
        ];
        for url in allowed {
            assert!(read(url, true).is_ok(), "{url}: {:?}", read(url, true).err());
        }
        let refused = [
            "postgres://u:p@db.example.com/d",
            "postgres://u:p@db.example.com/d?sslmode=disable",
            "postgres://u:p@db.example.com/d?sslmode=allow",
            "postgres://u:p@db.example.com/d?sslmode=prefer",
            "postgres://u:p@10.0.0.1/d",
            "postgres://u:p@localhost.example.com/d",
            "postgres://u:p@127.0.0.1/d?host=db.example.com",
            "postgres://u:p@127.0.0.1/d?hostaddr=10.0.0.1",
        ];
        for url in refused {
            let error = read(url, true).unwrap_err();
            assert!(error.contains("sslmode=verify-full"), "{url}: {error}");
            assert!(read(url, false).is_ok(), "{url} is good enough for development");
        }
    }

    #[test]
    fn require_with_an_authority_verifies_it() {
        let mode = |url| read(url, true).unwrap().get_ssl_mode();
        let url = "postgres://u@db.example.com/d?sslmode=require&sslrootcert=/ca.pem";
        assert!(matches!(mode(url), PgSslMode::VerifyCa));
        let url = "postgres://u@db.example.com/d?sslmode=require";
        assert!(matches!(mode(url), PgSslMode::Require));
    }

    #[test]
    fn an_error_shows_nothing_of_the_url() {
        let wrong = [
            "hunter2",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@h:port/d",
            "postgres://u:hunter2@h/d?sslmode=hunter2",
            "postgres://u:p@h/d?hunter2",
            "postgres://u:p@h/d?Hunter2=1",
            "postgres://u:p@h/d?pasword=hunter2",
            "postgres://u:hunter2@h/d?options=-c%20a=b",
        ];
        for url in wrong {
            let error = read(url, false).unwrap_err();
            assert!(!error.to_lowercase().contains("hunter2"), "{error}");
        }
    }
}
