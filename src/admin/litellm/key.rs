//! `/key/...`.

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::super::actor::{Permission, Scope};
use super::super::call::{Answer, By, Call, Ignored};
use super::super::error::ApiError;
use super::super::identify::{INFO_ROUTES, MANAGEMENT_ROUTES};
use super::super::input::hidden::Hidden;
use super::super::input::money::LaxUsd;
use super::super::input::patch::Field;
use super::super::input::time::Span;
use super::super::service::keys::{self, Made};
use super::super::service::record::create as make;
use super::super::service::secret::Secret;
use super::fields::{end, fields, keep};
use super::{rows, spend, told};
use crate::stores::records::{Key, User};
use crate::stores::{KeyFilter, Page};

/// Keys of a list, at most.
const MAX_SIZE: u32 = 500;
/// Keys that one request deletes, at most.
const MAX_DELETED: usize = 1000;

fields! {
    /// What one may say of a key, to make or to change it.
    pub struct KeyFields {
        /// Kept and given back; means nothing here.
        #[schema(value_type = Object)]
        aliases: Field<Map<String, Value>>,
        /// Kept and given back; means nothing here.
        #[schema(value_type = Object)]
        permissions: Field<Map<String, Value>>,
        /// Kept and given back; means nothing here.
        #[schema(value_type = Object)]
        config: Field<Map<String, Value>>,
        /// To make: the key's text, if it is not to be random. To change: the key, by text, `token` or id.
        key: Option<Hidden>,
        --
        key_alias: String,
        /// `30d`, or `-1` for ever.
        duration: String,
        user_id: String,
        team_id: String,
        organization_id: String,
        blocked: bool,
        allowed_routes: Vec<String>,
        /// `llm_api`, `management`, `read_only` or `default`: which routes it may use.
        key_type: String,
    }
}

/// How to replace a key's text.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Regenerate {
    /// The key, by text, `token` or id.
    key: Option<Hidden>,
    /// The new text, if it is not to be random.
    new_key: Option<Hidden>,
    /// How long the old text stays good. Absent: not at all.
    grace_period: Option<String>,
}

/// One key, by text, `token` or id.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OneKey {
    key: Hidden,
}

/// Several keys.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SomeKeys {
    /// By text, `token` or id.
    keys: Option<Vec<Hidden>>,
    key_aliases: Option<Vec<String>>,
}

/// The parameters of `/key/info`.
pub const INFO: &[(&str, &str)] =
    &[("key", "The key, by text, `token` or id. Absent: the one with which you ask.")];
/// The parameters of `/key/list`.
pub const LIST: &[(&str, &str)] = &[
    ("page", "From 1 on."),
    ("size", "Keys of a page; 10 unless given."),
    ("user_id", "Only keys of this user."),
    ("team_id", "Only keys of this team."),
    ("organization_id", "Only keys of this organization."),
    ("key_alias", "Only the key of this name."),
    ("key_hash", "Only the key of this `token`."),
    ("return_full_object", "Whether to give whole keys and not only their `token`."),
];

pub async fn generate(call: Call) -> Answer {
    let (body, mut ignored) = call.lenient_body::<KeyFields>()?;
    body.note_kept(&mut ignored);
    let secret = match &body.key {
        Some(Hidden(text)) if !text.expose_secret().is_empty() => Secret::Chosen(text.clone()),
        _ => Secret::Random,
    };
    let made = body.make(&call, call.by(), secret).await?;
    told(ignored, Value::Object(with_text(&made)))
}

pub async fn info(mut call: Call) -> Answer {
    let named = call.query.text("key");
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let key = match named {
        Some(named) => keys::find(&call.services, &call.actor, &named).await?,
        None => keys::own(&call.actor)?.clone(),
    };
    let mut row = spend::keys(&call.services, std::slice::from_ref(&key)).await?.pop();
    // Never the text, with which one may have asked.
    let token = row.as_mut().and_then(Value::as_object_mut).and_then(|row| row.remove("token"));
    told(ignored, json!({"key": token, "info": row}))
}

