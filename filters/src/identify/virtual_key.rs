//! Virtual keys: their form, their hashes, and when one is good.
//!
//! A key is `sk-sg-`, 43 base-62 digits of 256 random bits, and 6 digits of a checksum, so that a
//! mistyped key is told from an unknown one without a look-up, and secret scanners can find leaked ones.
//! What is stored is its HMAC-SHA256 under the server's pepper: whoever reads the store can neither use
//! the keys nor test guesses. LiteLLM stores the plain SHA-256 of its keys; a key that was imported
//! as such a hash verifies too.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::caller::{Bearer, Caller, CallerKind};
use crate::denial::{Denial, DenialKind};

/// What every key that we make begins with.
pub const PREFIX: &str = "sk-sg-";
/// Base-62 digits of 256 bits.
const SECRET_DIGITS: usize = 43;
/// Base-62 digits of the checksum's 32 bits.
const CHECK_DIGITS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Bytes of a pepper, at least.
pub const MIN_PEPPER: usize = 32;

/// What is stored of a key, and looked up.
pub type KeyHash = [u8; 32];

/// Hashes keys under the server's pepper.
#[derive(Clone)]
pub struct KeyHasher {
    pepper: Hmac<Sha256>,
    previous: Option<Hmac<Sha256>>,
}

impl KeyHasher {
    /// `previous` is the pepper before a change: keys stored under it stay good.
    pub fn new(pepper: &[u8], previous: Option<&[u8]>) -> Self {
        Self { pepper: keyed(pepper), previous: previous.map(keyed) }
    }

    /// What a new key is stored as.
    pub fn hash(&self, key: &str) -> KeyHash {
        mac(&self.pepper, key.as_bytes())
    }

    /// What `key` may be stored as: under this pepper, the one before, or as LiteLLM does.
    pub fn candidates(&self, key: &str) -> Vec<KeyHash> {
        let mut hashes = vec![self.hash(key)];
        hashes.extend(self.previous.as_ref().map(|previous| mac(previous, key.as_bytes())));
        // One of ours was never LiteLLM's.
        if !key.starts_with(PREFIX) {
            hashes.push(litellm_hash(key));
        }
        hashes
    }

    /// Makes a key of 256 random bits.
    pub fn issue(&self, random: &[u8; 32]) -> Issued {
        let mut text = String::with_capacity(PREFIX.len() + SECRET_DIGITS + CHECK_DIGITS);
        text.push_str(PREFIX);
        push_base62(&mut text, random, SECRET_DIGITS);
        let check = checksum(&text);
        push_base62(&mut text, &check, CHECK_DIGITS);
        Issued { hash: self.hash(&text), hint: hint(&text), text }
    }

