//! Callers and resources as Cedar entities.
//!
//! What a policy can reach from the principal, the action and the resource of a question is all there;
//! what it cannot reach is not. That no policy looks elsewhere is checked when policies are read.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};

use super::ask::{Action, Resource};
use super::world::Target;
use crate::caller::{Caller, CallerKind, Claim};

/// The principal of callers without a credential.
const ANONYMOUS: &str = "anonymous";
/// The principal of whoever holds the master key.
const MASTER: &str = "master";
/// The role that the master key brings with it.
pub const PROXY_ADMIN: &str = "proxy_admin";

/// Where a principal or a resource stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) uid: EntityUid,
    /// All that it is in, however far up.
    pub(super) within: HashSet<EntityUid>,
}

impl Place {
    /// Whether it is `other`, or in it.
    pub(super) fn is_in(&self, other: &EntityUid) -> bool {
        self.uid == *other || self.within.contains(other)
    }
}

/// A caller who is no principal. Whatever the policies say, they may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPrincipal {
    #[error("the credential names neither a user nor a key")]
    Nameless,
    #[error("the credential names the user `anonymous` or `master`, which are the gateway's own")]
    Reserved,
}

/// Where the caller stands as a principal.
pub(super) fn principal(caller: &Caller) -> Result<Place, NoPrincipal> {
    let names = &*NAMES;
    let user = caller.user().filter(|user| !user.is_empty());
    let uid = match (caller.kind(), user, key(caller)) {
        (CallerKind::Anonymous, ..) => uid(&names.user, ANONYMOUS),
        (CallerKind::Master, ..) => uid(&names.user, MASTER),
        // Else a token of an issuer who lets users choose their names could be as good as the master
        // key.
        (_, Some(ANONYMOUS | MASTER), _) => return Err(NoPrincipal::Reserved),
        (_, Some(user), _) => uid(&names.user, user),
        (_, None, Some(key)) => key,
        (_, None, None) => return Err(NoPrincipal::Nameless),
    };
    let roles = roles(caller).into_iter().map(|role| self::uid(&names.role, role));
    let within = roles.chain(team(caller)).chain(organization(caller)).collect();
    Ok(Place { uid, within })
}

/// The principal and all that it leads to. This is the larger part of what is known of a caller.
pub(super) fn around(principal: &Place, caller: &Caller) -> Vec<Entity> {
    let (key, team, organization) = (key(caller), team(caller), organization(caller));
    let bearer = |bearer: &EntityUid| {
        let mut attributes = attributes([
            ("id", text(bearer.id().unescaped())),
            ("kind", text(caller.kind().name())),
            ("roles", texts(roles(caller).into_iter())),
            ("tags", texts(caller.tags().iter().map(String::as_str))),
        ]);
        for (name, uid) in [("team", &team), ("organization", &organization), ("key", &key)] {
            let reference = uid.clone().map(RestrictedExpression::new_entity_uid);
            attributes.extend(reference.map(|reference| (name.to_owned(), reference)));
        }
        let claims = caller.claims().iter().map(|(name, claim)| (name.clone(), of_claim(claim)));
        entity(bearer, attributes, principal.within.clone(), claims)
    };
    let mut entities = vec![bearer(&principal.uid)];
    entities.extend(key.iter().filter(|key| **key != principal.uid).map(bearer));
    entities.extend(principal.within.iter().map(|uid| {
        let above = if Some(uid) == team.as_ref() { organization.clone() } else { None };
        Entity::new_no_attrs(uid.clone(), above.into_iter().collect())
    }));
    entities
}

fn key(caller: &Caller) -> Option<EntityUid> {
    caller.key().map(|key| uid(&NAMES.key, &key.id.to_string()))
}

fn team(caller: &Caller) -> Option<EntityUid> {
    caller.team().map(|team| uid(&NAMES.team, team))
}

fn organization(caller: &Caller) -> Option<EntityUid> {
    caller.organization().map(|organization| uid(&NAMES.organization, organization))
}

fn roles(caller: &Caller) -> HashSet<&str> {
    let admin = (caller.kind() == CallerKind::Master).then_some(PROXY_ADMIN);
    caller.roles().iter().map(String::as_str).chain(admin).collect()
}

