//! Reads errors.
//!
//! Source: "Common Error Types" and the errors of `Converse`, Amazon Bedrock's API reference,
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>. The error's name stands in the header
//! `x-amzn-ErrorType`, or in the body's `__type`.

use crate::{
    Fault, FaultKind,
    json::{self, Reader},
    told,
};

/// Reads an upstream's error answer without its headers.
pub fn decode_fault(status: u16, body: &[u8]) -> Fault {
    decode_named_fault(status, None, body)
}

/// Reads an upstream's error answer; `name` is the value of the header `x-amzn-ErrorType`.
pub fn decode_named_fault(status: u16, name: Option<&str>, body: &[u8]) -> Fault {
    // Whatever comes instead of JSON is not for the client: often a page of a proxy in between.
    let told = Reader::of_bytes(body).and_then(|mut reader| read(&mut reader)).unwrap_or_default();
    let name = name.map(plain).filter(|name| !name.is_empty()).or(told.name.as_deref());
    let kind = name.and_then(by_name).unwrap_or(of_status(status));
    Fault { code: name.map(told::message), ..Fault::new(kind, told.message) }
}

/// Reads an exception in the midst of a stream.
pub(super) fn decode_exception(name: &str, payload: &[u8]) -> Fault {
    let told =
        Reader::of_bytes(payload).and_then(|mut reader| read(&mut reader)).unwrap_or_default();
    let kind = by_name(name).unwrap_or(FaultKind::Server);
    Fault { code: Some(told::message(name)), ..Fault::new(kind, told.message) }
}

#[derive(Default)]
struct Told {
    name: Option<String>,
    message: String,
}

fn read(reader: &mut Reader<'_>) -> Result<Told, json::Fault> {
    let mut told = Told::default();
    told::object_if(reader, |key, reader| {
        match key {
            "message" | "Message" => {
                told.message = told::message(&told::text(reader)?.unwrap_or_default());
            }
            "__type" => told.name = told::text(reader)?.map(|name| plain(&name).to_owned()),
            _ => return Ok(false),
        }
        Ok::<_, json::Fault>(true)
    })?;
    Ok(told)
}

/// The name without its namespace in front and the address behind: `com.amazon#Name:http://...`.
fn plain(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim_ascii()
}

/// In a stream, names begin with a small letter.
fn by_name(name: &str) -> Option<FaultKind> {
    const NAMES: [(&str, FaultKind); 22] = [
        ("ValidationException", FaultKind::InvalidRequest),
        ("SerializationException", FaultKind::InvalidRequest),
        ("ConflictException", FaultKind::InvalidRequest),
        ("AccessDeniedException", FaultKind::Permission),
        ("NotAuthorized", FaultKind::Permission),
        ("OptInRequired", FaultKind::Permission),
        ("UnrecognizedClientException", FaultKind::Authentication),
        ("InvalidClientTokenId", FaultKind::Authentication),
        ("InvalidSignatureException", FaultKind::Authentication),
        ("IncompleteSignature", FaultKind::Authentication),
        ("MissingAuthenticationTokenException", FaultKind::Authentication),
        ("ExpiredTokenException", FaultKind::Authentication),
        ("RequestExpired", FaultKind::Authentication),
        ("ResourceNotFoundException", FaultKind::NotFound),
        ("ThrottlingException", FaultKind::RateLimit),
        ("ServiceQuotaExceededException", FaultKind::RateLimit),
        ("ModelTimeoutException", FaultKind::Timeout),
        ("ModelNotReadyException", FaultKind::Overloaded),
        ("ServiceUnavailableException", FaultKind::Overloaded),
        ("InternalServerException", FaultKind::Server),
        ("ModelErrorException", FaultKind::Server),
        ("ModelStreamErrorException", FaultKind::Server),
    ];
    let found = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, kind)| *kind)
}

/// A dependency that failed, 424, is the model.
fn of_status(status: u16) -> FaultKind {
    match status {
        424 => FaultKind::Server,
        status => FaultKind::of_status(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_many_forms() {
        let header = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/";
        let fault = decode_named_fault(400, Some(header), br#"{"message":"Too many requests."}"#);
        assert_eq!((fault.kind, &*fault.message), (FaultKind::RateLimit, "Too many requests."));
        assert_eq!(fault.code.as_deref(), Some("ThrottlingException"));
        let body =
            br#"{"__type":"com.amazon.coral.service#ExpiredTokenException","Message":"Expired."}"#;
        assert_eq!(decode_fault(403, body).kind, FaultKind::Authentication);
        assert_eq!(decode_fault(424, b"{}").kind, FaultKind::Server);
        assert_eq!(decode_fault(403, b"<html>").kind, FaultKind::Permission);
        assert_eq!(decode_exception("modelTimeoutException", b"").kind, FaultKind::Timeout);
        assert_eq!(decode_exception("newException", b"{}").kind, FaultKind::Server);
    }
}
