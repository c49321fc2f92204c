//! Decides what is done next, and does it: one thing at a time, on a thread of its own.
//!
//! There are three reasons to do something: the token is due, the values are due, or somebody wishes
//! for something. While nothing can be had (*trouble*), the last two wait, each time longer; a token
//! that can't be renewed is used for as long as it is good.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::api::{Api, Secret, Session};
use crate::backoff::{Backoff, chance};
use crate::credential;
use crate::error::VaultError;
use crate::held::Held;
use crate::lease::Step;
use crate::options::{Auth, Options};
use crate::reference::Location;
use crate::status::Figures;

/// By how much sooner than asked values are read, so that instances don't all ask at once.
const JITTER: f64 = 0.1;
/// How long the server may take to end the token when the client goes.
const FAREWELL: Duration = Duration::from_secs(1);

/// What somebody waits for.
pub(crate) enum Wish {
    /// A field that is not in memory.
    Get { at: Location, field: String, answer: SyncSender<Result<SecretString, VaultError>> },
    /// All values anew.
    Refresh { answer: SyncSender<Result<(), VaultError>> },
    /// The end.
    Close { answer: SyncSender<()> },
}

/// Sees to the token and to the values.
pub(crate) struct Keeper {
    options: Options,
    api: Api,
    held: Arc<Held>,
    figures: Arc<Figures>,
    changed: watch::Sender<u64>,
    session: Option<Session>,
    /// When the token is tried again that could not be renewed or replaced.
    token_retry: Option<Instant>,
    token_backoff: Backoff,
    /// What keeps everything from being had, and until when nothing is tried.
    trouble: Option<(Instant, VaultError)>,
    backoff: Backoff,
    refused: Option<Refused>,
    refresh_at: Instant,
}

/// A credential that was refused, and is not tried again soon.
struct Refused {
    digest: [u8; 32],
    until: Instant,
    error: VaultError,
}

impl Keeper {
    pub(crate) fn new(
        options: Options,
        api: Api,
        held: Arc<Held>,
        figures: Arc<Figures>,
        changed: watch::Sender<u64>,
    ) -> Self {
        Self {
            api,
            held,
            figures,
            changed,
            session: None,
            token_retry: None,
            token_backoff: Backoff::new(options.retry),
            trouble: None,
            backoff: Backoff::new(options.retry),
            refused: None,
            refresh_at: Instant::now() + options.refresh,
            options,
        }
    }

