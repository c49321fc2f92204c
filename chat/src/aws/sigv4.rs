//! Signs requests: Amazon's Signature Version 4, in the header `authorization`.
//!
//! Source: "AWS Signature Version 4 for API requests" of the IAM user guide,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. This is the form for all
//! services but S3: the path is encoded once more, and no header repeats the body's hash.

use std::{borrow::Cow, fmt};

use hmac::{Hmac, KeyInit, Mac};
use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signs.
#[derive(Clone, Copy)]
pub struct Credentials<'c> {
    /// The key's public name.
    pub access_key_id: &'c str,
    /// The key.
    pub secret_access_key: &'c str,
    /// What temporary credentials come with.
    pub session_token: Option<&'c str>,
}

/// Nothing of the secrets.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// What a signature is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope<'s> {
    /// Such as `eu-central-1`.
    pub region: &'s str,
    /// Such as `bedrock`.
    pub service: &'s str,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'r> {
    /// Such as `POST`.
    pub method: &'r str,
    /// The path as it is sent, percent-encoded and without `.` and `..`.
    pub path: &'r str,
    /// The query's parameters, not encoded.
    pub query: &'r [(&'r str, &'r str)],
    /// Headers to be signed, which have to be sent as they are here. `host` has to be among them.
    pub headers: &'r [(&'r str, &'r str)],
    /// The whole body.
    pub body: &'r [u8],
}

/// The headers to add to a request that is signed at `time`.
pub fn sign(
    request: &Unsigned<'_>,
    credentials: &Credentials<'_>,
    scope: Scope<'_>,
    time: Timestamp,
) -> Vec<(&'static str, String)> {
    let time = time.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut headers: Vec<(String, Cow<'_, str>)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), trimmed(value)))
        .chain(std::iter::once(("x-amz-date".to_owned(), Cow::Borrowed(&*time))))
        .collect();
    if let Some(token) = credentials.session_token {
        headers.push(("x-amz-security-token".to_owned(), token.into()));
    }
    // Of one name, values stay in their order.
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    let names = names(&headers);
    let canonical = canonical(request, &headers, &names);
    let date = &time[..8];
    let scope_text = format!("{date}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope_text}\n{}", hash(canonical.as_bytes()));
    let key = key(credentials.secret_access_key, date, scope);
    let signature = hex(&mac(&key, &to_sign));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope_text}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key_id
    );
    let mut added = vec![("authorization", authorization), ("x-amz-date", time.clone())];
    let token = credentials.session_token.map(|token| ("x-amz-security-token", token.to_owned()));
    added.extend(token);
    added
}

/// The names of the signed headers, each once.
fn names(headers: &[(String, Cow<'_, str>)]) -> String {
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    names.join(";")
}

/// The request in the one form that both sides hash.
fn canonical(request: &Unsigned<'_>, headers: &[(String, Cow<'_, str>)], names: &str) -> String {
    let mut text = format!("{}\n", request.method);
    encode(request.path, b"/", &mut text);
    text.push('\n');
    // By name first: a shorter name comes before a longer one, whatever stands behind it.
    let mut query: Vec<(String, String)> = request
        .query
        .iter()
        .map(|(name, value)| (encode_segment(name), encode_segment(value)))
        .collect();
    query.sort_unstable();
    for (index, (name, value)) in query.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { "&" });
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text.push('\n');
    let mut last = None;
    for (name, value) in headers {
        // Values of one name stand in one line.
        if last == Some(name) {
            text.pop();
            text.push(',');
        } else {
            text.push_str(name);
            text.push(':');
        }
        text.push_str(value);
        text.push('\n');
        last = Some(name);
    }
    text.push('\n');
    text.push_str(names);
    text.push('\n');
    text.push_str(&hash(request.body));
    text
}

/// A header's value without white space around it, and no more than one space within.
fn trimmed(value: &str) -> Cow<'_, str> {
    let value = value.trim_ascii();
    if !value.contains("  ") && !value.contains(['\n', '\r', '\t']) {
        return value.into();
    }
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ").into()
}

/// Percent-encodes everything but what RFC 3986 calls unreserved, and `kept`.
fn encode(text: &str, kept: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.as_bytes() {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if unreserved || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.push('%');
            out.extend(digits.map(char::from));
        }
    }
}

/// Percent-encodes one segment of a path.
pub fn encode_segment(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len() + 8);
    encode(segment, b"", &mut out);
    out
}

