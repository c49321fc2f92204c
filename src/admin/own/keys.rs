//! `/admin/v1/keys`.

use http::{HeaderName, HeaderValue, StatusCode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::call::{Answer, Call, ok, record};
use super::super::error::ApiError;
use super::super::input::hidden::Hidden;
use super::super::input::time::{Moment, Span};
use super::super::service::keys::{self, Made};
use super::super::service::pages;
use super::super::service::secret::Secret;
use super::limits::Limits;
use super::{List, patched};
use crate::stores::records::{Key, KeyHash};
use crate::stores::{KeyFilter, Place};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is that of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What one may say of a key. In a change, what is `null` is taken away.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct KeyBody {
    /// A name, unique among all keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The user to whom it belongs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The team to which it belongs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The organization to which it belongs; its team's, unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The models that it may call: names, or beginnings and `*`. Empty: all that its owners may.
    pub models: Vec<String>,
    /// The routes that it may use. Empty: all. `management_routes` stands for those of this listener.
    pub routes: Vec<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Moment>,
    /// In how long it ends, instead of `expires_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Span>,
    /// Whether it is refused.
    pub blocked: bool,
    /// Words by which its use is counted.
    pub tags: Vec<String>,
    /// Anything.
    pub metadata: Map<String, Value>,
    pub limits: Limits,
    /// The key's text, if it is not to be random. Only when it is made, and only by an administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub key: Option<Hidden>,
    /// The SHA-256 of a key's text in hexadecimal, as LiteLLM stores it: the key goes on working here. Only
    /// when it is made, and only with the master key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub litellm_hash: Option<String>,
}

/// How to rotate a key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct RotateBody {
    /// How long the old text stays good. Absent: not at all.
    pub grace: Option<Span>,
}

/// A key, without its text and hash.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    pub id: Uuid,
    /// What one may see of its text.
    pub hint: String,
    #[serde(flatten)]
    pub fields: KeyBody,
    /// Until when the text before the last rotation is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
    /// Who made it.
    pub created_by: String,
    /// Counts changes; the `ETag`.
    pub version: i64,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyMade {
    /// The key's text. It is shown this once. Absent for an imported hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(flatten)]
    pub view: KeyView,
}

/// The parameters of the list.
pub const LIST: &[(&str, &str)] = &[
    super::PAGE[0],
    super::PAGE[1],
    ("user", "Only keys of this user."),
    ("team", "Only keys of this team."),
    ("organization", "Only keys of this organization."),
    ("alias", "Only the key of this name."),
    ("blocked", "Only blocked keys (`true`), or only others (`false`)."),
];

pub async fn list(mut call: Call) -> Answer {
    let page = pages::asked(&mut call.query)?;
    let filter = KeyFilter {
        user: call.query.text("user"),
        team: call.query.text("team"),
        organization: call.query.text("organization"),
        alias: call.query.text("alias"),
        blocked: call.query.flag("blocked")?,
        ..KeyFilter::default()
    };
    call.query.finish()?;
    let paged = keys::list(&call.services, &call.actor, filter, &page).await?;
    let place = |key: &Key| Place { created_at: key.created_at, id: key.id.to_string() };
    Ok(ok(List::of(paged, &page, place, KeyView::from)))
}