pub async fn list(mut call: Call) -> Answer {
    let page = call.query.number("page", 1, u32::MAX)?.unwrap_or(1);
    let size = call.query.number("size", 1, MAX_SIZE)?.unwrap_or(10);
    let hash = match call.query.text("key_hash") {
        Some(hex) => Some(
            crate::stores::records::KeyHash::from_hex(&hex)
                .ok_or_else(|| ApiError::invalid("key_hash", "must be 64 hexadecimal digits"))?,
        ),
        None => None,
    };
    let filter = KeyFilter {
        user: call.query.text("user_id"),
        team: call.query.text("team_id"),
        organization: call.query.text("organization_id"),
        alias: call.query.text("key_alias"),
        hash,
        ..KeyFilter::default()
    };
    let whole = call.query.flag("return_full_object")?.unwrap_or(false);
    let ignored = Ignored(call.query.ignored().map(str::to_owned).collect());
    let asked = Page::at(u64::from(page - 1) * u64::from(size), size);
    let paged = keys::list(&call.services, &call.actor, filter, &asked).await?;
    let items = if whole {
        spend::keys(&call.services, &paged.items).await?
    } else {
        paged.items.iter().map(|key| json!(key.hash.to_hex())).collect()
    };
    let body = json!({
        "keys": items,
        "total_count": paged.total,
        "current_page": page,
        "total_pages": paged.total.div_ceil(u64::from(size)),
    });
    told(ignored, body)
}

pub async fn update(call: Call) -> Answer {
    let (body, mut ignored) = call.lenient_body::<KeyFields>()?;
    body.note_kept(&mut ignored);
    let key = named(&call, body.key.as_ref()).await?;
    body.make_owner(&call).await?;
    let now = call.services.now();
    let edit = |key: &mut Key| body.apply(key, now);
    let key = keys::update(call.by(), key.id, None, edit).await?;
    let mut row = rows::key(&key);
    row.insert("key".to_owned(), json!(key.hash.to_hex()));
    told(ignored, Value::Object(row))
}

pub async fn delete(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<SomeKeys>()?;
    let (texts, aliases) = (body.keys.unwrap_or_default(), body.key_aliases.unwrap_or_default());
    if texts.is_empty() && aliases.is_empty() {
        return Err(ApiError::invalid("keys", "or `key_aliases` must name a key"));
    }
    if texts.len() + aliases.len() > MAX_DELETED {
        return Err(ApiError::invalid("keys", format!("must not be over {MAX_DELETED}")));
    }
    let mut found = Vec::new();
    for Hidden(text) in &texts {
        let named = text.expose_secret();
        found.push((named.to_owned(), keys::find(&call.services, &call.actor, named).await?));
    }
    for alias in aliases {
        let filter = KeyFilter { alias: Some(alias.clone()), ..KeyFilter::default() };
        let page = Page::at(0, 1);
        let key = keys::list(&call.services, &call.actor, filter, &page).await?.items.pop();
        found.push((alias, key.ok_or_else(|| ApiError::not_found("key"))?));
    }
    // First all are found and then all are deleted, so that a mistyped one costs none of the others.
    for (_, key) in &found {
        call.actor.demand(Permission::SeeKeys, Permission::ManageKeys, Scope::Key(key))?;
    }
    let mut deleted = Vec::new();
    for (named, key) in found {
        keys::delete(call.by(), key.id, None).await?;
        deleted.push(named);
    }
    told(ignored, json!({"deleted_keys": deleted}))
}

pub async fn block(call: Call) -> Answer {
    set_blocked(call, true).await
}

pub async fn unblock(call: Call) -> Answer {
    set_blocked(call, false).await
}

async fn set_blocked(call: Call, blocked: bool) -> Answer {
    let (body, ignored) = call.lenient_body::<OneKey>()?;
    let key = named(&call, Some(&body.key)).await?;
    let key = keys::set_blocked(call.by(), key.id, blocked, None).await?;
    told(ignored, Value::Object(rows::key(&key)))
}

pub async fn regenerate(call: Call) -> Answer {
    let (body, ignored) = call.lenient_body::<Regenerate>()?;
    // What else is said of the key is changed at the same time.
    let (fields, ignored_too) = call.lenient_body::<KeyFields>()?;
    let ignored =
        Ignored(ignored.0.into_iter().filter(|name| ignored_too.0.contains(name)).collect());
    let key = match call.path("key") {
        "" => named(&call, body.key.as_ref()).await?,
        named => keys::find(&call.services, &call.actor, named).await?,
    };
    let grace = match body.grace_period.as_deref() {
        None | Some("") => 0,
        Some(text) => Span::parse(text)
            .ok_or_else(|| ApiError::invalid("grace_period", "must be a span such as 24h or 2d"))?
            .milliseconds(),
    };
    let secret = match body.new_key {
        Some(Hidden(text)) => Secret::Chosen(text),
        None => Secret::Random,
    };
    let now = call.services.now();
    let mut edited = key.clone();
    fields.apply(&mut edited, now)?;
    if edited != key {
        let edit = |key: &mut Key| fields.apply(key, now);
        keys::update(call.by(), key.id, None, edit).await?;
    }
    let made = keys::rotate(call.by(), key.id, None, &secret, grace).await?;
    told(ignored, Value::Object(with_text(&made)))
}

