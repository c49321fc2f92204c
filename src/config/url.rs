//! The two kinds of URL in a configuration: a provider's base and a web page's origin.
//!
//! Stricter than RFC 3986: what follows is compared byte by byte (origins) or decides where
//! credentials go (bases), so nothing passes that two parsers could read in two ways.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::valid::BaseUrl;

/// Why a URL is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("does not begin with http:// or https://")]
    Scheme,
    #[error("has a user name or password in it")]
    UserInfo,
    #[error("has a query or a fragment")]
    Query,
    #[error("has no host")]
    NoHost,
    #[error("has a host that is neither a name nor an address")]
    Host,
    #[error("has a port that is not 1 to 65535")]
    Port,
    #[error("has a path with characters or segments that a URL's path can't have")]
    Path,
    #[error("has a path")]
    OriginPath,
    #[error("is the origin of sandboxed and local pages, which anyone can have")]
    Null,
    #[error("has a wildcard in it")]
    Wildcard,
}

impl UrlError {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Scheme => "write it as in https://api.example.com/v1",
            Self::UserInfo => "leave them out; credentials go to `api_key`",
            Self::Query => "leave out what begins with `?` or `#`",
            Self::NoHost | Self::Host => {
                "write a name such as api.example.com, 192.0.2.1 or [2001:db8::1]"
            }
            Self::Port => "leave it out for the scheme's own",
            Self::Path => "write it as in /v1, without `..`, `//` or spaces",
            Self::OriginPath => "an origin is scheme://host or scheme://host:port, nothing behind",
            Self::Null => "serve the page from an origin of its own",
            Self::Wildcard => "list each origin by itself",
        }
    }
}

/// Whether the address ends with a version of an API, which the clouds' own dialects put into their paths.
pub fn names_version(base: &BaseUrl) -> bool {
    ["/v1", "/v1beta", "/openai"].iter().any(|version| base.path_prefix.ends_with(version))
}

/// Reads a provider's base URL.
pub(crate) fn parse_base(text: &str) -> Result<BaseUrl, UrlError> {
    let mut base = parse(text)?;
    let path = base.path_prefix.trim_end_matches('/').len();
    base.path_prefix.truncate(path);
    Ok(base)
}

/// Reads the URL of a single endpoint: its path is the whole of it, and a final `/` is part of that.
pub(crate) fn parse_endpoint(text: &str) -> Result<BaseUrl, UrlError> {
    let base = parse(text)?;
    if base.path_prefix.ends_with("//") { Err(UrlError::Path) } else { Ok(base) }
}

/// Reads a URL with the path as it is written.
fn parse(text: &str) -> Result<BaseUrl, UrlError> {
    let (tls, rest) = scheme(text)?;
    if rest.contains(['?', '#']) {
        return Err(UrlError::Query);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = authority_parts(authority)?;
    let segments = path.trim_end_matches('/');
    if !segments.is_empty() && !segments[1..].split('/').all(is_segment) {
        return Err(UrlError::Path);
    }
    let default_port = default_port(tls);
    let port = port.unwrap_or(default_port);
    let authority = if port == default_port { host.clone() } else { format!("{host}:{port}") };
    Ok(BaseUrl {
        tls,
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        path_prefix: path.to_owned(),
        authority,
    })
}

/// Reads an origin, and writes it as browsers do (RFC 6454, 6.2): in lower case, without the
/// scheme's own port.
pub(super) fn parse_origin(text: &str) -> Result<String, UrlError> {
    if text == "null" {
        return Err(UrlError::Null);
    }
    if text.contains('*') {
        return Err(UrlError::Wildcard);
    }
    let (tls, rest) = scheme(text)?;
    if rest.contains(['/', '?', '#']) {
        return Err(UrlError::OriginPath);
    }
    let (host, port) = authority_parts(rest)?;
    let scheme = if tls { "https" } else { "http" };
    Ok(match port.filter(|port| *port != default_port(tls)) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// Whether `host`, as in [`BaseUrl::host`], is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

fn scheme(text: &str) -> Result<(bool, &str), UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    if scheme.eq_ignore_ascii_case("https") {
        Ok((true, rest))
    } else if scheme.eq_ignore_ascii_case("http") {
        Ok((false, rest))
    } else {
        Err(UrlError::Scheme)
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Host, in lower case and with an IPv6 address's brackets, and port.
pub(super) fn authority_parts(authority: &str) -> Result<(String, Option<u16>), UrlError> {
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':').ok_or(UrlError::Host)?),
            };
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            if host.is_empty() {
                return Err(UrlError::NoHost);
            }
            let host = host.to_ascii_lowercase();
            if !is_host(&host) {
                return Err(UrlError::Host);
            }
            (host, port)
        }
    };
    Ok((host, port.map(parse_port).transpose()?))
}

