//! `auth` and `admin`: the master key, the keys' pepper and JSON Web Tokens.

use super::Migration;
use super::at::At;
use super::variables::{self, Holds, looks_secret};
use super::yaml::{Map, Yaml};
use crate::config;

/// LiteLLM's claims with ours.
const CLAIMS: [(&str, &str); 4] = [
    ("user_id_jwt_field", "user"),
    ("team_id_jwt_field", "team"),
    ("org_id_jwt_field", "organization"),
    ("roles_jwt_field", "roles"),
];

/// Makes `auth` and `admin`.
pub(super) fn access(migration: &mut Migration<'_>, has_store: bool) -> (Map, Map) {
    let mut auth = Map::default();
    if has_store {
        let meaning = "what keys are hashed with: at least 32 random bytes, as `sluicegate keys \
                       generate-master` prints them, and not the master key";
        let name = migration.variables.fresh("SLUICEGATE_KEY_PEPPER", Holds::Pepper, meaning);
        let mut keys = Map::default();
        keys.text("pepper", format!("env:{name}"));
        auth.put("keys", Yaml::Map(keys));
    }
    let issuer = issuer(migration);
    if !issuer.is_empty() {
        auth.put("jwt", Yaml::List(vec![Yaml::Map(issuer)]));
    }
    let mut admin = Map::default();
    admin.text("master_key", format!("env:{}", master_key(migration)));
    (auth, admin)
}

/// The variable of the master key. Without one LiteLLM lets everybody in; the gateway does not.
fn master_key(migration: &mut Migration<'_>) -> String {
    const TO: &str = "admin.master_key";
    let meaning = "the administrator's key; production wants 256 bits, as `sluicegate keys \
                   generate-master` prints them";
    let at = migration.in_section("general_settings", "master_key");
    let Some(at) = at else {
        let message = "is not named; without one LiteLLM lets everybody in, and the gateway nobody";
        let action = "set LITELLM_MASTER_KEY, or `auth.anonymous: true` outside production";
        migration.accounts.absent("general_settings.master_key", message, action);
        return migration.variables.named("LITELLM_MASTER_KEY", Holds::MasterKey, meaning);
    };
    let text = at.text().unwrap_or_default();
    if let Some(name) = variables::reference(text) {
        let found = migration.variables.named(name, Holds::MasterKey, meaning);
        if found == name {
            migration.accounts.carried(&at, TO);
        } else {
            let action = format!("set {found} to the master key");
            let message = "its variable holds something else already";
            migration.accounts.changed(&at, TO, message, action.as_str());
        }
        return found;
    }
    let name = migration.variables.fresh("SLUICEGATE_MASTER_KEY", Holds::MasterKey, meaning);
    let action = format!("set {name}; a new key is better than one that stood in a file");
    let message = "a secret does not stand in the file";
    migration.accounts.changed(&at, TO, message, action.as_str());
    name
}

/// Whose tokens are trusted. LiteLLM has that in the environment, the rest in `litellm_jwtauth`
/// (<https://docs.litellm.ai/docs/proxy/token_auth>).
fn issuer(migration: &mut Migration<'_>) -> Map {
    let mut issuer = Map::default();
    let enabled = migration.in_section("general_settings", "enable_jwt_auth");
    let settings = migration.in_section("general_settings", "litellm_jwtauth");
    let Some(enabled) = enabled.filter(|at| {
        let on = at.boolean() == Some(true);
        if !on {
            migration.accounts.not_needed(at, "switched off");
            if let Some(settings) = &settings {
                migration
                    .accounts
                    .not_needed(settings, "without `enable_jwt_auth`, it has no effect");
            }
        }
        on
    }) else {
        return issuer;
    };
    let message = "an issuer is named, and a token must be for this gateway";
    let action = "see that `issuer` is the tokens' `iss`, and `audience` one of their `aud` \
                  (docs/jwt.md)";
    migration.accounts.changed(&enabled, "auth.jwt", message, action);
    let text = |migration: &mut Migration<'_>, name: &str, holds, meaning: &str| {
        let variable = migration.variables.named(name, holds, meaning);
        Yaml::Plain(format!("${{{variable}}}"))
    };
    let name = text(migration, "JWT_ISSUER", Holds::Text, "the `iss` of the tokens, exactly");
    issuer.put("issuer", name);
    let meaning = "what the tokens' `aud` must name";
    let audience = text(migration, "JWT_AUDIENCE", Holds::Text, meaning);
    issuer.put("audience", Yaml::List(vec![audience]));
    let url = keys_url(migration);
    issuer.put("jwks_url", url);
    let mut claims = Map::default();
    for (theirs, ours) in CLAIMS {
        let Some(at) = settings.as_ref().and_then(|settings| settings.get(theirs)) else {
            continue;
        };
        let path = at.text().filter(|path| {
            let dots = path.bytes().filter(|byte| *byte == b'.').count();
            path.len() <= 100
                && dots <= 4
                && path.bytes().all(|byte| byte.is_ascii_graphic())
                && !variables::is_reference(path)
                && !looks_secret(path)
        });
        match path {
            Some(path) => {
                claims.text(ours, path);
                migration.accounts.carried(&at, format!("auth.jwt[0].claims.{ours}"));
            }
            None => {
                let action = "write `auth.jwt[0].claims` (docs/jwt.md)";
                migration.accounts.no_equal(&at, "is no claim's name", action);
            }
        }
    }
    issuer.some("claims", Yaml::Map(claims));
    issuer
}

/// Where the issuer's keys are: what `environment_variables` says, or a variable.
fn keys_url(migration: &mut Migration<'_>) -> Yaml {
    let at: Option<At<'_>> = migration.in_section("environment_variables", "JWT_PUBLIC_KEY_URL");
    if let Some(at) = at
        && let Some(url) = at.text()
        && config::parse_base_url(url).is_ok_and(|base| base.tls)
    {
        migration.accounts.carried(&at, "auth.jwt[0].jwks_url");
        return Yaml::Text(url.to_owned());
    }
    let meaning = "the URL of the issuer's keys; one of them where LiteLLM has several";
    let name = migration.variables.named("JWT_PUBLIC_KEY_URL", Holds::KeysUrl, meaning);
    Yaml::Plain(format!("${{{name}}}"))
}
