//! An issuer's public keys (JWK Set, RFC 7517), each bound to the algorithms that it is for.
//!
//! The algorithm belongs to the key: a token can only choose among those that its key takes, so it
//! can't have an RSA key taken for an HMAC secret, nor a signature checked under another scheme
//! (RFC 8725 section 3.1).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::json;

/// Bytes of a key set, at most.
pub const MAX_BYTES: usize = 256 * 1024;
/// Keys of a set, at most, those that can't be used included.
const MAX_KEYS: usize = 100;
/// Keys that are tried on one token, so that a token costs no more than this many verifications.
const MAX_TRIED: usize = 4;
/// Bytes of a `kid`, at most.
const MAX_KID: usize = 256;
/// Bits of an RSA modulus. Less can be factored, more takes too long.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of one issuer that tokens can be verified with.
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<Skipped>,
}

/// A key that is in the set and can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name, where it has one.
    pub kid: Option<String>,
    /// What keeps it from being used.
    pub reason: SkipReason,
}

/// What keeps a key from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SkipReason {
    #[error("it is not for signatures (`use`)")]
    Use,
    #[error("it is not for verifying (`key_ops`)")]
    Operations,
    #[error("its type (`kty`) is not RSA, EC or OKP")]
    Type,
    #[error("its curve (`crv`) is not P-256, P-384 or Ed25519")]
    Curve,
    #[error("it is a shared secret")]
    Symmetric,
    #[error("its private half is published")]
    Private,
    #[error("its algorithm (`alg`) does not fit its type, or is not one that the issuer may use")]
    Algorithm,
    #[error("its modulus is not 2048 to 8192 bits long")]
    Size,
    #[error("a member that it must have is absent or malformed")]
    Malformed,
}

/// A key set that can't be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Over [`MAX_BYTES`].
    #[error("the key set is larger than 256 KiB")]
    TooLarge,
    /// Not JSON, or JSON that two parsers could read in two ways.
    #[error("the key set is unusable: {0}")]
    Json(#[from] json::JsonError),
    /// No list `keys` of objects.
    #[error("the key set has no `keys`, or they are not a list of objects")]
    NoKeys,
    /// Over 100 keys.
    #[error("the key set has more than 100 keys")]
    TooMany,
    /// More usable keys of one name than are tried.
    #[error("the key set has more than 4 keys with the `kid` {0:?}")]
    Ambiguous(String),
}

impl KeySet {
    /// Reads a set. Keys that can't be used, or not with `allowed`, are skipped; what remains may
    /// be empty, as it is when an issuer withdraws all of its keys.
    ///
    /// Several keys of one name are kept, since a token's algorithm may tell them apart; of those
    /// that take it, all are tried. More than 4 would make tokens expensive, and the set is
    /// refused.
    ///
    /// # Errors
    ///
    /// [`KeySetError`] if it is not a key set, or one that is out of bounds.
    pub fn parse(json: &[u8], allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        if json.len() > MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let set = json::object(json)?;
        let Some(Value::Array(items)) = set.get("keys") else { return Err(KeySetError::NoKeys) };
        if items.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for item in items {
            let Value::Object(members) = item else { return Err(KeySetError::NoKeys) };
            match Key::read(members, allowed) {
                Ok(key) => keys.push(key),
                Err(reason) => {
                    let kid = text(members, "kid").filter(|kid| is_name(kid)).map(str::to_owned);
                    skipped.push(Skipped { kid, reason });
                }
            }
        }
        let set = Self { keys, skipped };
        for kid in set.keys.iter().filter_map(|key| key.kid.as_deref()) {
            if set.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).count() > MAX_TRIED {
                return Err(KeySetError::Ambiguous(kid.to_owned()));
            }
        }
        Ok(set)
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that were left out.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The keys that may have signed a token: those that it names, or where it names none, all that
    /// take its algorithm.
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<&Key>, NoKey> {
        let named = |key: &&Key| kid.is_none() || key.kid.as_deref() == kid;
        let takes = |key: &&Key| key.algorithms.contains(&algorithm);
        let keys: Vec<_> = self.keys.iter().filter(named).filter(takes).collect();
        match keys.len() {
            0 if kid.is_some() && self.keys.iter().any(|key| named(&key)) => {
                Err(NoKey::OtherAlgorithm)
            }
            0 => Err(NoKey::Unknown),
            1..=MAX_TRIED => Ok(keys),
            _ => Err(NoKey::TooMany),
        }
    }
}

/// Names and algorithms: keys are public, and long.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|key| (&key.kid, &key.algorithms));
        f.debug_struct("KeySet")
            .field("keys", &keys.collect::<Vec<_>>())
            .field("skipped", &self.skipped)
            .finish()
    }
}

/// Why no key of a set can be tried on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    Unknown,
    OtherAlgorithm,
    TooMany,
}

pub(super) struct Key {
    kid: Option<String>,
    /// Those that it takes; never empty.
    algorithms: Vec<Algorithm>,
    material: DecodingKey,
}

