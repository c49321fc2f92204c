//! Whether an operator's own secret, master key or pepper, is good enough for production.
//!
//! An estimate from the outside: it can't tell a random key from one that only looks so, but it
//! refuses every kind of key that people really leave in place.

/// Bits of entropy that a key must be able to hold, as `openssl rand -hex 32` gives.
const MIN_BITS: f64 = 256.0;
/// Shortest key, in bytes.
const MIN_BYTES: usize = 32;
/// Fewer different characters than any random key of that length has, in hexadecimal too.
const MIN_DISTINCT: usize = 10;

/// Words that stand for a key in examples, compared without case, `-` and `_`.
const PLACEHOLDERS: [&str; 22] = [
    "sk1234",
    "1234",
    "12345678",
    "admin",
    "changeit",
    "changeme",
    "default",
    "demo",
    "dummy",
    "example",
    "insecure",
    "letmein",
    "masterkey",
    "password",
    "placeholder",
    "replaceme",
    "secret",
    "test",
    "todo",
    "xxxx",
    "yourkey",
    "yourmasterkey",
];

/// Why a key is too weak, to be read after the key's name. Never holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Weakness {
    #[error("is a known placeholder")]
    Placeholder,
    #[error("is shorter than {MIN_BYTES} bytes")]
    Short,
    #[error("repeats itself")]
    Repetitive,
    #[error("can't hold 256 bits of entropy")]
    LowEntropy,
}

/// Checks `key` against the rules of production.
pub(super) fn check(key: &str) -> Result<(), Weakness> {
    let plain: String = key
        .chars()
        .filter(|char| !matches!(char, '-' | '_'))
        .map(|char| char.to_ascii_lowercase())
        .collect();
    let bare = plain.strip_prefix("sk").unwrap_or(&plain);
    if PLACEHOLDERS.iter().any(|known| plain == *known || bare == *known)
        || ["changeme", "replaceme", "placeholder"].iter().any(|known| plain.contains(known))
    {
        return Err(Weakness::Placeholder);
    }
    if key.len() < MIN_BYTES {
        return Err(Weakness::Short);
    }
    // A prefix such as `sk-` is known to everyone, and counts for nothing.
    let random = key.strip_prefix("sk-").unwrap_or(key).as_bytes();
    let mut seen = [false; 256];
    random.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    if distinct < MIN_DISTINCT || has_period(random) || is_sequence(random) {
        return Err(Weakness::Repetitive);
    }
    if random.len() as f64 * alphabet(random).log2() < MIN_BITS {
        return Err(Weakness::LowEntropy);
    }
    Ok(())
}

/// How many characters the key was probably drawn from.
fn alphabet(key: &[u8]) -> f64 {
    let any = |test: fn(&u8) -> bool| key.iter().any(test);
    match (any(u8::is_ascii_lowercase), any(u8::is_ascii_uppercase)) {
        // Base64 and its like: a short one may happen to have no digit.
        (true, true) => 64.0,
        _ if key.iter().all(u8::is_ascii_hexdigit) => 16.0,
        (false, false) => 10.0,
        _ => 36.0,
    }
}

/// Whether the key is a shorter text written again and again.
fn has_period(key: &[u8]) -> bool {
    (1..=key.len() / 2).any(|period| key.iter().zip(&key[period..]).all(|(a, b)| a == b))
}

/// Whether most characters follow their predecessor, as in `abcdefgh` and `12345678`.
fn is_sequence(key: &[u8]) -> bool {
    let steps = key.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 1).count();
    steps * 2 > key.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weak_keys_are_refused() {
        for (key, expected) in [
            ("sk-1234", Weakness::Placeholder),
            ("changeme", Weakness::Placeholder),
            ("CHANGE_ME", Weakness::Placeholder),
            ("sk-change-me-before-you-go-to-production-00000", Weakness::Placeholder),
            ("your-master-key", Weakness::Placeholder),
            ("k3J9x", Weakness::Short),
            (
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                Weakness::Repetitive,
            ),
            (
                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                Weakness::Repetitive,
            ),
            ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", Weakness::Repetitive),
            // 32 hexadecimal digits are 128 bits.
            ("8f14e45fceea167a5a36dedd4bea2543", Weakness::LowEntropy),
            // 32 letters and digits are 190.
            ("q7Zt1LxWc9VbR4yUe2HnK8sDf5GjM3pA", Weakness::LowEntropy),
        ] {
            assert_eq!(check(key), Err(expected), "{key}");
        }
    }

    proptest! {
        #[test]
        fn random_keys_pass(
            hex in "[0-9a-f]{64}",
            base64 in "[A-Za-z0-9+/]{43}=",
            prefixed in "sk-[A-Za-z0-9_-]{44}",
        ) {
            prop_assert_eq!(check(&hex), Ok(()));
            prop_assert_eq!(check(&base64), Ok(()));
            prop_assert_eq!(check(&prefixed), Ok(()));
        }

        #[test]
        fn nothing_panics(key in ".*") {
            let _ = check(&key);
        }
    }
}
