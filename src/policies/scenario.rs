//! Questions that nobody asked: to try policies out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use cedar_policy::EntityUid;
use jiff::Timestamp;
use serde::Deserialize;
use sluicegate_filters::authorize::{
    Action, Ask, Authorize, Explanation, Facts, Mode, Policies, Resource, ResourceKind, Target,
    World,
};
use sluicegate_filters::caller::{Bearer, CallerKind, Claim, KeyIdentity};
use uuid::Uuid;

/// Who asks for what, under which circumstances. What is left out is as it is least of note.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// In Cedar's words: `User::"alice"`, `Key::"<uuid>"`, `User::"anonymous"`, `User::"master"`.
    pub principal: String,
    /// The id of the virtual key by which a user calls.
    #[serde(default)]
    pub key: Option<Uuid>,
    #[serde(default)]
    pub team: Option<String>,
    #[serde(default)]
    pub organization: Option<String>,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub claims: BTreeMap<String, Value>,
    /// An action's name, such as `chat_completions`, or `Action::"chat_completions"`.
    pub action: String,
    /// In Cedar's words, such as `Model::"gpt-4o"`, or the name alone.
    pub resource: String,
    /// The providers of a model.
    #[serde(default)]
    pub providers: Vec<String>,
    /// The dialects that the providers speak, in their order; the last one stands for the rest.
    #[serde(default)]
    pub dialects: Vec<String>,
    /// The server of a tool.
    #[serde(default)]
    pub server: Option<String>,
    /// The arguments of a call to a tool: a JSON object.
    #[serde(default)]
    pub arguments: Option<serde_json::Value>,
    #[serde(default)]
    pub context: Circumstances,
}

/// What policies see as `context`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circumstances {
    /// `production`, if left out.
    #[serde(default)]
    pub environment: Option<String>,
    /// `127.0.0.1`, if left out.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    /// As RFC 3339 has it, such as `2026-01-05T12:00:00Z`. What it is if left out is up to whoever
    /// asks.
    #[serde(default)]
    pub time: Option<Timestamp>,
    #[serde(default)]
    pub stream: bool,
    #[serde(default)]
    pub estimated_tokens: u64,
    /// In billionths of a US dollar.
    #[serde(default)]
    pub estimated_cost: Option<u64>,
}

/// A claim of a token, or any text that could be one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Flag(bool),
    Number(i64),
    Text(String),
    Texts(Vec<String>),
}

/// A scenario that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    #[error("`{0}` is no principal: write User::\"name\" or Key::\"uuid\"")]
    Principal(String),
    #[error("there is no action `{0}`; there are {names}", names = action_names())]
    Action(String),
    #[error("`{resource}` is no resource of `{action}`: write {kind}::\"name\"")]
    Resource { resource: String, action: &'static str, kind: &'static str },
}

impl Scenario {
    /// What `policies` say to it. `now` is the time, if the scenario has none.
    ///
    /// # Errors
    /// [`ScenarioError`] if it could never be asked.
    pub fn explain(
        &self,
        policies: &Policies,
        now: Timestamp,
    ) -> Result<Explanation, ScenarioError> {
        let (kind, bearer) = self.caller()?;
        let action = self.action()?;
        let name = self.resource_name(action)?;
        let server = self.server.as_deref().unwrap_or_default();
        let (resource, world) = match action.resource_kind() {
            ResourceKind::Model => {
                let world = World::default().with_model(&name, &self.targets());
                (Resource::Model(&name), world)
            }
            ResourceKind::Tool => (Resource::Tool { server, name: &name }, World::default()),
            ResourceKind::Agent => (Resource::Agent(&name), World::default()),
        };
        let context = &self.context;
        let facts = Facts {
            ip: context.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            stream: context.stream,
            estimated_tokens: context.estimated_tokens,
            estimated_cost: context.estimated_cost,
            now_ms: context.time.unwrap_or(now).as_millisecond(),
        };
        let environment = context.environment.as_deref().unwrap_or("production");
        let authorize = Authorize::new(policies.clone(), Mode::Enforce, environment, world, 0);
        Ok(authorize.explain_for(
            kind,
            bearer,
            &Ask { arguments: self.arguments.as_ref(), ..Ask::new(action, resource, facts) },
        ))
    }

