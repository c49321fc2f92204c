//! The values in memory.

use std::collections::BTreeMap;
use std::time::SystemTime;

use parking_lot::RwLock;
use secrecy::{ExposeSecret as _, SecretString};

use crate::api::Secret;
use crate::error::VaultError;
use crate::reference::Location;

/// Only fields that somebody has asked for: there is no need to have the others about.
#[derive(Default)]
pub(crate) struct Held(RwLock<BTreeMap<Location, BTreeMap<String, Value>>>);

struct Value {
    secret: SecretString,
    /// Since when the server has it; or, if it does not say, since when we have.
    since: SystemTime,
}

impl Held {
    pub(crate) fn get(&self, at: &Location, field: &str) -> Option<SecretString> {
        Some(self.0.read().get(at)?.get(field)?.secret.clone())
    }

    pub(crate) fn since(&self, at: &Location, field: &str) -> Option<SystemTime> {
        Some(self.0.read().get(at)?.get(field)?.since)
    }

    /// Keeps `field` of `secret` from now on.
    pub(crate) fn add(
        &self,
        at: &Location,
        field: &str,
        secret: &Secret,
    ) -> Result<SecretString, VaultError> {
        let value = secret.field(at, field)?;
        let new = Value { secret: value.clone(), since: since(secret) };
        self.0.write().entry(at.clone()).or_default().insert(field.to_owned(), new);
        Ok(value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    /// What is held, to be read anew.
    pub(crate) fn locations(&self) -> Vec<Location> {
        self.0.read().keys().cloned().collect()
    }

    /// Takes over what `secret` is now. Says whether a value differs. A field that is not there any
    /// more keeps its value.
    ///
    /// # Errors
    /// The first such field; the others are taken over all the same.
    pub(crate) fn update(&self, at: &Location, secret: &Secret) -> (bool, Result<(), VaultError>) {
        let (mut changed, mut result) = (false, Ok(()));
        for (field, held) in self.0.write().get_mut(at).into_iter().flatten() {
            match secret.field(at, field) {
                Ok(value) if value.expose_secret() != held.secret.expose_secret() => {
                    *held = Value { secret: value, since: since(secret) };
                    changed = true;
                }
                Ok(_) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        (changed, result)
    }

    /// Forgets what is not in `wanted`.
    pub(crate) fn keep_only(&self, wanted: &BTreeMap<Location, Vec<String>>) {
        self.0.write().retain(|at, fields| {
            let wanted = wanted.get(at).map(Vec::as_slice).unwrap_or_default();
            fields.retain(|field, _| wanted.contains(field));
            !fields.is_empty()
        });
    }
}

fn since(secret: &Secret) -> SystemTime {
    secret.created.unwrap_or_else(SystemTime::now)
}