impl Key {
    /// Whether this key signed `message`, by an algorithm that it takes.
    pub(super) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> bool {
        debug_assert!(self.algorithms.contains(&algorithm));
        let factory = aws_lc::DEFAULT_PROVIDER.verifier_factory;
        factory(&algorithm.implementation(), &self.material)
            .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }

    fn read(members: &Map<String, Value>, allowed: &[Algorithm]) -> Result<Self, SkipReason> {
        for_verifying(members)?;
        if ["d", "p", "q"].iter().any(|private| members.contains_key(*private)) {
            return Err(SkipReason::Private);
        }
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) if is_name(kid) => Some(kid.clone()),
            Some(_) => return Err(SkipReason::Malformed),
        };
        let (material, fitting) = material(members)?;
        let named = match members.get("alg") {
            None => None,
            Some(Value::String(name)) => {
                Some(Algorithm::from_name(name).ok_or(SkipReason::Algorithm)?)
            }
            Some(_) => return Err(SkipReason::Malformed),
        };
        let algorithms: Vec<_> = allowed
            .iter()
            .copied()
            .filter(|algorithm| fitting(*algorithm))
            .filter(|algorithm| named.is_none_or(|named| named == *algorithm))
            .collect();
        if algorithms.is_empty() {
            return Err(SkipReason::Algorithm);
        }
        Ok(Self { kid, algorithms, material })
    }
}

/// Sees that a key is for verifying, as far as it says for what it is (RFC 7517 sections 4.2, 4.3).
fn for_verifying(members: &Map<String, Value>) -> Result<(), SkipReason> {
    match members.get("use") {
        None => {}
        Some(Value::String(purpose)) if purpose == "sig" => {}
        Some(_) => return Err(SkipReason::Use),
    }
    match members.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|o| o == "verify") => Ok(()),
        Some(_) => Err(SkipReason::Operations),
    }
}

/// Whether an algorithm is one that a type of key is for.
type Fits = fn(Algorithm) -> bool;

/// The key itself, and which algorithms its type is for (RFC 7518 section 6, RFC 8037 section 2).
fn material(members: &Map<String, Value>) -> Result<(DecodingKey, Fits), SkipReason> {
    match text(members, "kty").ok_or(SkipReason::Malformed)? {
        "RSA" => {
            let (n, e) = (bytes(members, "n")?, bytes(members, "e")?);
            Ok((rsa(&n, &e)?, Algorithm::is_rsa))
        }
        "EC" => {
            let (size, fitting): (_, Fits) = match text(members, "crv") {
                Some("P-256") => (32, |algorithm| algorithm == Algorithm::ES256),
                Some("P-384") => (48, |algorithm| algorithm == Algorithm::ES384),
                Some(_) => return Err(SkipReason::Curve),
                None => return Err(SkipReason::Malformed),
            };
            let (x, y) = (bytes(members, "x")?, bytes(members, "y")?);
            if x.len() != size || y.len() != size {
                return Err(SkipReason::Malformed);
            }
            // An uncompressed point (SEC 1 section 2.3.3). Whether it is on the curve is seen when
            // a signature is verified: one that is not verifies nothing.
            let point = [&[4][..], &x, &y].concat();
            Ok((DecodingKey::from_ec_der(&point), fitting))
        }
        "OKP" => match text(members, "crv") {
            Some("Ed25519") => {
                let x = bytes(members, "x")?;
                if x.len() != 32 {
                    return Err(SkipReason::Malformed);
                }
                let fitting = |algorithm| algorithm == Algorithm::EdDSA;
                Ok((DecodingKey::from_ed_der(&x), fitting))
            }
            Some(_) => Err(SkipReason::Curve),
            None => Err(SkipReason::Malformed),
        },
        "oct" => Err(SkipReason::Symmetric),
        _ => Err(SkipReason::Type),
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, SkipReason> {
    let (Some(first), Some(1)) = (modulus.first(), modulus.last().map(|last| last & 1)) else {
        return Err(SkipReason::Malformed);
    };
    // A leading zero is no legal spelling (RFC 7518 section 2, Base64urlUInt).
    if *first == 0 {
        return Err(SkipReason::Malformed);
    }
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    if !RSA_BITS.contains(&bits) {
        return Err(SkipReason::Size);
    }
    // Odd, 3 to 2^32: what real keys have, and what is cheap.
    let usable = match exponent {
        [0, ..] | [] | [1] => false,
        [.., last] => exponent.len() <= 4 && last & 1 == 1,
    };
    if !usable {
        return Err(SkipReason::Malformed);
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str)
}

fn bytes(members: &Map<String, Value>, name: &str) -> Result<Vec<u8>, SkipReason> {
    let encoded = text(members, name).ok_or(SkipReason::Malformed)?;
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| SkipReason::Malformed)
}

fn is_name(kid: &str) -> bool {
    kid.len() <= MAX_KID && !kid.chars().any(char::is_control)
}
