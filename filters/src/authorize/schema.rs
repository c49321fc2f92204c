//! The schema: what policies may speak of.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Entities, Entity, Request, Schema};
use uuid::Uuid;

use super::arguments;
use super::ask::{Action, Facts, Resource};
use super::context::context;
use super::entities::{self, Place};
use super::policies::Source;
use super::problem::{Problem, problem};
use super::split::{Lines, MAX_NESTING, nesting};
use super::uses::Uses;
use super::world::Target;
use crate::caller::{Bearer, Caller, CallerKind, Claim, KeyIdentity};

/// The text of the built-in schema.
pub const BUILT_IN: &str = include_str!("../../../policies/schema.cedarschema");

/// Bytes of a schema, at most.
pub const MAX_BYTES: usize = 256 * 1024;

/// The built-in schema.
pub(super) fn built_in() -> Arc<Schema> {
    static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
        let schema = Schema::from_cedarschema_str(BUILT_IN);
        #[expect(clippy::expect_used, reason = "a constant, and every test of policies reads it")]
        let (schema, _) = schema.expect("the built-in schema is a schema");
        Arc::new(schema)
    });
    SCHEMA.clone()
}

/// A schema in place of the built-in one.
///
/// # Errors
/// It is no schema, or the gateway says things of a request that are not in it.
pub(super) fn custom(source: Source<'_>) -> Result<Arc<Schema>, Vec<Problem>> {
    let lines = Lines::new(source.text);
    if source.text.len() > MAX_BYTES || nesting(source.text) > MAX_NESTING {
        let message =
            "the schema is longer than 256 KiB, or its brackets are nested more than 32 deep";
        return Err(vec![problem(source.file, &lines, 0, message, None)]);
    }
    let schema = match Schema::from_cedarschema_str(source.text) {
        Ok((schema, _)) => schema,
        Err(error) => {
            let error = DetailedError::from(&error);
            let at = error.source_locations.first().map_or(0, |label| label.loc.start);
            return Err(vec![problem(source.file, &lines, at, &error.message, error.help)]);
        }
    };
    let lacks = misfits(&schema);
    if lacks.is_empty() {
        return Ok(Arc::new(schema));
    }
    let told = lacks.into_iter().map(|lack| {
        let message = format!("the schema does not fit what the gateway asks: {lack}");
        let help =
            "start from the built-in schema and only add to it, nothing that a request needs";
        problem(source.file, &lines, 0, &message, Some(help.to_owned()))
    });
    Err(told.collect())
}

/// What the schema has against questions with as much in them as there can be, and as little.
fn misfits(schema: &Schema) -> Vec<String> {
    let mut misfits = Vec::new();
    let principals = principals();
    let resources = resources();
    let around = principals.iter().map(|(_, around)| around);
    let around = around.chain(resources.iter().map(|(.., around)| around));
    let mut groups: Vec<_> = around.cloned().collect();
    let call = serde_json::json!({"one": "a", "several": ["a", "b"], "none": null});
    groups.extend(arguments::tags(Some(&call)).ok().map(|tags| vec![entities::arguments(tags)]));
    for entities in groups {
        if let Err(error) = Entities::from_entities(entities, Some(schema)) {
            misfits.push(words(&error));
        }
    }
    // Whether an action applies is a matter of types, so one of each does.
    let mut types: Vec<_> = principals.iter().map(|(principal, _)| principal).collect();
    types.sort_by_key(|principal| principal.uid.type_name());
    types.dedup_by_key(|principal| principal.uid.type_name());
    for &action in Action::ALL {
        let kind = action.resource_kind();
        let Some((_, resource, _)) = resources.iter().find(|(name, ..)| name.kind() == kind) else {
            continue;
        };
        for principal in &types {
            for facts in [facts(None), facts(Some(1))] {
                misfits.extend(refused(schema, principal, action, resource, &facts).err());
            }
        }
    }
    misfits.sort();
    misfits.dedup();
    misfits
}

fn refused(
    schema: &Schema,
    principal: &Place,
    action: Action,
    resource: &Place,
    facts: &Facts,
) -> Result<(), String> {
    let context = context("production", action, facts, Uses::ALL)?;
    let (principal, resource) = (principal.uid.clone(), resource.uid.clone());
    let action = entities::action(action);
    let asked = Request::new(principal, action, resource, context, Some(schema));
    asked.map(drop).map_err(|error| words(&error))
}