/// The key that is good for one day, region and service.
fn key(secret: &str, date: &str, scope: Scope<'_>) -> [u8; 32] {
    let mut key = mac(format!("AWS4{secret}").as_bytes(), date);
    for part in [scope.region, scope.service, "aws4_request"] {
        key = mac(&key, part);
    }
    key
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    bytes.iter().flat_map(digits).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: Credentials<'static> = Credentials {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        session_token: None,
    };
    const SCOPE: Scope<'static> = Scope { region: "us-east-1", service: "service" };
    const HOST: (&str, &str) = ("Host", "example.amazonaws.com");

    fn signature(request: &Unsigned<'_>, credentials: &Credentials<'_>) -> (String, String) {
        let time = "2015-08-30T12:36:00Z".parse().unwrap();
        let headers = sign(request, credentials, SCOPE, time);
        assert_eq!(headers[1], ("x-amz-date", "20150830T123600Z".to_owned()));
        let (prefix, rest) = headers[0].1.split_once(", SignedHeaders=").unwrap();
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        assert_eq!(prefix, scope);
        let (names, signature) = rest.split_once(", Signature=").unwrap();
        (names.to_owned(), signature.to_owned())
    }

    const PLAIN: Unsigned<'static> =
        Unsigned { method: "GET", path: "/", query: &[], headers: &[HOST], body: b"" };

    /// Cases of the signing tests of Amazon's common runtime, by their names there:
    /// <https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite/v4>.
    #[test]
    fn signatures_are_those_of_amazons_tests() {
        for &(name, request, names, expected) in CASES {
            let (found_names, found) = signature(request, &CREDENTIALS);
            assert_eq!((&*found_names, &*found), (names, expected), "{name}");
        }
    }

    const UNRESERVED: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    const CASES: &[(&str, &Unsigned<'static>, &str, &str)] = &[
        (
            "get-vanilla",
            &PLAIN,
            "host;x-amz-date",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-vanilla-query-order-encoded",
            &Unsigned {
                query: &[("Param-3", "Value3"), ("Param", "Value2"), ("ሴ", "Value1")],
                ..PLAIN
            },
            "host;x-amz-date",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        (
            "get-vanilla-query-order-key-case",
            &Unsigned { query: &[("Param2", "value2"), ("Param1", "value1")], ..PLAIN },
            "host;x-amz-date",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "get-vanilla-query-unreserved",
            &Unsigned { query: &[(UNRESERVED, UNRESERVED)], ..PLAIN },
            "host;x-amz-date",
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        ),
        (
            "get-utf8",
            &Unsigned { path: "/ሴ", ..PLAIN },
            "host;x-amz-date",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            "get-space-unnormalized",
            &Unsigned { path: "/example space/", ..PLAIN },
            "host;x-amz-date",
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        ),
        (
            "get-header-key-duplicate",
            &Unsigned {
                headers: &[
                    HOST,
                    ("My-Header1", "value2"),
                    ("My-Header1", "value2"),
                    ("My-Header1", "value1"),
                ],
                ..PLAIN
            },
            "host;my-header1;x-amz-date",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "get-header-value-trim",
            &Unsigned {
                headers: &[HOST, ("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
                ..PLAIN
            },
            "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "get-header-value-multiline",
            &Unsigned {
                headers: &[HOST, ("My-Header1", "value1\n  value2\n     value3")],
                ..PLAIN
            },
            "host;my-header1;x-amz-date",
            "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd",
        ),
        (
            "post-header-value-case",
            &Unsigned { method: "POST", headers: &[("My-Header1", "VALUE1"), HOST], ..PLAIN },
            "host;my-header1;x-amz-date",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            "post-vanilla",
            &Unsigned { method: "POST", ..PLAIN },
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "post-x-www-form-urlencoded",
            &Unsigned {
                method: "POST",
                headers: &[
                    HOST,
                    ("Content-Type", "application/x-www-form-urlencoded"),
                    ("Content-Length", "13"),
                    (
                        "X-Amz-Content-Sha256",
                        "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
                    ),
                ],
                body: b"Param1=value1",
                ..PLAIN
            },
            "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
            "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
        ),
    ];

    #[test]
    fn session_tokens_are_signed() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let credentials = Credentials { session_token: Some(token), ..CREDENTIALS };
        let request = Unsigned { method: "POST", ..PLAIN };
        let (names, found) = signature(&request, &credentials);
        assert_eq!(names, "host;x-amz-date;x-amz-security-token");
        assert_eq!(found, "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
        let headers = sign(&request, &credentials, SCOPE, Timestamp::UNIX_EPOCH);
        assert_eq!(headers[2], ("x-amz-security-token", token.to_owned()));
    }

    /// The case `double-url-encode` of the crate `aws-sigv4`: an encoded path is encoded once more.
    #[test]
    fn paths_are_encoded_twice() {
        let request = Unsigned {
            method: "POST",
            path: "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-west-2%3A892717189312%3Afunction%3Amy-rusty-fun/invocations",
            headers: &[("host", "lambda.us-east-2.amazonaws.com")],
            ..PLAIN
        };
        let headers = vec![("host".to_owned(), Cow::Borrowed("x"))];
        let text = canonical(&request, &headers, "host");
        let expected = "/2015-03-31/functions/arn%253Aaws%253Alambda%253Aus-west-2%253A892717189312%253Afunction%253Amy-rusty-fun/invocations";
        assert_eq!(text.lines().nth(1), Some(expected));
        let scope = Scope { region: "us-east-2", service: "lambda" };
        let time = "2021-05-11T15:40:45Z".parse().unwrap();
        let signed = sign(&request, &CREDENTIALS, scope, time);
        let expected = "4b93abbcc68be32bd64c18e2c71150660ab4c29bbd6c32a383a7517a88fc1804";
        assert!(signed[0].1.ends_with(expected), "{}", signed[0].1);
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials { session_token: Some("token-of-a-session"), ..CREDENTIALS };
        let shown = format!("{credentials:?}");
        assert!(!shown.contains("wJalr") && !shown.contains("token-of"), "{shown}");
    }
}
