//! The text of a new key, and what is stored of it.

use secrecy::{ExposeSecret, SecretString};
use sluicegate_filters::identify::virtual_key::{self, PREFIX};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::services::Services;
use crate::stores::records::KeyHash;

/// Characters of a key that somebody chose, at least.
const MIN_CHOSEN: usize = 20;
/// Characters of a key, at most.
const MAX_CHOSEN: usize = 512;
/// Different characters of a key that somebody chose, at least.
const MIN_DISTINCT: usize = 8;

/// Where a new key's text comes from.
pub enum Secret {
    /// From random bits.
    Random,
    /// From bits that are made again the same for the same request. See [`Repeatable`].
    Repeatable(Repeatable),
    /// From whoever asks.
    Chosen(SecretString),
    /// It is not known: only LiteLLM's hash of it is.
    LiteLlmHash(KeyHash),
}

/// A request that may be sent again: who sent it, under which `Idempotency-Key`, with which body.
#[derive(Clone)]
pub struct Repeatable {
    pub actor: String,
    pub key: String,
    /// SHA-256 of the body.
    pub body: [u8; 32],
}

/// The text, where it is known, and what is stored.
pub struct Material {
    pub text: Option<SecretString>,
    pub hash: KeyHash,
    pub hint: String,
}

impl Secret {
    /// Makes or checks it.
    ///
    /// # Errors
    /// 422 for a text that is too easily guessed.
    pub fn material(&self, services: &Services) -> Result<Material, ApiError> {
        let issued = |bits: &[u8; 32]| {
            let issued = services.hasher.issue(bits);
            Material {
                text: Some(issued.text.into()),
                hash: KeyHash(issued.hash),
                hint: issued.hint,
            }
        };
        match self {
            Self::Random => Ok(issued(&services.random()?)),
            Self::Repeatable(request) => {
                let mut input = request.input();
                input.extend(request.body);
                Ok(issued(&services.hasher.derive("repeatable key", &input)))
            }
            Self::Chosen(text) => {
                check_chosen(services, text.expose_secret())?;
                Ok(Material {
                    hash: KeyHash(services.hasher.hash(text.expose_secret())),
                    hint: virtual_key::hint(text.expose_secret()),
                    text: Some(text.clone()),
                })
            }
            Self::LiteLlmHash(hash) => {
                Ok(Material { text: None, hash: *hash, hint: virtual_key::hint("") })
            }
        }
    }
}

impl Repeatable {
    /// The id of the key that the request makes: the same each time, whatever the body.
    pub fn id(&self, services: &Services) -> Uuid {
        let bits = services.hasher.derive("repeatable id", &self.input());
        let mut id = [0; 16];
        id.copy_from_slice(&bits[..16]);
        uuid::Builder::from_custom_bytes(id).into_uuid()
    }

    /// Neither part contains a NUL.
    fn input(&self) -> Vec<u8> {
        [self.actor.as_bytes(), b"\0", self.key.as_bytes(), b"\0"].concat()
    }
}

fn check_chosen(services: &Services, text: &str) -> Result<(), ApiError> {
    let refuse = |reason: &str| {
        Err(ApiError::invalid("key", reason)
            .hint("leave it out to get a random key, or send `sk-` and 32 random characters"))
    };
    if !text.starts_with("sk-") {
        return refuse("must begin with `sk-`");
    }
    if text.len() < MIN_CHOSEN || text.len() > MAX_CHOSEN {
        return refuse("must have 20 to 512 characters");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse(
            "must be visible ASCII characters without spaces, since it is sent in a header",
        );
    }
    let mut distinct: Vec<u8> = text["sk-".len()..].bytes().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < MIN_DISTINCT {
        return refuse("is too easily guessed: it has too few different characters");
    }
    if virtual_key::checks_out(text) == Some(false) {
        return refuse(&format!("begins with `{PREFIX}` but is not a key that the gateway made"));
    }
    let config = &services.gateway.current().config;
    let master = config.admin.master_key.as_ref().map(|key| key.value.expose_secret());
    // Only an administrator gets here, so the comparison's time tells nobody anything new.
    if master == Some(text) {
        return refuse("is in use already");
    }
    Ok(())
}
