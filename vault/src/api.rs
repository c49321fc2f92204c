//! The calls that are made, typed and counted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use crate::answer::{Field, Fields, Grant, Granted, LookedUp, Token, V1, V2};
use crate::backoff::chance;
use crate::error::VaultError;
use crate::lease::Lease;
use crate::options::{KvVersion, Options};
use crate::reference::Location;
use crate::status::{Figures, Operation};
use crate::wire::Wire;

/// The policy that may do everything.
const ROOT: &str = "root";
/// Where root tokens come from.
const ROOT_PATH: &str = "auth/token/root";

/// Asks the server.
pub(crate) struct Api {
    wire: Wire,
    figures: Arc<Figures>,
    refuse_root: bool,
}

/// A token that is good.
pub(crate) struct Session {
    pub(crate) token: SecretString,
    pub(crate) lease: Lease,
}

/// A secret as it was read.
pub(crate) struct Secret {
    fields: Fields,
    /// When this version of it was made, if the server says.
    pub(crate) created: Option<SystemTime>,
}

impl Secret {
    pub(crate) fn field(&self, at: &Location, field: &str) -> Result<SecretString, VaultError> {
        match self.fields.0.get(field) {
            Some(Field(Some(value))) => Ok(value.clone()),
            Some(Field(None)) => {
                Err(VaultError::NotText { path: at.api_path(), field: field.to_owned() })
            }
            None => Err(VaultError::NoField { path: at.api_path(), field: field.to_owned() }),
        }
    }
}

impl Api {
    pub(crate) fn new(options: &Options, figures: Arc<Figures>) -> Result<Self, VaultError> {
        Ok(Self { wire: Wire::new(options)?, figures, refuse_root: options.refuse_root })
    }

    /// Logs in with a role and its secret id.
    pub(crate) async fn log_in_by_role(
        &self,
        mount: &str,
        role_id: &SecretString,
        secret_id: &SecretString,
    ) -> Result<Session, VaultError> {
        let (role_id, secret_id) = (role_id.expose_secret(), secret_id.expose_secret());
        self.log_in(mount, &json!({ "role_id": role_id, "secret_id": secret_id })).await
    }

    /// Logs in as a service account.
    pub(crate) async fn log_in_by_jwt(
        &self,
        mount: &str,
        role: &str,
        jwt: &SecretString,
    ) -> Result<Session, VaultError> {
        self.log_in(mount, &json!({ "role": role, "jwt": jwt.expose_secret() })).await
    }

    async fn log_in(
        &self,
        mount: &str,
        credential: &serde_json::Value,
    ) -> Result<Session, VaultError> {
        let asked = Instant::now();
        let path = format!("auth/{mount}/login");
        let body = credential.to_string().into_bytes();
        let answer = self.wire.ask(Method::POST, &path, None, body).await;
        let refused = |status| VaultError::LoginRefused { mount: mount.to_owned(), status };
        let answer = answer.map_err(|error| match error {
            VaultError::Denied { .. } => refused(403),
            VaultError::NotFound { .. } => refused(404),
            VaultError::Refused { status, .. } => refused(status),
            other => other,
        });
        let Granted { auth } = self.read(Operation::Login, answer, "a login")?;
        self.check_root("", &auth.policies)?;
        // A token of no length would be one without an end.
        let ttl = (auth.lease_duration > 0).then(|| Duration::from_secs(auth.lease_duration));
        let lease = Lease::granted(asked, ttl, auth.renewable, chance());
        Ok(Session { token: auth.client_token, lease })
    }

    /// What a token that we did not get ourselves is good for.
    pub(crate) async fn session_of(&self, token: &SecretString) -> Result<Session, VaultError> {
        let asked = Instant::now();
        let found = self.look_up(token).await?;
        let policies = found.policies.iter().chain(found.identity_policies.iter().flatten());
        let policies: Vec<_> = policies.cloned().collect();
        self.check_root(&found.path, &policies)?;
        let ttl = found.expire_time.is_some().then(|| Duration::from_secs(found.ttl));
        let lease = Lease::granted(asked, ttl, found.renewable, chance());
        Ok(Session { token: token.clone(), lease })
    }

    /// Whether a token is good, and what it is.
    pub(crate) async fn look_up(&self, token: &SecretString) -> Result<Token, VaultError> {
        let path = "auth/token/lookup-self";
        let answer = self.wire.ask(Method::GET, path, Some(token), Vec::new()).await;
        let answer = answer.map_err(of_token);
        self.read(Operation::Lookup, answer, "a token").map(|LookedUp { data }| data)
    }

    /// Asks for more time.
    pub(crate) async fn renew(&self, session: &mut Session) -> Result<(), VaultError> {
        let asked = Instant::now();
        let path = "auth/token/renew-self";
        let answer = self.wire.ask(Method::POST, path, Some(&session.token), b"{}".to_vec()).await;
        let answer = answer.map_err(of_token);
        let Granted { auth: Grant { lease_duration, renewable, .. } } =
            self.read(Operation::Renew, answer, "a renewal")?;
        let ttl = Duration::from_secs(lease_duration);
        session.lease.renewed(asked, ttl, renewable, chance());
        Ok(())
    }

    /// Ends a token.
    pub(crate) async fn revoke(&self, token: &SecretString) -> Result<(), VaultError> {
        let path = "auth/token/revoke-self";
        let answer = self.wire.ask(Method::POST, path, Some(token), b"{}".to_vec()).await;
        let answer = answer.map_err(of_token);
        self.figures.count(Operation::Revoke, &answer);
        answer.map(drop)
    }

    /// Reads a secret.
    pub(crate) async fn secret(
        &self,
        at: &Location,
        token: &SecretString,
    ) -> Result<Secret, VaultError> {
        let path = at.api_path();
        let answer = self.wire.ask(Method::GET, &path, Some(token), Vec::new()).await;
        match at.version {
            KvVersion::V1 => {
                let V1 { data } = self.read(Operation::Read, answer, "a secret of version 1")?;
                Ok(Secret { fields: data, created: None })
            }
            KvVersion::V2 => {
                let V2 { data } = self.read(Operation::Read, answer, "a secret of version 2")?;
                Ok(Secret { created: Some(data.metadata.created()), fields: data.data })
            }
        }
    }

    /// The answer as what it should be. Serde's own words may quote it, so they are not passed on.
    fn read<T: DeserializeOwned>(
        &self,
        operation: Operation,
        answer: Result<Bytes, VaultError>,
        what: &'static str,
    ) -> Result<T, VaultError> {
        let read = answer.and_then(|answer| {
            serde_json::from_slice(&answer).map_err(|_| VaultError::Garbled(what))
        });
        self.figures.count(operation, &read);
        read
    }

    fn check_root(&self, path: &str, policies: &[String]) -> Result<(), VaultError> {
        if path != ROOT_PATH && policies.iter().all(|policy| policy != ROOT) {
            return Ok(());
        }
        if self.refuse_root {
            return Err(VaultError::RootToken);
        }
        tracing::warn!("a root token for Vault; production refuses it");
        Ok(())
    }
}

/// What a refusal means where a token asks about itself. An unknown one is 403, and one that can't be
/// renewed 400.
fn of_token(error: VaultError) -> VaultError {
    match error {
        VaultError::Denied { .. } | VaultError::NotFound { .. } | VaultError::Refused { .. } => {
            VaultError::TokenRefused
        }
        other => other,
    }
}
