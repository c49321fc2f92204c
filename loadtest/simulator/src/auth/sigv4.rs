//! Verifies Amazon's Signature Version 4.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>;
//! errors: <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>.

use std::fmt::Write as _;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{StatusCode, request::Parts};
use sha2::{Digest, Sha256};

use super::AwsAccount;
use crate::errors::Refusal;

const SERVICE: &str = "bedrock";
/// How far a signature's time may be from ours.
const TOLERANCE: u64 = 15 * 60;

/// Checks who signed the request, for what, when, and that it is what was signed.
pub(crate) fn verify(
    account: Option<&AwsAccount>,
    parts: &Parts,
    body: &Bytes,
    now: u64,
) -> Result<(), Refusal> {
    let header = |name: &str| header(parts, name);
    let Some(authorization) = header("authorization") else {
        return Err(refuse("MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    let Some(signed) = Authorization::parse(&authorization) else {
        return Err(refuse(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters.",
        ));
    };
    let unknown = || {
        refuse(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    };
    let account = account.filter(|account| account.access_key_id == signed.key_id);
    let account = account.ok_or_else(unknown)?;
    let token = header("x-amz-security-token");
    if token.as_ref().is_some_and(|token| account.expired_session_tokens.contains(token)) {
        let message = "The security token included in the request is expired";
        return Err(refuse("ExpiredTokenException", message));
    }
    if token != account.session_token {
        return Err(unknown());
    }
    if signed.region != account.region {
        return Err(invalid("Credential should be scoped to a valid region."));
    }
    if signed.service != SERVICE {
        return Err(invalid("Credential should be scoped to correct service: 'bedrock'."));
    }
    let time = header("x-amz-date").unwrap_or_default();
    let Some(seconds) = seconds(&time).filter(|_| time.starts_with(signed.date)) else {
        return Err(invalid("Date in Credential scope does not match the date of the request."));
    };
    if seconds + TOLERANCE < now {
        return Err(invalid("Signature expired"));
    }
    if seconds > now + TOLERANCE {
        return Err(invalid("Signature not yet current"));
    }
    let has_to_be_signed = |name: &str| name == "host" || name.starts_with("x-amz-");
    let names = parts.headers.keys().map(http::HeaderName::as_str).chain(["host", "x-amz-date"]);
    for name in names.filter(|name| has_to_be_signed(name)) {
        if !signed.headers.split(';').any(|signed| signed == name) {
            return Err(invalid(&format!("'{name}' must be a signed header.")));
        }
    }
    let hash = hex(&Sha256::digest(body));
    if header("x-amz-content-sha256").is_some_and(|told| told != hash) {
        return Err(invalid("The value of x-amz-content-sha256 is not the hash of the body."));
    }
    let expected = canonical(parts, &signed, &hash)
        .map(|canonical| signature(account, &signed, &time, &canonical));
    if expected.as_deref() != Some(signed.signature) {
        return Err(invalid(
            "The request signature we calculated does not match the signature you provided. Check \
             your AWS Secret Access Key and signing method. Consult the service documentation for \
             details.",
        ));
    }
    Ok(())
}

fn refuse(kind: &'static str, message: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, message).code(kind)
}

fn invalid(message: &str) -> Refusal {
    refuse("InvalidSignatureException", message)
}

/// The header `authorization`, taken apart.
struct Authorization<'h> {
    key_id: &'h str,
    date: &'h str,
    region: &'h str,
    service: &'h str,
    headers: &'h str,
    signature: &'h str,
}

impl<'h> Authorization<'h> {
    fn parse(header: &'h str) -> Option<Self> {
        let rest = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for item in rest.split(',') {
            let (name, value) = item.trim().split_once('=')?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let parts: Vec<&str> = credential?.split('/').collect();
        let [key_id, date, region, service, "aws4_request"] = parts[..] else { return None };
        let (headers, signature) = (headers?, signature?);
        Some(Self { key_id, date, region, service, headers, signature })
    }
}

/// A header's values in one text, with no more than single spaces.
fn header(parts: &Parts, name: &str) -> Option<String> {
    let values = parts.headers.get_all(name).iter();
    let mut texts = Vec::new();
    for value in values {
        let words: Vec<&str> = value.to_str().ok()?.split_ascii_whitespace().collect();
        texts.push(words.join(" "));
    }
    // HTTP/2 has the host in the address.
    if texts.is_empty() && name == "host" {
        return parts.uri.authority().map(|host| host.as_str().to_owned());
    }
    (!texts.is_empty()).then(|| texts.join(","))
}

/// What is signed. `None`: a signed header is not there, or the names are not in order.
fn canonical(parts: &Parts, signed: &Authorization<'_>, hash: &str) -> Option<String> {
    let mut text = format!("{}\n", parts.method);
    for (index, segment) in parts.uri.path().split('/').enumerate() {
        text.push_str(if index == 0 { "" } else { "/" });
        text.push_str(&encoded(segment));
    }
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((encoded(&super::decode(name)?), encoded(&super::decode(value)?)));
    }
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let _ = writeln!(text, "\n{}", pairs.join("&"));
    let names: Vec<&str> = signed.headers.split(';').collect();
    if !names.is_sorted() {
        return None;
    }
    for name in names {
        let _ = writeln!(text, "{name}:{}", header(parts, name)?);
    }
    let _ = write!(text, "\n{}\n{hash}", signed.headers);
    Some(text)
}

fn signature(
    account: &AwsAccount,
    signed: &Authorization<'_>,
    time: &str,
    canonical: &str,
) -> String {
    let Authorization { date, region, service, .. } = signed;
    let hash = hex(&Sha256::digest(canonical));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{date}/{region}/{service}/aws4_request\n{hash}");
    let first = format!("AWS4{}", account.secret_access_key).into_bytes();
    let key =
        [date, region, service, "aws4_request"].iter().fold(first, |key, part| hmac(&key, part));
    hex(&hmac(&key, &text))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // Every length of a key is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => _ = write!(out, "%{other:02X}"),
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// `20150830T123600Z` in seconds since 1970.
fn seconds(time: &str) -> Option<u64> {
    let bytes = time.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = time.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March end with the day that only some of them have.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("19700101T000000Z"), Some(0));
        assert_eq!(seconds("20150830T123600Z"), Some(1_440_938_160));
        assert_eq!(seconds("20240229T000001Z"), Some(1_709_164_801));
        for wrong in ["", "20150830T123600", "2015083XT123600Z", "20151330T123600Z"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    /// The first case of Amazon's own tests, of another service.
    #[test]
    fn signatures_are_those_of_amazons_tests() {
        let request = Request::get("/")
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let header = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=x";
        let signed = Authorization::parse(header).unwrap();
        let canonical = canonical(&parts, &signed, &hex(&Sha256::digest(b""))).unwrap();
        let account = AwsAccount {
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            ..AwsAccount::default()
        };
        assert_eq!(
            signature(&account, &signed, "20150830T123600Z", &canonical),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = Authorization::parse(&text);
            let _ = Authorization::parse(&format!("AWS4-HMAC-SHA256 {text}"));
            let _ = seconds(&text);
        }
    }
}