    /// Works until nobody can wish for anything any more.
    pub(crate) async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        loop {
            let due = self.due();
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What is due first: whoever wishes for something then gets it with a fresh token.
                biased;
                () = due => self.see_to_what_is_due().await,
                wish = wishes.recv() => match wish {
                    Some(Wish::Get { at, field, answer }) => {
                        // Who has given up waiting needs no answer; so below, too.
                        answer.send(self.get(&at, &field).await).ok();
                    }
                    Some(Wish::Refresh { answer }) => {
                        self.trouble = None;
                        answer.send(self.refresh().await).ok();
                    }
                    Some(Wish::Close { answer }) => {
                        self.leave().await;
                        answer.send(()).ok();
                        return;
                    }
                    None => return self.leave().await,
                },
            }
        }
    }

    /// When there is something to do unasked.
    fn due(&self) -> Option<Instant> {
        let values = (!self.held.is_empty()).then_some(self.refresh_at);
        let values = match &self.trouble {
            Some((until, _)) => values.map(|values| values.max(*until)),
            None => values,
        };
        self.token_due().into_iter().chain(values).min()
    }

    fn token_due(&self) -> Option<Instant> {
        let due = self.session.as_ref()?.lease.due()?;
        Some(self.token_retry.map_or(due, |retry| retry.max(due)))
    }

    async fn see_to_what_is_due(&mut self) {
        if self.token_due().is_some_and(|due| due <= Instant::now()) {
            match self.see_to_token().await {
                Ok(()) => {
                    self.token_retry = None;
                    self.token_backoff.succeeded();
                }
                Err(error) => {
                    let wait = self.token_backoff.failed(chance());
                    self.token_retry = Some(Instant::now() + wait);
                    if self.figures.failed(&error) {
                        tracing::warn!(%error, "the token for Vault can be neither renewed nor replaced yet");
                    }
                }
            }
        }
        let now = Instant::now();
        let blocked = self.trouble.as_ref().is_some_and(|(until, _)| now < *until);
        if !blocked && now >= self.refresh_at && !self.held.is_empty() {
            self.trouble = None;
            self.refresh().await.ok();
        }
    }

    async fn see_to_token(&mut self) -> Result<(), VaultError> {
        let now = Instant::now();
        if let Some(session) = &mut self.session
            && session.lease.step() == Step::Renew
            && !session.lease.is_expired(now)
        {
            match self.api.renew(session).await {
                // The token is gone, or was never to be renewed: nothing but a login helps.
                Err(VaultError::TokenRefused) => {}
                other => {
                    let left = session.lease.expires().map(|expires| expires - now);
                    self.figures.token(left);
                    return other;
                }
            }
        }
        self.log_in().await
    }

    /// Gets a token. One that is still good stays until there is another.
    async fn log_in(&mut self) -> Result<(), VaultError> {
        let result = match self.options.auth.clone() {
            Auth::AppRole { mount, role_id, secret_id_file } => {
                let secret_id = self.credential(&secret_id_file)?;
                let result = self.api.log_in_by_role(&mount, &role_id, &secret_id).await;
                self.note_refusal(&secret_id, result)
            }
            Auth::Kubernetes { mount, role, jwt_file } => {
                let jwt = self.credential(&jwt_file)?;
                let result = self.api.log_in_by_jwt(&mount, &role, &jwt).await;
                self.note_refusal(&jwt, result)
            }
            Auth::Token { file } => {
                let token = self.credential(&file)?;
                let held = self.session.as_ref().filter(|session| {
                    session.token.expose_secret() == token.expose_secret()
                        && !session.lease.is_expired(Instant::now())
                });
                if held.is_some() {
                    return Err(VaultError::TokenEnds);
                }
                let result = self.api.session_of(&token).await;
                self.note_refusal(&token, result)
            }
        };
        let session = result?;
        let left = session.lease.expires().map(|expires| expires - Instant::now());
        self.figures.token(left);
        tracing::debug!(method = self.options.auth.method(), ?left, "logged in to Vault");
        self.session = Some(session);
        Ok(())
    }

    /// The credential in a file, unless it was refused and is the same.
    fn credential(&self, path: &std::path::Path) -> Result<SecretString, VaultError> {
        let credential = credential::read(path)?;
        match &self.refused {
            Some(refused)
                if refused.digest == digest(&credential) && Instant::now() < refused.until =>
            {
                Err(refused.error.clone())
            }
            _ => Ok(credential),
        }
    }

    fn note_refusal(
        &mut self,
        credential: &SecretString,
        result: Result<Session, VaultError>,
    ) -> Result<Session, VaultError> {
        self.refused = match &result {
            Err(
                error @ (VaultError::LoginRefused { .. }
                | VaultError::TokenRefused
                | VaultError::RootToken),
            ) => Some(Refused {
                digest: digest(credential),
                until: Instant::now() + self.options.retry.refused,
                error: error.clone(),
            }),
            _ => None,
        };
        result
    }

    /// A token that is good as far as we know.
    async fn token(&mut self) -> Result<SecretString, VaultError> {
        let expired = |session: &Session| session.lease.is_expired(Instant::now());
        if self.session.as_ref().is_none_or(expired) {
            self.session = None;
            self.log_in().await?;
            self.token_retry = None;
        }
        match &self.session {
            Some(session) => Ok(session.token.clone()),
            None => Err(VaultError::TokenRefused),
        }
    }

    async fn read(&mut self, at: &Location) -> Result<Secret, VaultError> {
        let token = self.token().await?;
        match self.api.secret(at, &token).await {
            // The server says the same of a token that it does not know.
            Err(denied @ VaultError::Denied { .. }) => match self.api.look_up(&token).await {
                Ok(_) => Err(denied),
                Err(VaultError::TokenRefused) => {
                    self.session = None;
                    let token = self.token().await?;
                    self.api.secret(at, &token).await
                }
                Err(other) => Err(other),
            },
            other => other,
        }
    }

    async fn get(&mut self, at: &Location, field: &str) -> Result<SecretString, VaultError> {
        if let Some((until, error)) = &self.trouble
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match self.read(at).await {
            Ok(secret) => {
                self.trouble = None;
                self.backoff.succeeded();
                self.figures.answered();
                self.held.add(at, field, &secret)
            }
            Err(error) if error.is_of_all() => Err(self.troubled(error)),
            Err(error) => {
                self.figures.answered();
                Err(error)
            }
        }
    }

    async fn refresh(&mut self) -> Result<(), VaultError> {
        let (mut changed, mut result) = (false, Ok(()));
        // Whether the server lets us in is worth knowing where there is nothing to read, too.
        if let Err(error) = self.token().await {
            return Err(self.troubled(error));
        }
        for at in self.held.locations() {
            match self.read(&at).await {
                Ok(secret) => {
                    let (differs, read) = self.held.update(&at, &secret);
                    changed |= differs;
                    result = result.and(read);
                }
                Err(error) => {
                    let all = error.is_of_all();
                    result = result.and(Err(error));
                    if all {
                        break;
                    }
                }
            }
        }
        if changed {
            tracing::info!("secrets in Vault have changed");
            self.changed.send_modify(|generation| *generation += 1);
        }
        self.note_refresh(result)
    }

    fn note_refresh(&mut self, result: Result<(), VaultError>) -> Result<(), VaultError> {
        let now = Instant::now();
        match result {
            Ok(()) => {
                self.backoff.succeeded();
                self.refresh_at = now + self.options.refresh.mul_f64(1.0 - JITTER * chance());
                if self.token_retry.is_some() {
                    self.figures.answered();
                } else if self.figures.refreshed() {
                    tracing::info!("all secrets can be read from Vault again");
                }
                Ok(())
            }
            Err(error) if error.is_of_all() => Err(self.troubled(error)),
            Err(error) => {
                self.refresh_at = now + self.backoff.failed(chance());
                self.figures.answered();
                if self.figures.missed(&error) {
                    tracing::warn!(%error, "a secret can't be read from Vault; its last value stays in use");
                }
                Err(error)
            }
        }
    }

    /// Nothing can be had for a while.
    fn troubled(&mut self, error: VaultError) -> VaultError {
        let now = Instant::now();
        self.trouble = Some((now + self.backoff.failed(chance()), error.clone()));
        self.refresh_at = now;
        if self.figures.failed(&error) {
            tracing::warn!(%error, "no secrets can be read from Vault; their last values stay in use");
        }
        error
    }

    /// Ends the token that was got for this process alone.
    async fn leave(&self) {
        if let (Some(session), false) =
            (&self.session, matches!(self.options.auth, Auth::Token { .. }))
        {
            // If it can't be ended, it ends by itself.
            tokio::time::timeout(FAREWELL, self.api.revoke(&session.token)).await.ok();
        }
    }
}

fn digest(credential: &SecretString) -> [u8; 32] {
    Sha256::digest(credential.expose_secret()).into()
}