    fn caller(&self) -> Result<(CallerKind, Bearer), ScenarioError> {
        let wrong = || ScenarioError::Principal(self.principal.clone());
        let principal: EntityUid = self.principal.parse().map_err(|_| wrong())?;
        let name = principal.id().unescaped();
        let (kind, user, key) = match (principal.type_name().to_string().as_str(), name) {
            ("User", "anonymous") => (CallerKind::Anonymous, None, None),
            ("User", "master") => (CallerKind::Master, None, None),
            ("User", name) if self.key.is_some() => (CallerKind::Key, Some(name), self.key),
            ("User", name) => (CallerKind::Token, Some(name), None),
            ("Key", id) => (CallerKind::Key, None, Some(id.parse().map_err(|_| wrong())?)),
            _ => return Err(wrong()),
        };
        let claim = |(name, value): (&String, &Value)| (name.clone(), Claim::from(value));
        let bearer = Bearer {
            key: key.map(|id| KeyIdentity { id, alias: None }),
            user: user.map(str::to_owned),
            team: self.team.clone(),
            organization: self.organization.clone(),
            roles: self.roles.clone(),
            tags: self.tags.clone(),
            claims: self.claims.iter().map(claim).collect(),
            ..Bearer::default()
        };
        Ok((kind, bearer))
    }

    fn action(&self) -> Result<Action, ScenarioError> {
        let plain = self.action.strip_prefix("Action::\"").and_then(|it| it.strip_suffix('"'));
        let name = plain.unwrap_or(&self.action);
        Action::from_name(name).ok_or_else(|| ScenarioError::Action(name.to_owned()))
    }

    fn resource_name(&self, action: Action) -> Result<String, ScenarioError> {
        let kind = action.resource_kind().name();
        match self.resource.parse::<EntityUid>() {
            Ok(uid) if uid.type_name().to_string() == kind => Ok(uid.id().unescaped().to_owned()),
            Err(_) if !self.resource.is_empty() && !self.resource.contains("::") => {
                Ok(self.resource.clone())
            }
            _ => {
                let (resource, action) = (self.resource.clone(), action.name());
                Err(ScenarioError::Resource { resource, action, kind })
            }
        }
    }

    fn targets(&self) -> Vec<Target> {
        let last = self.dialects.last().map_or("openai", String::as_str);
        let rest = std::iter::repeat(last);
        let dialects = self.dialects.iter().map(String::as_str).chain(rest);
        let targets = self.providers.iter().zip(dialects).map(|(provider, dialect)| Target {
            provider: provider.clone(),
            dialect: dialect.to_owned(),
        });
        targets.collect()
    }
}

impl From<&Value> for Claim {
    fn from(value: &Value) -> Self {
        match value {
            Value::Flag(value) => Self::Flag(*value),
            Value::Number(value) => Self::Number(*value),
            Value::Text(value) => Self::Text(value.clone()),
            Value::Texts(values) => Self::Texts(values.clone()),
        }
    }
}

