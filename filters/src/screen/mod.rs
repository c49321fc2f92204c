//! What nobody may send: judged from the head alone, before anybody is identified.

pub mod cors;
pub mod framing;
pub mod headers;
pub mod methods;
pub mod size;

pub use cors::{Cors, CorsConfig, CorsError, CorsGrant, Origins, PreflightAnswer};
pub use framing::Framing;
pub use headers::{HeaderPolicy, HeaderPolicyError, SECURITY_HEADERS};
pub use methods::{Health, MAX_MCP_SERVER, Methods, Route, is_mcp_server};
pub use size::{BodyLimit, RequestSize, UnknownRoute};

/// The byte that two hexadecimal digits of a percent-encoding stand for (RFC 3986 section 2.1).
fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}
