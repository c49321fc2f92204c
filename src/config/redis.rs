//! Redis URLs, as far as the rules for them go: a host, whether the way there is encrypted, and
//! whether there is a credential in it.
//!
//! The driver takes `#insecure` for leave to trust anybody, and other schemes for sockets. A URL may
//! hold a password: no error here shows any part of one.

use super::url::{self, UrlError};

/// What the rules look at in a Redis URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RedisUrl {
    /// Whether the host is this machine.
    pub(super) local: bool,
    /// Whether it is `rediss://`.
    pub(super) tls: bool,
    /// Whether it chooses a database by its number.
    pub(super) database: bool,
}

/// Why a URL is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RedisUrlError {
    #[error("does not begin with redis:// or rediss://")]
    Scheme,
    #[error("has a `#`, a `?`, a space, or an `@` behind its host")]
    Unescaped,
    #[error("has a path that is not the number of a database")]
    Database,
    #[error("{0}")]
    Host(UrlError),
}

impl RedisUrlError {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Scheme => "it is like rediss://user:password@redis.example.com:6379",
            Self::Unescaped | Self::Host(UrlError::Port) => {
                "write `#`, `/`, `?`, `@`, `:` and `%` of a password as %23, %2F, %3F, %40, %3A \
                 and %25"
            }
            Self::Database => "leave it out, or write /0 to /15",
            Self::Host(_) => "name one, such as redis.example.com, 192.0.2.1 or [2001:db8::1]",
        }
    }
}

/// Reads a URL.
pub(super) fn parse(text: &str) -> Result<RedisUrl, RedisUrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(RedisUrlError::Scheme)?;
    let tls = match scheme {
        "rediss" => true,
        "redis" => false,
        _ => return Err(RedisUrlError::Scheme),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // A password with a `/` in it would end the host early, and make another one of the user.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"#?\\".contains(&byte);
    if path.contains('@') || !rest.bytes().all(plain) {
        return Err(RedisUrlError::Unescaped);
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, _) = url::authority_parts(host).map_err(RedisUrlError::Host)?;
    let number = path.strip_prefix('/').unwrap_or_default();
    let is_port = number.len() <= 5 && number.bytes().all(|b| b.is_ascii_digit());
    if !number.is_empty() && !is_port {
        return Err(RedisUrlError::Database);
    }
    let local = url::is_loopback(host.trim_matches(['[', ']']));
    Ok(RedisUrl { local, tls, database: !number.is_empty() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_and_schemes_are_found() {
        for (text, local, tls, database) in [
            ("redis://db.example.com", false, false, false),
            ("rediss://u:p@db:6380/", false, true, false),
            ("rediss://:a%2Fb%40c@10.0.0.1/3", false, true, true),
            ("redis://u:p@w@db", false, false, false),
            ("redis://localhost:6379", true, false, false),
            ("redis://u:p@127.0.0.1", true, false, false),
            ("redis://[::1]:6379/0", true, false, true),
        ] {
            assert_eq!(parse(text), Ok(RedisUrl { local, tls, database }), "{text}");
        }
    }

    #[test]
    fn urls_that_are_refused() {
        for (text, expected) in [
            ("db.example.com:6379", RedisUrlError::Scheme),
            ("http://db", RedisUrlError::Scheme),
            ("redis+unix:///tmp/redis.sock", RedisUrlError::Scheme),
            ("redis://", RedisUrlError::Host(UrlError::NoHost)),
            ("redis://u:p@", RedisUrlError::Host(UrlError::NoHost)),
            ("redis://db:0", RedisUrlError::Host(UrlError::Port)),
            ("redis://a,b", RedisUrlError::Host(UrlError::Host)),
            ("rediss://db#insecure", RedisUrlError::Unescaped),
            ("redis://db?protocol=resp3", RedisUrlError::Unescaped),
            ("redis://u:a b@db", RedisUrlError::Unescaped),
            ("redis://u:a/b@db", RedisUrlError::Unescaped),
            ("redis://u:hunter2/x", RedisUrlError::Host(UrlError::Port)),
            ("redis://db/cache", RedisUrlError::Database),
            ("redis://db/0/1", RedisUrlError::Database),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".*", rest in "rediss?://.*") {
            let _ = (parse(&text), parse(&rest));
        }
    }
}