pub(super) fn parse_port(text: &str) -> Result<u16, UrlError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(UrlError::Port),
    }
}

/// A DNS name, or an IPv4 address in full. A name whose last label is a number would be taken for
/// an address by some (`127.1`), so it is refused (WHATWG URL, 4.5).
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    host.len() <= 253
        && host.split('.').all(label)
        && (!numeric || host.parse::<Ipv4Addr>().is_ok())
}

/// A path segment (RFC 3986, 3.3) that means itself. Percent signs are refused: nothing in a
/// provider's path needs them, and servers differ in when they undo them.
fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment != "."
        && segment != ".."
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bases_are_taken_apart() {
        let base = parse_base("https://API.example.com/v1/").unwrap();
        assert_eq!(
            base,
            BaseUrl {
                tls: true,
                host: "api.example.com".to_owned(),
                port: 443,
                path_prefix: "/v1".to_owned(),
                authority: "api.example.com".to_owned(),
            }
        );
        let base = parse_base("http://[::1]:8080").unwrap();
        assert_eq!((base.host.as_str(), base.port), ("::1", 8080));
        assert_eq!((base.authority.as_str(), base.path_prefix.as_str()), ("[::1]:8080", ""));
        assert_eq!(parse_base("https://a:443/x/y").unwrap().to_string(), "https://a/x/y");
    }

    #[test]
    fn bases_that_are_refused() {
        for (text, expected) in [
            ("api.example.com", UrlError::Scheme),
            ("ftp://a", UrlError::Scheme),
            ("https://user:pw@a/v1", UrlError::UserInfo),
            ("https://a@b", UrlError::UserInfo),
            ("https://a/v1?key=x", UrlError::Query),
            ("https://a#x", UrlError::Query),
            ("https://", UrlError::NoHost),
            ("https:///v1", UrlError::NoHost),
            ("https://:80", UrlError::NoHost),
            ("https://a b", UrlError::Host),
            ("https://a..b", UrlError::Host),
            ("https://a.", UrlError::Host),
            ("https://127.1", UrlError::Host),
            ("https://0x7f.0.0.1", UrlError::Host),
            ("https://2130706433", UrlError::Host),
            ("https://[::1", UrlError::Host),
            ("https://[::1]x", UrlError::Host),
            ("https://müller.de", UrlError::Host),
            ("https://a:0", UrlError::Port),
            ("https://a:", UrlError::Port),
            ("https://a:+80", UrlError::Port),
            ("https://a:65536", UrlError::Port),
            ("https://a/b/../c", UrlError::Path),
            ("https://a//b", UrlError::Path),
            ("https://a/%2e%2e", UrlError::Path),
            ("https://a/b\\c", UrlError::Path),
        ] {
            assert_eq!(parse_base(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn an_endpoint_keeps_its_path() {
        for (text, path) in [
            ("https://a", ""),
            ("https://a/", "/"),
            ("https://a/mcp", "/mcp"),
            ("https://A:443/mcp/", "/mcp/"),
        ] {
            assert_eq!(parse_endpoint(text).unwrap().path_prefix, path, "{text}");
        }
        for text in ["https://a//", "https://a/mcp//", "https://a//mcp"] {
            assert_eq!(parse_endpoint(text), Err(UrlError::Path), "{text}");
        }
        assert_eq!(parse_base("https://a/v1//").unwrap().path_prefix, "/v1");
    }

    #[test]
    fn origins_are_written_as_browsers_do() {
        for (text, expected) in [
            ("https://App.Example.com", "https://app.example.com"),
            ("https://a:443", "https://a"),
            ("http://a:80", "http://a"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(parse_origin(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("null", UrlError::Null),
            ("https://*.example.com", UrlError::Wildcard),
            ("https://a/", UrlError::OriginPath),
            ("https://a?b", UrlError::OriginPath),
            ("example.com", UrlError::Scheme),
            ("https://a@b", UrlError::UserInfo),
        ] {
            assert_eq!(parse_origin(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn loopback() {
        for host in ["localhost", "sim.localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "::2", "example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in "(https?)://[a-z0-9.:\\[\\]@/-]{0,20}") {
            if let Ok(base) = parse_base(&text) {
                prop_assert_eq!(parse_base(&base.to_string()), Ok(base));
            }
            if let Ok(endpoint) = parse_endpoint(&text) {
                prop_assert_eq!(parse_endpoint(&endpoint.to_string()), Ok(endpoint));
            }
            if let Ok(origin) = parse_origin(&text) {
                prop_assert_eq!(parse_origin(&origin), Ok(origin.clone()));
            }
        }

        #[test]
        fn nothing_panics(text in ".*", rest in "https://.*") {
            let _ = (parse_base(&text), parse_origin(&text), parse_base(&rest));
        }
    }
}
