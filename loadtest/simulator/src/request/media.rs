//! Pictures and files, which have to be what they are said to be.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::fields::At;
use crate::errors::Refusal;

const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// An address, or a `data:` URL of a picture. What is seen is told in a sentence.
pub(super) fn picture_url(at: &At<'_>, url: &str) -> Result<String, Refusal> {
    if is_address(url) {
        return Ok(format!("I see an image at {url}."));
    }
    let Some((media_type, data)) = split_data_url(url) else {
        return Err(at.invalid("expected a valid URL, but got a value with an invalid format"));
    };
    picture(at, media_type, data)
}

/// A picture of base64.
pub(super) fn picture(at: &At<'_>, media_type: &str, data: &str) -> Result<String, Refusal> {
    if !PICTURES.contains(&media_type) {
        return Err(at.not_one_of(&PICTURES, media_type).code("invalid_image_format"));
    }
    let bytes = decoded(at, data)?;
    if picture_type(&bytes) != Some(media_type) {
        let why = format!(
            "the image was specified using the media type {media_type}, which is not what it is"
        );
        return Err(at.invalid(why).code("image_parse_error"));
    }
    Ok(format!("I see an image of {media_type}, {} bytes.", bytes.len()))
}

/// A file of base64, which may be a `data:` URL.
pub(super) fn file(at: &At<'_>, media_type: &str, data: &str) -> Result<String, Refusal> {
    let bytes = decoded(at, data)?;
    if media_type == "application/pdf" && !bytes.starts_with(b"%PDF-") {
        return Err(at.invalid("the PDF specified was not valid"));
    }
    Ok(format!("I see a file of {media_type}, {} bytes.", bytes.len()))
}

/// A file in a `data:` URL.
pub(super) fn file_url(at: &At<'_>, url: &str) -> Result<String, Refusal> {
    match split_data_url(url) {
        Some((media_type, data)) => file(at, media_type, data),
        None => Err(at.invalid("expected a base64-encoded data URL with a MIME type")),
    }
}

/// An address, which nobody fetches here.
pub(super) fn address(at: &At<'_>, url: &str, what: &str) -> Result<String, Refusal> {
    if is_address(url) {
        Ok(format!("I see {what} at {url}."))
    } else {
        Err(at.invalid("expected a valid URL"))
    }
}

/// A recording.
pub(super) fn audio(at: &At<'_>, format: &str, data: &str) -> Result<String, Refusal> {
    Ok(format!("I hear {format}, {} bytes.", decoded(at, data)?.len()))
}

fn is_address(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(' '))
}

fn split_data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}

fn decoded(at: &At<'_>, data: &str) -> Result<Vec<u8>, Refusal> {
    match STANDARD.decode(data) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        Ok(_) => Err(at.invalid("the data must not be empty")),
        Err(_) => Err(at.invalid("the data is not valid base64")),
    }
}

fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Dialect;

    #[test]
    fn pictures_are_what_they_say() {
        let at = At::root(Dialect::OpenAi);
        let png = STANDARD.encode(b"\x89PNG\r\n\x1a\n");
        let seen = picture_url(&at, &format!("data:image/png;base64,{png}"));
        assert_eq!(seen.unwrap(), "I see an image of image/png, 8 bytes.");
        assert!(picture_url(&at, "https://example.com/a.png").is_ok());
        for url in [
            &format!("data:image/gif;base64,{png}"),
            &format!("data:image/tiff;base64,{png}"),
            &format!("data:image/png;base64,{png}="),
            "data:image/png;base64,",
            "data:image/png,abc",
            "file:///etc/passwd",
            "https://",
            "",
        ] {
            assert!(picture_url(&at, url).is_err(), "{url}");
        }
    }
}