/// Callers of every kind, with everything that can be known of one and with nothing.
fn principals() -> Vec<(Place, Vec<Entity>)> {
    let name = || Some("name".to_owned());
    let key = KeyIdentity { id: Uuid::nil(), alias: name() };
    let claims = [
        ("text", Claim::Text("a".to_owned())),
        ("texts", Claim::Texts(vec!["a".to_owned(), "b".to_owned()])),
        ("none", Claim::Texts(Vec::new())),
        ("number", Claim::Number(1)),
        ("flag", Claim::Flag(true)),
    ];
    let full = Bearer {
        key: Some(key.clone()),
        user: name(),
        team: name(),
        organization: name(),
        roles: vec!["a".to_owned(), "b".to_owned()],
        tags: vec!["a".to_owned()],
        claims: claims.into_iter().map(|(name, claim)| (name.to_owned(), claim)).collect(),
        ..Bearer::default()
    };
    let bare_key = Bearer { key: Some(key), ..Bearer::default() };
    let callers = [
        (CallerKind::Anonymous, Bearer::default()),
        (CallerKind::Master, Bearer::default()),
        (CallerKind::Token, Bearer { user: name(), ..Bearer::default() }),
        (CallerKind::Token, Bearer { key: None, ..full.clone() }),
        (CallerKind::Key, bare_key.clone()),
        (CallerKind::Key, Bearer { user: name(), ..bare_key }),
        (CallerKind::Key, Bearer { user: None, claims: BTreeMap::new(), ..full.clone() }),
        (CallerKind::Key, full),
    ];
    let callers = callers.into_iter().map(|(kind, bearer)| Caller::new(kind, bearer));
    let placed = callers.filter_map(|caller| {
        let principal = entities::principal(&caller).ok()?;
        let around = entities::around(&principal, &caller);
        Some((principal, around))
    });
    placed.collect()
}

fn resources() -> Vec<(Resource<'static>, Place, Vec<Entity>)> {
    let target = Target { provider: "provider".to_owned(), dialect: "dialect".to_owned() };
    let model = Resource::Model("model");
    let tool = Resource::Tool { server: "server", name: "tool" };
    let agent = Resource::Agent("agent");
    let all = [(model, &[][..]), (model, &[target][..]), (tool, &[]), (agent, &[])];
    let placed = all.into_iter().map(|(name, targets)| {
        let (place, around) = entities::resource(name, targets);
        (name, place, around)
    });
    placed.collect()
}

fn facts(estimated_cost: Option<u64>) -> Facts {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Facts { ip, stream: false, estimated_tokens: 1, estimated_cost, now_ms: 0 }
}

/// Cedar's words, with the reasons behind them.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words += &format!(": {error}");
        source = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom_text(text: &str) -> Result<Arc<Schema>, Vec<Problem>> {
        custom(Source { file: "schema.cedarschema", text })
    }

    fn refusals(text: &str) -> String {
        let problems = custom_text(text).err().unwrap_or_default();
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn the_built_in_schema_describes_all_that_the_gateway_asks() {
        assert_eq!(misfits(&built_in()), Vec::<String>::new());
        custom_text(BUILT_IN).expect("a copy is as good");
    }

    #[test]
    fn a_schema_may_add_what_no_request_needs() {
        let more =
            BUILT_IN.replace("entity Role;", "entity Role;\nentity Region in [Organization];");
        let more = more.replace("stream: Bool,", "stream: Bool,\n  region?: Region,");
        custom_text(&more).expect("only additions");
    }

    #[test]
    fn a_schema_that_lacks_or_asks_for_something_is_refused() {
        for (from, to, says) in [
            ("  dialects: Set<String>,\n", "", "dialects"),
            ("  team?: Team,\n", "  team: Team,\n", "team"),
            ("  name: String,\n", "  name: String, region: String,\n", "region"),
            ("  stream: Bool,\n", "", "stream"),
            ("  hour: Long,\n", "  hour: String,\n", "hour"),
            ("[User, Key], resource: [Agent]", "[User], resource: [Agent]", "Key"),
            ("tags Set<String>", "tags String", "tag"),
            ("entity Arguments tags Set<String>", "entity Arguments", "Arguments"),
            ("entity Role;", "entity Role enum [\"admin\"];", "Role"),
            ("action call_tool", "action call_tools", "call_tool"),
            ("entity User in [Team, Role, Organization]", "entity User in [Role]", "User"),
        ] {
            assert!(BUILT_IN.contains(from), "{from}");
            let told = refusals(&BUILT_IN.replace(from, to));
            assert!(told.contains(says) && told.contains("does not fit"), "{from} -> {to}: {told}");
        }
    }

    #[test]
    fn a_mistake_in_a_schema_has_its_place() {
        let told = refusals(&BUILT_IN.replace("entity Role;", "entity Role\nentity;"));
        let line = BUILT_IN.lines().position(|line| line == "entity Role;").expect("there") + 2;
        assert!(told.starts_with(&format!("schema.cedarschema:{line}:")), "{told}");
        let told = refusals("entity User in [Nowhere];");
        assert!(told.contains("Nowhere"), "{told}");
        let deep = format!("type Deep = {}Long{};", "Set<".repeat(50_000), ">".repeat(50_000));
        assert!(refusals(&deep).contains("nested more than 32 deep"));
        assert!(refusals(&"/".repeat(MAX_BYTES + 1)).contains("longer than 256 KiB"));
    }
}
