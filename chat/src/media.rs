//! Bytes in addresses: `data:` URLs.
//!
//! Source: RFC 2397.

use std::borrow::Cow;

use crate::model::{Media, Source};

/// What a `data:` URL is not.
pub const DATA_URL: &str = "an address, or a `data:` URL with a media type and base64";

/// Takes an address apart: bytes if it is a `data:` URL, otherwise something to be fetched. `None`: it is a
/// `data:` URL that is not in base64, or tells no media type.
pub fn read_url(url: Cow<'_, str>) -> Option<Source<'_>> {
    let is_data = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if !is_data {
        return Some(Source::Url(url));
    }
    Some(Source::Inline(match url {
        Cow::Borrowed(url) => {
            let (media_type, data) = split(url)?;
            Media { media_type: media_type.into(), data: data.into() }
        }
        Cow::Owned(url) => {
            let (media_type, data) = split(&url)?;
            Media { media_type: media_type.to_owned().into(), data: data.to_owned().into() }
        }
    }))
}

fn split(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.get(5..)?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    let media_type = media_type.split(';').next().unwrap_or(media_type);
    media_type.contains('/').then_some((media_type, data))
}

/// The `data:` URL of bytes, to be written as a JSON string.
pub fn data_url(media: &Media<'_>) -> String {
    format!("data:{};base64,{}", media.media_type, media.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_lead_back() {
        let media = Media { media_type: "image/png".into(), data: "aGk=".into() };
        let url = data_url(&media);
        assert_eq!(read_url(Cow::Borrowed(&url)), Some(Source::Inline(media.clone())));
        assert_eq!(read_url(Cow::Owned(url)), Some(Source::Inline(media.clone())));
        let odd = "DATA:image/png;name=x;base64,aGk=";
        assert_eq!(read_url(odd.into()), Some(Source::Inline(media)));
    }

    #[test]
    fn other_addresses_are_left_alone() {
        let url = "https://example.com/a.png";
        assert_eq!(read_url(url.into()), Some(Source::Url(url.into())));
        for url in ["data:", "data:image/png,x", "data:;base64,aGk=", "data:image/png;base64"] {
            assert_eq!(read_url(url.into()), None, "{url}");
        }
    }
}