/// The key that a body names.
async fn named(call: &Call, key: Option<&Hidden>) -> Result<Key, ApiError> {
    let Some(Hidden(text)) = key else { return Err(ApiError::invalid("key", "is required")) };
    keys::find(&call.services, &call.actor, text.expose_secret()).await
}

/// A row with the text that is shown once.
fn with_text(made: &Made) -> Map<String, Value> {
    let mut row = rows::key(&made.key);
    let token = made.key.hash.to_hex();
    row.insert("key".to_owned(), json!(made.text.as_ref().map(ExposeSecret::expose_secret)));
    row.insert("token_id".to_owned(), json!(token));
    row
}

impl KeyFields {
    /// A key of this user, of which nothing else is said than how long it lasts.
    pub fn for_user(user: &str, key_alias: Field<String>, duration: Field<String>) -> Self {
        Self { key_alias, duration, user_id: Field::Value(user.to_owned()), ..Self::default() }
    }

    /// Makes the key.
    pub async fn make(&self, call: &Call, by: By<'_>, secret: Secret) -> Result<Made, ApiError> {
        self.make_owner(call).await?;
        let now = call.services.now();
        keys::create(by, secret, |key: &mut Key| self.apply(key, now)).await
    }

    /// LiteLLM's keys may name users that nobody has stored; so that they can here, they are stored.
    async fn make_owner(&self, call: &Call) -> Result<(), ApiError> {
        let Field::Value(user) = &self.user_id else { return Ok(()) };
        let (services, actor) = (&call.services, &call.actor);
        if !actor.may(Permission::ManageUsers, Scope::All)
            || services.store()?.user(user).await?.is_some()
        {
            return Ok(());
        }
        let part = call.act.part("users.create");
        make::<User>(call.by().doing(&part), Some(user.clone()), |_| Ok(())).await?;
        Ok(())
    }

    fn apply(&self, key: &mut Key, now: i64) -> Result<(), ApiError> {
        let text = |field: &Field<String>, before: &Option<String>| match field {
            // Empty is absent: forms send it so.
            Field::Value(text) if text.is_empty() => None,
            field => field.clone().over(before.clone()),
        };
        key.alias = text(&self.key_alias, &key.alias);
        key.user = text(&self.user_id, &key.user);
        key.team = text(&self.team_id, &key.team);
        key.organization = text(&self.organization_id, &key.organization);
        self.blocked.set(&mut key.blocked);
        match &self.duration {
            Field::Absent => {}
            Field::Null => key.expires_at = None,
            Field::Value(duration) => key.expires_at = end(duration, now)?,
        }
        self.allowed_routes.clone().set(&mut key.routes);
        if let Field::Value(kind) = &self.key_type
            && !matches!(&self.allowed_routes, Field::Value(routes) if !routes.is_empty())
        {
            key.routes = routes_of(kind)?;
        }
        for (name, field) in [
            ("aliases", &self.aliases),
            ("permissions", &self.permissions),
            ("config", &self.config),
        ] {
            keep(&mut key.metadata, name, field);
        }
        self.apply_common(&mut key.models, &mut key.tags, &mut key.metadata, &mut key.limits)
    }

    /// What is kept without meaning anything is told like what is ignored.
    fn note_kept(&self, ignored: &mut Ignored) {
        for (name, field) in [
            ("aliases", &self.aliases),
            ("permissions", &self.permissions),
            ("config", &self.config),
        ] {
            if matches!(field, Field::Value(map) if !map.is_empty()) {
                ignored.0.push(name.to_owned());
            }
        }
    }
}

/// The routes of LiteLLM's kinds of keys.
fn routes_of(kind: &str) -> Result<Vec<String>, ApiError> {
    let one = |route: &str| Ok(vec![route.to_owned()]);
    match kind {
        "default" => Ok(Vec::new()),
        "llm_api" => one("llm_api_routes"),
        "management" => one(MANAGEMENT_ROUTES),
        "read_only" => one(INFO_ROUTES),
        _ => Err(ApiError::invalid(
            "key_type",
            "must be one of `llm_api`, `management`, `read_only`, `default`",
        )),
    }
}
