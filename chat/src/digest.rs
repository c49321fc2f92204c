//! Short names for longer texts, the same in every process.

/// FNV-1a with 64 bits. It keeps names apart that are apart by chance, not by malice.
///
/// Source: "The FNV Non-Cryptographic Hash Algorithm", <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>.
pub fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        // A byte that no text holds, so that two texts are not taken for one.
        for &byte in text.as_bytes().iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_apart() {
        assert_eq!(of([]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(of(["a", "b"]), of(["a", "b"]));
        assert_ne!(of(["ab"]), of(["a", "b"]));
        assert_ne!(of(["a"]), of(["a", ""]));
    }
}