/// Where a resource stands, with all that it leads to. A model's `targets` are where its requests go:
/// none, if it is not configured.
pub(super) fn resource(resource: Resource<'_>, targets: &[Target]) -> (Place, Vec<Entity>) {
    let names = &*NAMES;
    let name = ("name", text(resource.name()));
    let (uid, attributes, within) = match resource {
        Resource::Model(model) => {
            let providers = targets.iter().map(|target| uid(&names.provider, &target.provider));
            let attributes = attributes([
                name,
                ("providers", texts(targets.iter().map(|target| &*target.provider))),
                ("dialects", texts(targets.iter().map(|target| &*target.dialect))),
            ]);
            (uid(&names.model, model), attributes, providers.collect())
        }
        Resource::Tool { server, name: tool } => {
            let server = uid(&names.server, server);
            let reference = RestrictedExpression::new_entity_uid(server.clone());
            let attributes = attributes([name, ("server", reference)]);
            (uid(&names.tool, tool), attributes, HashSet::from([server]))
        }
        Resource::Agent(agent) => (uid(&names.agent, agent), attributes([name]), HashSet::new()),
    };
    let mut entities = vec![entity(&uid, attributes, within.clone(), [])];
    entities.extend(within.iter().cloned().map(Entity::with_uid));
    (Place { uid, within }, entities)
}

/// The arguments of a call as an entity.
pub(super) fn arguments(tags: Vec<(String, RestrictedExpression)>) -> Entity {
    entity(&arguments_uid(), HashMap::new(), HashSet::new(), tags)
}

/// The name of the arguments of a call. There is one call to a question, so they need no other.
pub(super) fn arguments_uid() -> EntityUid {
    uid(&NAMES.arguments, "")
}

/// The name of an action.
pub(super) fn action(action: Action) -> EntityUid {
    uid(&NAMES.action, action.name())
}

/// The entity types of the schema that the gateway makes entities of.
struct Names {
    user: EntityTypeName,
    key: EntityTypeName,
    team: EntityTypeName,
    organization: EntityTypeName,
    role: EntityTypeName,
    provider: EntityTypeName,
    model: EntityTypeName,
    server: EntityTypeName,
    tool: EntityTypeName,
    agent: EntityTypeName,
    action: EntityTypeName,
    arguments: EntityTypeName,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constants, and every decision uses them")]
    let name = |name: &str| name.parse().expect("a plain word is a type's name");
    Names {
        user: name("User"),
        key: name("Key"),
        team: name("Team"),
        organization: name("Organization"),
        role: name("Role"),
        provider: name("Provider"),
        model: name("Model"),
        server: name("Server"),
        tool: name("Tool"),
        agent: name("Agent"),
        action: name("Action"),
        arguments: name("Arguments"),
    }
});

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}

fn entity(
    uid: &EntityUid,
    attributes: HashMap<String, RestrictedExpression>,
    within: HashSet<EntityUid>,
    tags: impl IntoIterator<Item = (String, RestrictedExpression)>,
) -> Entity {
    let made = Entity::new_with_tags(uid.clone(), attributes, within, tags);
    // Only the evaluation of a function of an extension can fail, and there is none.
    made.unwrap_or_else(|_| Entity::with_uid(uid.clone()))
}

fn attributes<const N: usize>(
    attributes: [(&str, RestrictedExpression); N],
) -> HashMap<String, RestrictedExpression> {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn texts<'t>(list: impl Iterator<Item = &'t str>) -> RestrictedExpression {
    RestrictedExpression::new_set(list.map(text))
}

/// A claim as a set of texts: a tag has one type, whatever the claim.
fn of_claim(claim: &Claim) -> RestrictedExpression {
    match claim {
        Claim::Text(value) => texts(std::iter::once(value.as_str())),
        Claim::Number(value) => texts(std::iter::once(value.to_string().as_str())),
        Claim::Flag(value) => texts(std::iter::once(if *value { "true" } else { "false" })),
        Claim::Texts(values) => texts(values.iter().map(String::as_str)),
    }
}
