//! Resolves `vault:` references, over a client that outlives the loading.

use std::cell::OnceCell;
use std::sync::Arc;

use sluicegate_vault::{Options, Reference, Vault, VaultError};

use super::env::Env;
use super::secrets::{LocalResolver, Resolver, SecretError, SecretRef};
use super::valid::{Config, Secret};

/// Resolves everything: what this machine has, and what Vault has.
pub(super) struct VaultResolver {
    local: LocalResolver,
    /// The client of the configuration in force, if there is one.
    before: Option<Arc<Vault>>,
    /// The client of the one that is being loaded.
    client: OnceCell<Result<Arc<Vault>, VaultError>>,
}

impl VaultResolver {
    pub(super) fn new(env: &Env, before: Option<Arc<Vault>>) -> Self {
        Self { local: LocalResolver::new(env.clone()), before, client: OnceCell::new() }
    }

    /// The client for the configuration that was loaded.
    pub(super) fn into_client(self) -> Option<Arc<Vault>> {
        self.client.into_inner()?.ok()
    }

    fn ask(&self, reference: &Reference) -> Result<Secret, SecretError> {
        let failed = |error| SecretError::Vault { reference: reference.clone(), error };
        let client = match self.client.get() {
            Some(client) => client.as_ref().map_err(|error| failed(error.clone()))?,
            None => return Err(SecretError::NoVault(reference.clone())),
        };
        let value = client.get(reference).map_err(failed)?;
        let since = client.since(reference);
        Ok(Secret { reference: SecretRef::Vault(reference.clone()), value, since })
    }
}

impl Resolver for VaultResolver {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::Vault(reference) => self.ask(reference),
            _ => self.local.resolve(reference),
        }
    }

    /// Nothing is asked for before the first reference.
    fn lead_to(&self, vault: &Options) {
        let same = self.before.as_ref().filter(|before| before.options() == vault);
        self.client.get_or_init(|| match same {
            Some(same) => Ok(same.clone()),
            None => Vault::start(vault.clone()).map(Arc::new),
        });
    }
}

/// What `config` takes from Vault.
pub fn references(config: &Config) -> Vec<&Reference> {
    let secrets = super::secrets_of(config).into_iter();
    let references = secrets.filter_map(|(_, secret)| match &secret.reference {
        SecretRef::Vault(reference) => Some(reference),
        _ => None,
    });
    references.collect()
}
