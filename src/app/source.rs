//! Where the configuration comes from, at start and at each reload, and all that belongs to it.

use std::path::PathBuf;
use std::sync::Arc;

use sluicegate_vault::Vault;

use crate::config::{self, Env, Loaded, Problem, Problems};
use crate::{policies, tls};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Text in the binary, with variables of its own: a demonstration.
    Embedded {
        /// Stands for the file in errors.
        name: &'static str,
        /// The YAML.
        text: &'static str,
        /// The variables.
        env: Env,
    },
}

/// A checked configuration, and what it names that is read at the same time.
#[derive(Debug)]
pub struct Sources {
    /// The configuration.
    pub loaded: Loaded,
    /// Its policies, where it has any.
    pub policies: Option<policies::Loaded>,
    /// What keeps files of certificates that it names from being used.
    unusable: Vec<Problem>,
}

impl Source {
    /// Reads and checks everything. Blocks on the disk, and on Vault for what it has not told yet.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(&self) -> Result<Sources, Problems> {
        let sources = self.load_again(None)?;
        // While serving, each of them is refused by itself and what was in use stays; now there is
        // nothing before.
        if sources.unusable.is_empty() {
            return Ok(sources);
        }
        sources.loaded.close();
        Err(Problems(sources.unusable))
    }

    /// The same for a process that has a client of Vault.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load_again(&self, vault: Option<Arc<Vault>>) -> Result<Sources, Problems> {
        Sources::of(match self {
            Self::File(path) => config::load_file_again(path, &Env::from_process(), vault),
            Self::Embedded { name, text, env } => config::load_str(name, text, env),
        }?)
    }
}

impl Sources {
    /// Reads and checks what a configuration names. Blocks on the disk.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn of(mut loaded: Loaded) -> Result<Self, Problems> {
        let directory = loaded.config.policies.as_ref().map(|policies| &policies.directory);
        let policies = directory.map(|directory| policies::load(directory)).transpose()?;
        if let Some(policies) = &policies {
            loaded.warnings.extend(policies.warnings.iter().cloned());
        }
        let found = tls::findings(&loaded.certificates, tls::now());
        loaded.warnings.extend(found.warnings);
        Ok(Self { loaded, policies, unusable: found.errors })
    }
}
