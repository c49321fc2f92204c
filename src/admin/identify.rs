//! From a request to an [`Actor`].

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};
use sluicegate_filters::caller::{Caller, CallerKind};
use sluicegate_filters::denial::{Denial, DenialKind};

use super::actor::{Actor, Reach, Standing};
use super::error::ApiError;
use super::services::Services;
use crate::config::valid::Environment;
use crate::stores::records::{Key, MemberRole, UserRole};
use crate::stores::{Page, TeamFilter};

/// Teams of one user that are looked at.
const TEAMS: u32 = 1000;

/// The word of LiteLLM's for the routes of this listener, in a key's list of routes.
pub const MANAGEMENT_ROUTES: &str = "management_routes";
/// The same for those that only show something.
pub const INFO_ROUTES: &str = "info_routes";

/// Finds out who sends a request from `peer`.
///
/// # Errors
/// 401, 403, 429 with `retry_after` after too many wrong credentials, 503.
pub async fn actor(
    services: &Services,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<Actor, ApiError> {
    if let Some(seconds) = services.backoff.refused_for(peer, services.now()) {
        let message = "Too many wrong credentials came from your address.";
        let mut error =
            ApiError::new(http::StatusCode::TOO_MANY_REQUESTS, "too_many_failures", message);
        error.retry_after = Some(seconds);
        return Err(error);
    }
    let identified = services.identity.identify(headers, peer).await;
    let nobody = match &identified {
        Ok(caller) => caller.kind() == CallerKind::Anonymous,
        Err(denial) => denial.kind() == DenialKind::MissingApiKey,
    };
    if nobody && open(services, headers, peer) {
        let id = "local".to_owned();
        return Ok(Actor { id, standing: Standing::Master, key: None, caller: None });
    }
    match identified {
        Ok(caller) if caller.kind() == CallerKind::Anonymous => {
            // Where the proxy lets everybody in, a wrong credential looks like none.
            if carries_credential(headers) {
                services.backoff.failed(peer, services.now());
            }
            Err(Denial::new(
                DenialKind::MissingApiKey,
                "the admin API wants a key: send Authorization: Bearer",
            )
            .into())
        }
        Ok(caller) => {
            let actor = derive(services, caller).await?;
            services.backoff.succeeded(peer);
            Ok(actor)
        }
        Err(denial) => {
            if matches!(denial.kind(), DenialKind::InvalidApiKey | DenialKind::ApiKeyExpired) {
                services.backoff.failed(peer, services.now());
            }
            Err(denial.into())
        }
    }
}

/// Whether no credential is needed: in development, without a master key, from this machine, and not by
/// a web page that happens to be open on it.
fn open(services: &Services, headers: &HeaderMap, peer: IpAddr) -> bool {
    let config = &services.gateway.current().config;
    config.environment == Environment::Development
        && config.admin.master_key.is_none()
        && peer.to_canonical().is_loopback()
        // A page says where it is from when it changes something; and a name that is made to lead to
        // this machine (DNS rebinding) is no name of this machine.
        && !headers.contains_key(ORIGIN)
        && headers.get(HOST).is_some_and(|host| is_local(host.as_bytes()))
}

fn is_local(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn carries_credential(headers: &HeaderMap) -> bool {
    let names = ["authorization", "x-api-key", "api-key"].map(HeaderName::from_static);
    names.iter().any(|name| headers.contains_key(name))
}

async fn derive(services: &Services, caller: Arc<Caller>) -> Result<Actor, ApiError> {
    match caller.kind() {
        CallerKind::Key => of_key(services, caller).await,
        CallerKind::Token => of_token(services, caller).await,
        CallerKind::Master => Ok(Actor {
            id: "master".to_owned(),
            standing: Standing::Master,
            key: None,
            caller: Some(caller),
        }),
        CallerKind::Anonymous => Err(ApiError::internal()),
    }
}

async fn of_key(services: &Services, caller: Arc<Caller>) -> Result<Actor, ApiError> {
    let gone = || Denial::new(DenialKind::InvalidApiKey, "the API key is not valid");
    let id = caller.key().map(|key| key.id).ok_or_else(gone)?;
    let key = services.store()?.key(id).await?.ok_or_else(gone)?;
    // What is remembered of credentials may be a moment old; what administers should not be.
    if key.blocked {
        return Err(Denial::new(DenialKind::ApiKeyBlocked, "the API key is blocked").into());
    }
    let mut standing = match key.user.as_deref() {
        Some(user) => of_user(services, user, key.team.as_deref()).await?,
        None => Standing::Limited(Reach { bound_to: key.team.clone(), ..Reach::default() }),
    };
    standing = match routes(&key) {
        Routes::All => standing,
        Routes::Info => only_seeing(standing),
        // Such a key is for calling models. It may still see itself.
        Routes::None => Standing::Limited(Reach::default()),
    };
    let id = match (&standing, &key.user) {
        (Standing::Limited(Reach { user: None, .. }), _) | (_, None) => format!("key:{id}"),
        (_, Some(user)) => format!("user:{user}"),
    };
    Ok(Actor { id, standing, key: Some(Arc::new(key)), caller: Some(caller) })
}

/// What the stored user may do, with a key of `team` if it is one.
async fn of_user(
    services: &Services,
    user: &str,
    team: Option<&str>,
) -> Result<Standing, ApiError> {
    let stored = services.store()?.user(user).await?;
    if stored.as_ref().is_some_and(|stored| stored.blocked) {
        return Err(Denial::new(DenialKind::ApiKeyBlocked, "the user is blocked").into());
    }
    let role = stored.map(|stored| stored.role);
    match role {
        Some(UserRole::ProxyAdmin) if team.is_none() => return Ok(Standing::Admin),
        Some(UserRole::ProxyAdminViewer) if team.is_none() => return Ok(Standing::Viewer),
        _ => {}
    }
    let filter = TeamFilter {
        member: Some(user.to_owned()),
        within: team.map(|team| vec![team.to_owned()]),
        ..TeamFilter::default()
    };
    let teams = services.store()?.teams(&filter, &Page::at(0, TEAMS)).await?.items;
    let mut reach = Reach {
        user: Some(user.to_owned()),
        makes_keys: matches!(role, Some(UserRole::InternalUser | UserRole::ProxyAdmin)),
        bound_to: team.map(str::to_owned),
        ..Reach::default()
    };
    for team in teams.into_iter().filter(|team| !team.blocked) {
        let administers = team
            .members
            .iter()
            .any(|member| member.user == user && member.role == MemberRole::Admin);
        if administers {
            reach.administers.push(team.id.clone());
        }
        reach.member_of.push(team.id);
    }
    Ok(Standing::Limited(reach))
}

async fn of_token(services: &Services, caller: Arc<Caller>) -> Result<Actor, ApiError> {
    let roles = &services.roles;
    let has = |wanted: &[String]| wanted.iter().any(|role| caller.has_role(role));
    let stored = match caller.user() {
        Some(user) => of_user(services, user, None).await?,
        None => Standing::Limited(Reach::default()),
    };
    let standing = match stored {
        Standing::Admin => Standing::Admin,
        _ if has(&roles.admin) => Standing::Admin,
        Standing::Viewer => Standing::Viewer,
        _ if has(&roles.viewer) => Standing::Viewer,
        Standing::Limited(mut reach) => {
            if let Some(team) = caller.team() {
                reach.bound_to = Some(team.to_owned());
                if has(&roles.team_admin) && services.store()?.team(team).await?.is_some() {
                    reach.administers.push(team.to_owned());
                    reach.member_of.push(team.to_owned());
                }
            }
            Standing::Limited(reach)
        }
        Standing::Master => return Err(ApiError::internal()),
    };
    let id = caller.user().map_or_else(|| "token".to_owned(), |user| format!("user:{user}"));
    Ok(Actor { id, standing, key: None, caller: Some(caller) })
}

/// Which routes of this listener a key may use.
enum Routes {
    All,
    Info,
    None,
}

/// A key that names routes is for these only. LiteLLM's words for this listener's count; the words and
/// paths that are about models say nothing of it.
fn routes(key: &Key) -> Routes {
    let names = |word: &str| key.routes.iter().any(|route| route == word);
    if key.routes.is_empty() || names(MANAGEMENT_ROUTES) || names("*") {
        Routes::All
    } else if names(INFO_ROUTES) {
        Routes::Info
    } else {
        Routes::None
    }
}

fn only_seeing(standing: Standing) -> Standing {
    match standing {
        Standing::Master | Standing::Admin | Standing::Viewer => Standing::Viewer,
        Standing::Limited(reach) => Standing::Limited(Reach {
            makes_keys: false,
            // A team's administrator sees all the team's keys, by a right that can also change them.
            administers: Vec::new(),
            ..reach
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in
            ["localhost", "LOCALHOST:8081", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:80"]
        {
            assert!(is_local(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            "x",
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1:80",
            "127.0.0.1.nip.io:80",
        ] {
            assert!(!is_local(host.as_bytes()), "{host}");
        }
    }
}