fn action_names() -> String {
    Action::ALL.iter().map(|action| action.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use sluicegate_filters::authorize::Source;

    use super::*;

    fn allowed(policy: &str, scenario: &Scenario) -> bool {
        let source = Source { file: "a.cedar", text: policy };
        let policies = Policies::parse(&[source], None).unwrap();
        scenario.explain(&policies, Timestamp::UNIX_EPOCH).unwrap().allowed
    }

    fn scenario(yaml: &str) -> Scenario {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn error(yaml: &str) -> ScenarioError {
        let policies = Policies::parse(&[], None).unwrap();
        scenario(yaml).explain(&policies, Timestamp::UNIX_EPOCH).unwrap_err()
    }

    #[test]
    fn everything_that_a_scenario_says_reaches_the_policies() {
        let full = scenario(
            "{ principal: 'User::\"alice\"', key: 00000000-0000-0000-0000-000000000001, team: red, \
             organization: acme, roles: [reader], tags: [batch], \
             claims: { level: 3, staff: true, office: Oslo, departments: [law, research] }, \
             action: chat_completions, resource: gpt-4o, providers: [openai, claude], \
             dialects: [openai, anthropic], \
             context: { environment: staging, ip: 10.0.0.1, time: 2026-01-04T10:00:00Z, stream: true, \
             estimated_tokens: 7, estimated_cost: 8 } }",
        );
        for condition in [
            "principal == User::\"alice\" && principal.kind == \"key\"",
            "principal has key && principal.key.id == \"00000000-0000-0000-0000-000000000001\"",
            "principal in Team::\"red\" && principal in Organization::\"acme\"",
            "principal.roles == [\"reader\"] && principal.tags == [\"batch\"]",
            "principal.hasTag(\"level\") && principal.getTag(\"level\") == [\"3\"]",
            "principal.hasTag(\"staff\") && principal.getTag(\"staff\") == [\"true\"]",
            "principal.hasTag(\"office\") && principal.getTag(\"office\") == [\"Oslo\"]",
            "principal.hasTag(\"departments\") && principal.getTag(\"departments\").contains(\"law\")",
            "resource == Model::\"gpt-4o\" && resource in Provider::\"claude\"",
            "resource.dialects == [\"openai\", \"anthropic\"]",
            "context.environment == \"staging\" && context.ip == ip(\"10.0.0.1\")",
            "context.weekday == 7 && context.hour == 10",
            "context.stream && context.estimated_tokens == 7",
            "context has estimated_cost && context.estimated_cost == 8",
        ] {
            let policy = format!(
                "permit(principal, action in Action::\"infer\", resource) when {{ {condition} }};"
            );
            assert!(allowed(&policy, &full), "{condition}");
        }
    }

    #[test]
    fn tools_and_agents_can_be_asked_for() {
        let tool = scenario(
            "{ principal: 'Key::\"00000000-0000-0000-0000-000000000001\"', action: 'Action::\"call_tool\"', \
             resource: 'Tool::\"search\"', server: github }",
        );
        let policy = "permit(principal is Key, action, resource in Server::\"github\");";
        assert!(allowed(policy, &tool));
        let agent =
            scenario("{ principal: 'User::\"a\"', action: invoke_agent, resource: planner }");
        assert!(allowed("permit(principal, action, resource == Agent::\"planner\");", &agent));
    }

    #[test]
    fn what_could_never_be_asked_is_an_error() {
        for principal in ["alice", "Team::\"red\"", "Key::\"x\"", "X::User::\"a\"", ""] {
            let yaml = format!("{{ principal: '{principal}', action: messages, resource: x }}");
            assert_eq!(error(&yaml), ScenarioError::Principal(principal.to_owned()));
        }
        let told = error("{ principal: 'User::\"a\"', action: infer, resource: x }").to_string();
        assert!(told.contains("no action `infer`; there are chat_completions, "), "{told}");
        for resource in ["Tool::\"x\"", "A::Model::\"x\"", "Model::x", ""] {
            let yaml =
                format!("{{ principal: 'User::\"a\"', action: messages, resource: '{resource}' }}");
            let told = error(&yaml).to_string();
            assert!(
                told.ends_with("is no resource of `messages`: write Model::\"name\""),
                "{told}"
            );
        }
        let unknown = "{ principal: a, action: b, resource: c, colour: red }";
        assert!(serde_saphyr::from_str::<Scenario>(unknown).is_err());
    }
}
