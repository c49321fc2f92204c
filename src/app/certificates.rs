//! Certificates that change under a running process, and what is told of them.

use std::path::PathBuf;

use super::{Gateway, LoadError};
use crate::telemetry::tls_metrics::Owner;
use crate::tls::{Certificate, Refresh, beside, shown};

impl Gateway {
    /// Every file of certificates, keys and authorities in use.
    pub fn certificate_files(&self) -> Vec<PathBuf> {
        let runtime = self.current();
        let providers = runtime.routes.upstreams().flat_map(|upstream| upstream.security.files());
        let listeners = self.tls.iter().flat_map(|(_, acceptor)| acceptor.files());
        let files = listeners.chain(providers).map(|file| file.path);
        let mut files: Vec<_> = files.chain(beside::files(&runtime.config)).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Looks at those files, and puts in use what has changed. Each owner's are taken or refused by
    /// themselves; connections under way keep what they were made with.
    pub async fn refresh_certificates(&self) {
        let _one_at_a_time = self.reloading.lock().await;
        // The outcome is logged and counted there.
        self.look_at_certificates().await.ok();
    }

    /// The same within a reload. The first that is refused is the error.
    pub(super) async fn look_at_certificates(&self) -> Result<(), LoadError> {
        let (acceptors, runtime) = (self.tls.clone(), self.current());
        let authorities = self.authorities.clone();
        let look = tokio::task::spawn_blocking(move || {
            let listeners = acceptors.iter();
            let listeners = listeners.map(|(listener, acceptor)| (listener, acceptor.refresh()));
            let listeners: Vec<_> = listeners.collect();
            let providers = runtime.routes.upstreams();
            let providers = providers.map(|one| (one.name.clone(), one.security.refresh()));
            let providers: Vec<_> = providers.collect();
            authorities.look(&runtime.config);
            (listeners, providers)
        });
        let (listeners, providers) = look
            .await
            .map_err(|error| LoadError::Filter { path: "listeners", message: error.to_string() })?;
        let listeners =
            listeners.into_iter().map(|(listener, refresh)| (Owner::Listener(listener), refresh));
        let providers =
            providers.iter().map(|(name, refresh)| (Owner::Provider(name), refresh.clone()));
        let mut first = Ok(());
        for (owner, refresh) in listeners.chain(providers) {
            if let Err(error) = self.tell(owner, refresh) {
                first = first.and(Err(error));
            }
        }
        self.show_certificates();
        first
    }

    fn tell(&self, owner: Owner<'_>, refresh: Refresh) -> Result<(), LoadError> {
        match refresh {
            Refresh::Same => {}
            Refresh::Replaced => {
                self.metrics.tls.reloaded(owner);
                for certificate in self.certificates_of(owner) {
                    tracing::info!(
                        kind = certificate.kind.as_str(),
                        name = owner.name(),
                        serial = %certificate.serial,
                        not_after = %shown(certificate.not_after),
                        "certificate in use"
                    );
                }
            }
            Refresh::Restored => {
                self.metrics.tls.restored(owner);
                tracing::info!(name = owner.name(), "the files of certificates are in order again");
            }
            Refresh::Refused(error) => {
                self.metrics.tls.refused(owner);
                tracing::error!(
                    %error,
                    name = owner.name(),
                    "certificate refused, the one before stays in use"
                );
                return Err(error.into());
            }
            Refresh::StillRefused(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn certificates_of(&self, owner: Owner<'_>) -> Vec<Certificate> {
        match owner {
            Owner::Listener(listener) => self
                .tls
                .get(listener)
                .map(|acceptor| acceptor.get().certificates().to_vec())
                .unwrap_or_default(),
            Owner::Provider(name) => {
                let runtime = self.current();
                let mut upstreams = runtime.routes.upstreams();
                upstreams
                    .find(|upstream| upstream.name == name)
                    .map(|upstream| upstream.security.get().certificates().to_vec())
                    .unwrap_or_default()
            }
        }
    }

    /// Shows what a new generation has.
    pub(super) fn certificates_configured(&self) {
        let runtime = self.current();
        let providers = runtime.routes.upstreams();
        let providers = providers
            .filter(|upstream| !upstream.security.files().is_empty())
            .map(|upstream| Owner::Provider(&upstream.name));
        let listeners = self.tls.iter().map(|(listener, _)| Owner::Listener(listener));
        self.metrics.tls.configured(listeners.chain(providers));
        self.show_certificates();
    }

    fn show_certificates(&self) {
        let runtime = self.current();
        let providers = runtime.routes.upstreams().map(|one| Owner::Provider(&one.name));
        let mut own = self.authorities.of(&runtime.config);
        let listeners = self.tls.iter().map(|(listener, _)| Owner::Listener(listener));
        for owner in listeners.chain(providers) {
            for certificate in self.certificates_of(owner) {
                let key = (certificate.kind, owner.name().to_owned());
                own.insert(key, certificate.chain_not_after);
            }
        }
        self.metrics.tls.certificates(own, |name| {
            runtime.routes.upstreams().any(|upstream| upstream.name == name && upstream.checked)
        });
    }
}
