//! Which addresses the provider may be asked to fetch.
//!
//! What Google stores is read with the rights of the gateway's own credential: a client that names it reads what it may not
//! see. So buckets and uploaded files are refused, and only what anyone can fetch is handed on.

/// What to say of an address that is refused.
pub const PUBLIC: &str = "send the bytes inline, as a `data:` URL, or a public `https` address";

/// Whether an address is of the public web, and none of Google's own storage.
pub fn is_public(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return false;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default().trim_end_matches('.');
    let host = host.to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let google = ["googleapis.com", "storage.cloud.google.com"].into_iter().any(|own| {
        host.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    !host.is_empty() && host.chars().all(plain) && !authority.contains('@') && !google
}

/// The media type that an address's ending tells.
pub fn media_type(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_web_is_handed_on() {
        for url in
            ["https://example.com/a.png", "HTTP://EXAMPLE.com:8080/a", "https://a-b.example?x"]
        {
            assert!(is_public(url), "{url}");
        }
        for url in [
            "gs://bucket/a.png",
            "https://generativelanguage.googleapis.com/v1beta/files/abc",
            "https://GenerativeLanguage.GoogleAPIs.com./v1beta/files/abc",
            "https://googleapis.com/x",
            "https://storage.googleapis.com/bucket/a.png",
            "https://storage.cloud.google.com/bucket/a.png",
            "https://storage.googleapis.com:443/bucket/a.png",
            "https://storage.googleapis.com\\x/bucket",
            "https://user@example.com/",
            "https://example.com%2f@storage.googleapis.com/",
            "https:///x",
            "https://",
            "files/abc",
            "file:///etc/passwd",
            "https://exa mple.com/",
            "",
        ] {
            assert!(!is_public(url), "{url}");
        }
        assert!(is_public("https://notgoogleapis.com/"));
    }

    #[test]
    fn endings_tell_media_types() {
        assert_eq!(media_type("https://e.com/a/B.JPG?x=y.png"), Some("image/jpeg"));
        assert_eq!(media_type("https://e.com/report.pdf#page=2"), Some("application/pdf"));
        assert_eq!(media_type("https://e.png/a"), None);
        assert_eq!(media_type("https://e.com/a"), None);
    }
}