pub async fn create(call: Call) -> Answer {
    let body: KeyBody = call.body()?;
    let repeatable = match call.headers.get(IDEMPOTENCY_KEY) {
        Some(value) => {
            let value = value.to_str().unwrap_or_default();
            Some(keys::repeatable(&call.actor, value, &call.body)?)
        }
        None => None,
    };
    let secret = match (&body.key, &body.litellm_hash, repeatable) {
        (Some(_), Some(_), _) => {
            return Err(ApiError::invalid("litellm_hash", "can't be given together with `key`"));
        }
        // A chosen text is itself what tells a repetition from a new request.
        (Some(Hidden(text)), None, _) => Secret::Chosen(text.clone()),
        (None, Some(hex), _) => {
            Secret::LiteLlmHash(KeyHash::from_hex(hex).ok_or_else(|| {
                ApiError::invalid("litellm_hash", "must be 64 hexadecimal digits")
            })?)
        }
        (None, None, Some(request)) => Secret::Repeatable(request),
        (None, None, None) => Secret::Random,
    };
    let now = call.services.now();
    let edit = |key: &mut Key| body.apply(key, now);
    let made = keys::create(call.by(), secret, edit).await?;
    let status = if made.replayed { StatusCode::OK } else { StatusCode::CREATED };
    let replayed = made.replayed;
    let mut response = record(status, made.key.version, KeyMade::from(made));
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

pub async fn show(call: Call) -> Answer {
    let key = keys::get(&call.services, &call.actor, call.path("id")).await?;
    Ok(record(StatusCode::OK, key.version, KeyView::from(key)))
}

pub async fn own(call: Call) -> Answer {
    let key = keys::own(&call.actor)?.clone();
    Ok(record(StatusCode::OK, key.version, KeyView::from(key)))
}

pub async fn update(call: Call) -> Answer {
    let changes: Map<String, Value> = call.body()?;
    for field in ["key", "litellm_hash"] {
        if changes.contains_key(field) {
            return Err(ApiError::invalid(field, "can only be given when a key is made")
                .hint("to replace a key's text, rotate it"));
        }
    }
    let key = keys::get(&call.services, &call.actor, call.path("id")).await?;
    let now = call.services.now();
    let key = keys::update(call.by(), key.id, call.if_match()?, |key| {
        let mut before = KeyBody::of(key.clone());
        if changes.contains_key("expires_in") {
            before.expires_at = None;
        }
        patched::<KeyBody>(&before, &changes)?.apply(key, now)
    })
    .await?;
    Ok(record(StatusCode::OK, key.version, KeyView::from(key)))
}

pub async fn block(call: Call) -> Answer {
    set_blocked(call, true).await
}

pub async fn unblock(call: Call) -> Answer {
    set_blocked(call, false).await
}

async fn set_blocked(call: Call, blocked: bool) -> Answer {
    call.body::<Nothing>()?;
    let key = keys::get(&call.services, &call.actor, call.path("id")).await?;
    let if_match = call.if_match()?;
    let key = keys::set_blocked(call.by(), key.id, blocked, if_match).await?;
    Ok(record(StatusCode::OK, key.version, KeyView::from(key)))
}

pub async fn rotate(call: Call) -> Answer {
    let body: RotateBody = call.body()?;
    let grace = body.grace.map_or(0, |span| span.milliseconds());
    let key = keys::get(&call.services, &call.actor, call.path("id")).await?;
    let made = keys::rotate(call.by(), key.id, call.if_match()?, &Secret::Random, grace).await?;
    Ok(record(StatusCode::OK, made.key.version, KeyMade::from(made)))
}

pub async fn delete(call: Call) -> Answer {
    let key = keys::get(&call.services, &call.actor, call.path("id")).await?;
    keys::delete(call.by(), key.id, call.if_match()?).await?;
    Ok(axum::response::IntoResponse::into_response(StatusCode::NO_CONTENT))
}

/// A body that must be empty.
#[derive(Deserialize)]
struct Nothing {}

impl KeyBody {
    /// The writable fields of a key.
    fn of(key: Key) -> Self {
        Self {
            alias: key.alias,
            user: key.user,
            team: key.team,
            organization: key.organization,
            models: key.models,
            routes: key.routes,
            expires_at: key.expires_at.map(Moment),
            expires_in: None,
            blocked: key.blocked,
            tags: key.tags,
            metadata: key.metadata,
            limits: key.limits.into(),
            key: None,
            litellm_hash: None,
        }
    }

    fn apply(&self, key: &mut Key, now: i64) -> Result<(), ApiError> {
        if self.expires_at.is_some() && self.expires_in.is_some() {
            return Err(ApiError::invalid("expires_in", "can't be given with `expires_at`"));
        }
        let expires_in = self.expires_in.as_ref().map(|span| now + span.milliseconds());
        key.alias.clone_from(&self.alias);
        key.user.clone_from(&self.user);
        key.team.clone_from(&self.team);
        key.organization.clone_from(&self.organization);
        key.models.clone_from(&self.models);
        key.routes.clone_from(&self.routes);
        key.expires_at = self.expires_at.map(|moment| moment.0).or(expires_in);
        key.blocked = self.blocked;
        key.tags.clone_from(&self.tags);
        key.metadata.clone_from(&self.metadata);
        key.limits = self.limits.clone().into();
        Ok(())
    }
}

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            hint: key.hint.clone(),
            previous_until: key.previous.map(|previous| Moment(previous.until)),
            created_at: Moment(key.created_at),
            updated_at: Moment(key.updated_at),
            created_by: key.created_by.clone(),
            version: key.version,
            fields: KeyBody::of(key),
        }
    }
}

impl From<Made> for KeyMade {
    fn from(made: Made) -> Self {
        let key = made.text.map(|text| text.expose_secret().to_owned());
        Self { key, view: KeyView::from(made.key) }
    }
}