    /// 256 bits that only the holder of the pepper can compute from `input`, apart from all key hashes by
    /// `purpose`: a key made of them can be made again instead of being stored.
    pub fn derive(&self, purpose: &str, input: &[u8]) -> [u8; 32] {
        // No key contains a NUL, so no key's hash is ever one of these.
        let mut pepper = self.pepper.clone();
        pepper.update(purpose.as_bytes());
        pepper.update(b"\0");
        pepper.update(input);
        pepper.finalize().into_bytes().into()
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

/// A key that was just made. Its text is shown once and stored nowhere.
pub struct Issued {
    pub text: String,
    pub hash: KeyHash,
    /// See [`hint`].
    pub hint: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("hint", &self.hint).finish_non_exhaustive()
    }
}

/// The plain SHA-256 under which LiteLLM stores a key.
pub fn litellm_hash(key: &str) -> KeyHash {
    Sha256::digest(key).into()
}

/// What a person may see of a key to know it again: `sk-...` and its last four characters, as LiteLLM
/// shows it; of a short one nothing.
pub fn hint(key: &str) -> String {
    match key.char_indices().rev().nth(3) {
        Some((at, _)) if key.len() >= 20 => format!("sk-...{}", &key[at..]),
        _ => "sk-...".to_owned(),
    }
}

/// Whether a key could have been made by [`KeyHasher::issue`]; `None` if it is not of our form at all.
pub fn checks_out(key: &str) -> Option<bool> {
    let digits = key.strip_prefix(PREFIX)?;
    let well_formed = digits.len() == SECRET_DIGITS + CHECK_DIGITS
        && digits.bytes().all(|digit| digit.is_ascii_alphanumeric());
    if !well_formed {
        return Some(false);
    }
    let (body, check) = key.split_at(PREFIX.len() + SECRET_DIGITS);
    let mut expected = String::with_capacity(CHECK_DIGITS);
    push_base62(&mut expected, &checksum(body), CHECK_DIGITS);
    Some(expected == check)
}

/// What is stored of a key, as far as it decides who may call.
#[derive(Clone, Debug)]
pub struct KeyFacts {
    pub hash: KeyHash,
    /// The hash before the last rotation, and until when it is good (milliseconds since the epoch).
    pub previous: Option<(KeyHash, i64)>,
    pub blocked: bool,
    /// Milliseconds since the epoch.
    pub expires_at: Option<i64>,
    /// What of its owners is blocked: `team`, `user`, `organization`.
    pub blocked_owner: Option<&'static str>,
    pub bearer: Bearer,
}

/// A caller, and until when (milliseconds since the epoch) the credential is good without another look.
#[derive(Debug)]
pub struct Admitted {
    pub caller: Caller,
    pub until: Option<i64>,
}

impl KeyFacts {
    /// Judges a presented key, by its [candidates](KeyHasher::candidates), at `now` (milliseconds since
    /// the epoch).
    ///
    /// # Errors
    ///
    /// `invalid_api_key`, `api_key_expired` (401); `api_key_blocked` (403).
    pub fn admit(self, presented: &[KeyHash], now: i64) -> Result<Admitted, Denial> {
        let is = |hash: &KeyHash| presented.iter().any(|one| bool::from(one.ct_eq(hash)));
        let grace_ends = match self.previous {
            _ if is(&self.hash) => None,
            Some((previous, until)) if is(&previous) => Some(until),
            _ => return Err(unknown()),
        };
        if grace_ends.is_some_and(|until| now >= until) {
            let message = "the API key was replaced by a new one, and its time of grace is over";
            return Err(Denial::new(DenialKind::ApiKeyExpired, message));
        }
        if self.expires_at.is_some_and(|expires_at| now >= expires_at) {
            return Err(Denial::new(DenialKind::ApiKeyExpired, "the API key has expired"));
        }
        if self.blocked {
            return Err(Denial::new(DenialKind::ApiKeyBlocked, "the API key is blocked"));
        }
        if let Some(owner) = self.blocked_owner {
            return Err(blocked_owner("API key", owner));
        }
        let until = [grace_ends, self.expires_at].into_iter().flatten().min();
        Ok(Admitted { caller: Caller::new(CallerKind::Key, self.bearer), until })
    }
}

/// The refusal of a credential whose `owner` (team, user, organization) is blocked.
pub fn blocked_owner(credential: &str, owner: &str) -> Denial {
    let message = format!("the {owner} to which the {credential} belongs is blocked");
    Denial::new(DenialKind::ApiKeyBlocked, message)
}

/// The refusal of a key that nobody has.
pub fn unknown() -> Denial {
    Denial::new(DenialKind::InvalidApiKey, "the API key is not valid")
}

fn keyed(pepper: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(pepper).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

fn mac(pepper: &Hmac<Sha256>, key: &[u8]) -> KeyHash {
    pepper.clone().chain_update(key).finalize().into_bytes().into()
}

/// The first 32 bits of the text's SHA-256. It guards against slips, not against anybody.
fn checksum(text: &str) -> [u8; 4] {
    let digest = Sha256::digest(text);
    [digest[0], digest[1], digest[2], digest[3]]
}

/// Appends the big-endian number `bytes` in base 62, with leading zeros to `digits` digits.
fn push_base62(text: &mut String, bytes: &[u8], digits: usize) {
    let mut number = bytes.to_vec();
    let mut reversed = Vec::with_capacity(digits);
    for _ in 0..digits {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            // The rest is below 62, so the quotient is below 256.
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        reversed.push(char::from(DIGITS[rest as usize]));
    }
    text.extend(reversed.iter().rev());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEPPER: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn hasher() -> KeyHasher {
        KeyHasher::new(PEPPER, None)
    }

    fn facts(key: &Issued) -> KeyFacts {
        KeyFacts {
            hash: key.hash,
            previous: None,
            blocked: false,
            expires_at: None,
            blocked_owner: None,
            bearer: Bearer::default(),
        }
    }

    fn refusal(facts: KeyFacts, key: &str, now: i64) -> DenialKind {
        facts.admit(&hasher().candidates(key), now).expect_err("refused").kind()
    }

    #[test]
    fn a_key_has_its_form_whatever_the_bits() {
        for random in [[0; 32], [255; 32], [7; 32]] {
            let key = hasher().issue(&random);
            assert_eq!(key.text.len(), 55, "{}", key.text);
            assert_eq!(checks_out(&key.text), Some(true));
            assert_eq!(key.hint, format!("sk-...{}", &key.text[51..]));
            assert!(!format!("{key:?}").contains(&key.text[6..20]), "the key is not in Debug");
        }
        assert_ne!(hasher().issue(&[0; 32]).text, hasher().issue(&[1; 32]).text);
    }

    #[test]
    fn keys_of_other_forms_are_not_ours_to_check() {
        assert_eq!(checks_out("sk-1234"), None);
        assert_eq!(checks_out("sk-sg-1234"), Some(false));
        assert_eq!(hint("sk-1234"), "sk-...");
        assert_eq!(hint("sk-0123456789-0123456789é€"), "sk-...89é€");
    }

    #[test]
    fn a_key_is_good_under_its_hash_and_no_other() {
        let (key, other) = (hasher().issue(&[1; 32]), hasher().issue(&[2; 32]));
        assert!(facts(&key).admit(&hasher().candidates(&key.text), 0).is_ok());
        assert_eq!(refusal(facts(&key), &other.text, 0), DenialKind::InvalidApiKey);
        let elsewhere = KeyHasher::new(b"another pepper of thirty-two byte", None);
        let presented = elsewhere.candidates(&key.text);
        assert!(facts(&key).admit(&presented, 0).is_err(), "under another pepper");
        let moved = KeyHasher::new(b"another pepper of thirty-two byte", Some(PEPPER));
        assert!(facts(&key).admit(&moved.candidates(&key.text), 0).is_ok(), "pepper changed");
    }

    #[test]
    fn an_imported_litellm_hash_verifies_but_not_for_keys_of_ours() {
        let imported = "sk-0123456789abcdefghijkl";
        let stored = KeyFacts { hash: litellm_hash(imported), ..facts(&hasher().issue(&[1; 32])) };
        assert!(stored.clone().admit(&hasher().candidates(imported), 0).is_ok());
        assert_eq!(refusal(stored, "sk-0123456789abcdefghijkm", 0), DenialKind::InvalidApiKey);
        let ours = hasher().issue(&[3; 32]);
        let stored = KeyFacts { hash: litellm_hash(&ours.text), ..facts(&ours) };
        assert_eq!(refusal(stored, &ours.text, 0), DenialKind::InvalidApiKey);
    }

    #[test]
    fn expiry_block_and_owner_each_refuse() {
        let key = hasher().issue(&[1; 32]);
        let expiring = KeyFacts { expires_at: Some(1000), ..facts(&key) };
        let admitted = expiring.clone().admit(&[key.hash], 999).expect("still good");
        assert_eq!(admitted.until, Some(1000));
        assert_eq!(refusal(expiring, &key.text, 1000), DenialKind::ApiKeyExpired);
        let blocked = KeyFacts { blocked: true, ..facts(&key) };
        assert_eq!(refusal(blocked, &key.text, 0), DenialKind::ApiKeyBlocked);
        let orphan = KeyFacts { blocked_owner: Some("team"), ..facts(&key) };
        let denial = orphan.admit(&[key.hash], 0).expect_err("refused");
        assert_eq!(
            denial.to_string(),
            "api_key_blocked: the team to which the API key belongs is blocked"
        );
    }

    #[test]
    fn a_rotated_key_is_good_for_its_grace() {
        let (old, new) = (hasher().issue(&[1; 32]), hasher().issue(&[2; 32]));
        let rotated = KeyFacts { previous: Some((old.hash, 1000)), ..facts(&new) };
        assert_eq!(rotated.clone().admit(&[new.hash], 5000).expect("the new one").until, None);
        assert_eq!(
            rotated.clone().admit(&[old.hash], 999).expect("in its grace").until,
            Some(1000)
        );
        assert_eq!(refusal(rotated, &old.text, 1000), DenialKind::ApiKeyExpired);
    }

    #[test]
    fn what_is_derived_differs_by_purpose_input_and_pepper() {
        let one = hasher().derive("key", b"a");
        assert_eq!(one, hasher().derive("key", b"a"));
        let others = [
            hasher().derive("key", b"b"),
            hasher().derive("other", b"a"),
            KeyHasher::new(b"x", None).derive("key", b"a"),
        ];
        assert!(others.iter().all(|other| *other != one));
    }

    proptest! {
        #[test]
        fn a_slip_is_found(random: [u8; 32], at in PREFIX.len()..55, digit in 0usize..62) {
            let key = hasher().issue(&random).text;
            let mut slipped = key.clone().into_bytes();
            slipped[at] = DIGITS[digit];
            let slipped = String::from_utf8(slipped).expect("ASCII");
            // One in 2^32 slips passes; none of those that this test will ever see.
            prop_assert_eq!(checks_out(&slipped), Some(slipped == key));
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text: String) {
            checks_out(&text);
            hint(&text);
            prop_assert!(hasher().candidates(&text).len() <= 3);
        }
    }
}
