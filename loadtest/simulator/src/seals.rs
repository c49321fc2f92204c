//! What a provider puts on its reasoning, to know it again.

use base64::{Engine, engine::general_purpose::STANDARD};

const MARK: &[u8] = b"sluicegate-simulator";

/// The signature of a text of thinking.
pub(crate) fn signature(thinking: &str) -> String {
    sealed(&digest(thinking.as_bytes()))
}

/// Whether `signature` is of this text.
pub(crate) fn is_signed(thinking: &str, signature: &str) -> bool {
    self::signature(thinking) == signature
}

/// Reasoning that only the provider can read.
pub(crate) fn encrypted(serial: u64) -> String {
    let serial = serial.to_be_bytes();
    sealed(&[serial, digest(&serial)].concat())
}

/// Whether [`encrypted`] made this.
pub(crate) fn can_be_opened(text: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(text) else { return false };
    match bytes.strip_prefix(MARK).and_then(|rest| rest.split_first_chunk::<8>()) {
        Some((serial, rest)) => rest == digest(serial),
        None => false,
    }
}

fn sealed(bytes: &[u8]) -> String {
    STANDARD.encode([MARK, bytes].concat())
}

/// FNV-1a: nobody is to be kept from forging it, only from changing it unseen.
fn digest(bytes: &[u8]) -> [u8; 8] {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let hash = bytes
        .iter()
        .fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen() {
        assert!(is_signed("thought", &signature("thought")));
        assert!(!is_signed("thought ", &signature("thought")));
        assert!(!is_signed("thought", ""));
        let whole = encrypted(7);
        assert!(can_be_opened(&whole));
        assert!(!can_be_opened(&whole[4..]));
        assert!(!can_be_opened(&signature("thought")));
        assert!(!can_be_opened(""));
    }
}
