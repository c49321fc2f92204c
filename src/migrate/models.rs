//! `models`: deployments of one name become the targets of one model.

use super::at::{At, join};
use super::providers::{Params, Place, Providers};
use super::routing::{self, Defaults, Strategy};
use super::variables::{is_reference, looks_secret};
use super::yaml::{Map, Yaml};
use super::{Migration, price};

/// Targets of a model, those of its fallbacks included.
pub(super) const MOST_TARGETS: usize = 64;

/// One entry of `model_list` that is carried over.
pub(super) struct Deployment<'n> {
    pub(super) item: At<'n>,
    pub(super) params: Params<'n>,
    pub(super) info: Option<At<'n>>,
    pub(super) place: Place,
}

impl<'n> Deployment<'n> {
    /// A limit, wherever LiteLLM looks for it.
    pub(super) fn limit(&self, key: &str) -> Option<At<'n>> {
        let info = self.info.as_ref();
        self.params.get(key).or_else(|| self.item.get(key)).or_else(|| info?.get(key))
    }
}

/// All deployments of one name.
pub(super) struct Group<'n> {
    pub(super) name: String,
    pub(super) deployments: Vec<Deployment<'n>>,
}

/// What was made of them.
#[derive(Debug)]
pub(super) struct Models {
    pub(super) yaml: Map,
    /// Names, aliases included, with the number of their own targets.
    pub(super) names: Vec<(String, usize)>,
    pub(super) strategy: Strategy,
}

impl Models {
    pub(super) fn targets_of(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, targets)| *targets)
    }
}

/// Reads `model_list`.
pub(super) fn read<'n>(migration: &mut Migration<'n>, providers: &mut Providers) -> Vec<Group<'n>> {
    let mut groups: Vec<Group<'n>> = Vec::new();
    let Some(list) = migration.root.get("model_list") else { return groups };
    for item in list.items() {
        let Some((name, deployment)) = deployment(migration, providers, &item) else { continue };
        let index = groups.iter().position(|group| group.name == name).unwrap_or(groups.len());
        if index == groups.len() {
            groups.push(Group { name: name.clone(), deployments: Vec::new() });
        }
        let group = &mut groups[index];
        if group.deployments.len() >= MOST_TARGETS {
            let message = format!("a model has {MOST_TARGETS} targets at most");
            migration.accounts.no_equal(&item, message, "give the model's others another name");
            continue;
        }
        let to = join("models", &name);
        if let Some(at) = item.get("model_name") {
            migration.accounts.carried(&at, to.as_str());
        }
        if let Some(at) = deployment.params.get("model") {
            let to = format!("{to}.targets[{}].model", group.deployments.len());
            migration.accounts.carried(&at, to);
        }
        group.deployments.push(deployment);
    }
    groups
}

fn deployment<'n>(
    migration: &mut Migration<'n>,
    providers: &mut Providers,
    item: &At<'n>,
) -> Option<(String, Deployment<'n>)> {
    if item.is_null() {
        return None;
    }
    let refuse = |migration: &mut Migration<'n>, message: &str, action: &str| {
        migration.accounts.no_equal(item, message, action);
        None
    };
    let Some(name_at) = item.get("model_name") else {
        return refuse(migration, "has no `model_name`", "name it, and migrate again");
    };
    let Some(own) = item.get("litellm_params").filter(At::is_map) else {
        let action = "write `litellm_params`, and migrate again";
        return refuse(migration, "has no `litellm_params`", action);
    };
    let info = item.get("model_info");
    if let Some(mode) = info.as_ref().and_then(|info| info.get("mode")) {
        match mode.text() {
            Some("chat" | "completion" | "embedding" | "responses") => {
                let reason = "a request's endpoint says what is asked of a model";
                migration.accounts.not_needed(&mode, reason);
            }
            _ => {
                let message = "the gateway has no endpoint for models of this mode";
                return refuse(migration, message, "let clients call the provider itself");
            }
        }
    }
    let credential = credential(migration, &own);
    let params = Params { own, credential };
    let place = match providers.of(migration, &params) {
        Ok(place) => place,
        Err((message, action)) => return refuse(migration, &message, action),
    };
    let name = name_at.text().unwrap_or_default();
    if name.contains('*') || place.wildcard {
        let message =
            "a name with a wildcard stands for no model here; its provider is carried over";
        let action = "name each model that is to be served in `models`";
        migration.accounts.no_equal(&name_at, message, action);
        if let Some(at) = params.get("model") {
            migration.accounts.not_needed(&at, "its `model_name` is a wildcard");
        }
        return None;
    }
    let usable = (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic())
        && !is_reference(name)
        && !name.contains("${");
    if !usable {
        let message = "a model's name has up to 256 printable ASCII characters without spaces, \
                       written out";
        return refuse(migration, message, "rename it, and tell its callers");
    }
    Some((name.to_owned(), Deployment { item: item.clone(), params, info, place }))
}

/// The values of the credential that the parameters name.
fn credential<'n>(migration: &mut Migration<'n>, params: &At<'n>) -> Option<At<'n>> {
    let at = params.get("litellm_credential_name")?;
    let name = at.text()?;
    let list = migration.root.get("credential_list")?;
    let found = list
        .items()
        .into_iter()
        .find(|item| item.get("credential_name").is_some_and(|named| named.text() == Some(name)));
    let Some(found) = found else {
        let message = "no credential is called so in the file";
        let action = "one of LiteLLM's database has to be configured as a provider's key";
        migration.accounts.no_equal(&at, message, action);
        return None;
    };
    for key in ["credential_name", "credential_info"] {
        if let Some(at) = found.get(key) {
            migration.accounts.not_needed(&at, "each provider has its credential itself");
        }
    }
    found.get("credential_values").filter(At::is_map)
}

/// Makes `models` of the groups.
pub(super) fn write<'n>(
    migration: &mut Migration<'n>,
    groups: &[Group<'n>],
    defaults: &Defaults,
) -> Models {
    let aliases = aliases(migration, groups);
    let mut names: Vec<(String, usize)> = Vec::new();
    for group in groups {
        names.push((group.name.clone(), group.deployments.len()));
    }
    for (alias, index) in &aliases {
        names.push((alias.clone(), groups[*index].deployments.len()));
    }
    let fallbacks = routing::fallbacks(migration, &names);
    let mut yaml = Map::default();
    let mut parts = Vec::new();
    for group in groups {
        let (before, after) = one(migration, group, defaults);
        parts.push((group.name.as_str(), before, after));
    }
    for (alias, index) in &aliases {
        let (_, before, after) = &parts[*index];
        parts.push((alias, before.clone(), after.clone()));
    }
    for (name, mut model, after) in parts {
        let others = fallbacks.iter().find(|(model, _)| model == name);
        let others = others.map(|(_, others)| others.as_slice()).unwrap_or_default();
        let others = others.iter().map(|name| Yaml::Text(name.clone())).collect();
        model.some("fallback", Yaml::List(others));
        model.append(after);
        yaml.put(name, Yaml::Map(model));
    }
    Models { yaml, names, strategy: defaults.strategy }
}

/// A model: what stands before its fallbacks, and behind.
fn one<'n>(migration: &mut Migration<'n>, group: &Group<'n>, defaults: &Defaults) -> (Map, Map) {
    let mut model = Map::default();
    model.put("targets", Yaml::List(targets(migration, group, defaults)));
    if let Some(balance) = defaults.strategy.balance() {
        model.text("balance", balance);
    }
    let mut after = Map::default();
    routing::write(migration, group, defaults, &mut after);
    let to = join("models", &group.name);
    after.some("price", Yaml::Map(price::write(migration, group, &format!("{to}.price"))));
    if let Some(most) = output(migration, group, &format!("{to}.max_output_tokens")) {
        after.plain("max_output_tokens", most);
    }
    (model, after)
}

/// The targets, with what LiteLLM's parameters make of their shares.
fn targets<'n>(migration: &mut Migration<'n>, group: &Group<'n>, defaults: &Defaults) -> Vec<Yaml> {
    let path = |index: usize| format!("{}.targets[{index}]", join("models", &group.name));
    let orders: Vec<Option<u64>> = group
        .deployments
        .iter()
        .enumerate()
        .map(|(index, deployment)| {
            let at = deployment.params.get("order")?;
            let Some(order) = at.count().filter(|order| (1..=999).contains(order)) else {
                let action = "write `priority`, 1 to 1000";
                migration.accounts.no_equal(&at, "is no number from 1 to 999", action);
                return None;
            };
            migration.accounts.carried(&at, format!("{}.priority", path(index)));
            Some(order)
        })
        .collect();
    // Where some have an order, LiteLLM asks those without one last.
    let last = orders.iter().flatten().max().copied();
    let weights = weights(migration, group, defaults.strategy, &path);
    let one = group.deployments.iter().zip(orders).zip(weights);
    one.map(|((deployment, order), weight)| {
        let mut target = Map::default();
        target.text("provider", deployment.place.provider.as_str());
        target.put("model", deployment.place.model.clone());
        let mut priority = order.or(last.map(|last| last + 1)).unwrap_or(1);
        match weight {
            // Asked when none of the others can answer, as LiteLLM does.
            Some(0) => priority = last.unwrap_or(1) + 1,
            Some(weight) if weight != 1 => target.plain("weight", weight),
            Some(_) | None => {}
        }
        if priority != 1 || order.is_some() {
            target.plain("priority", priority);
        }
        Yaml::Map(target)
    })
    .collect()
}

/// The weights: LiteLLM takes the first of `weight`, `rpm` and `tpm` that the first deployment has, and 0
/// for those without it (<https://docs.litellm.ai/docs/routing>).
fn weights<'n>(
    migration: &mut Migration<'n>,
    group: &Group<'n>,
    strategy: Strategy,
    path: &dyn Fn(usize) -> String,
) -> Vec<Option<u64>> {
    let none = || vec![None; group.deployments.len()];
    if strategy.limits() {
        return none();
    }
    let first = group.deployments.first();
    let key = ["weight", "rpm", "tpm"]
        .into_iter()
        .find(|key| first.is_some_and(|first| first.limit(key).is_some()));
    let Some(key) = key else { return none() };
    let ats: Vec<_> = group.deployments.iter().map(|it| it.limit(key)).collect();
    let scaled: Vec<Option<u64>> = ats.iter().map(|at| at.as_ref().and_then(At::seconds)).collect();
    let most = scaled.iter().flatten().max().copied().unwrap_or(0);
    if most == 0 {
        return none();
    }
    if group.deployments.len() == 1 {
        // One target has all of it. What it is besides is for the limits to say.
        if key == "weight"
            && let Some(at) = &ats[0]
        {
            migration.accounts.not_needed(at, "the only target has all calls");
        }
        return none();
    }
    let share = |value: u64| {
        let exact = u128::from(value) * 1_000 / u128::from(most);
        u64::try_from(exact.max(1)).unwrap_or(1_000)
    };
    // Small whole weights stay as they are, so that the file reads as before.
    let whole = scaled.iter().flatten().all(|value| value % 1_000 == 0 && *value <= 1_000_000);
    let weights = ats.iter().zip(&scaled).enumerate().map(|(index, (at, value))| {
        let weight = value.map(|value| match value {
            0 => 0,
            value if whole => value / 1_000,
            value => share(value),
        });
        if let Some(at) = at {
            let to = path(index);
            match weight {
                None => {
                    let action = "write `weight`, 1 to 1000";
                    migration.accounts.no_equal(at, "is no number", action);
                }
                Some(0) => {
                    let message = "without a share, it is asked when none of the others can answer";
                    migration.accounts.changed(at, format!("{to}.priority"), message, None);
                }
                Some(_) if key == "weight" && whole => migration.accounts.carried(at, to),
                Some(_) if key == "weight" => {
                    migration.accounts.changed(at, to, "scaled to 1 to 1000", None);
                }
                Some(_) => {
                    let message =
                        "a share of the calls, as in LiteLLM; nothing is refused beyond it";
                    let action =
                        "add `quotas`, should it have been meant as a limit (docs/limits.md)";
                    migration.accounts.changed(at, to, message, action);
                }
            }
        }
        Some(weight.unwrap_or(0))
    });
    weights.collect()
}

/// The most tokens of an answer.
fn output<'n>(migration: &mut Migration<'n>, group: &Group<'n>, to: &str) -> Option<u64> {
    let mut most = None;
    for deployment in &group.deployments {
        let Some(info) = &deployment.info else { continue };
        let (long, short) = (info.get("max_output_tokens"), info.get("max_tokens"));
        if let (Some(_), Some(short)) = (&long, &short) {
            migration.accounts.not_needed(short, "`max_output_tokens` says it");
        }
        let Some(at) = long.or(short) else { continue };
        match at.count().filter(|count| (1..=100_000_000).contains(count)) {
            Some(count) => {
                most = most.max(Some(count));
                migration.accounts.carried(&at, to);
            }
            None => {
                let message = "is no number from 1 to 100000000";
                migration.accounts.no_equal(&at, message, "write `max_output_tokens`");
            }
        }
    }
    most
}

/// Other names of groups: `model_group_alias`, and `model_alias_map` of older files.
fn aliases<'n>(migration: &mut Migration<'n>, groups: &[Group<'n>]) -> Vec<(String, usize)> {
    let mut aliases: Vec<(String, usize)> = Vec::new();
    let found = [
        migration.in_section("router_settings", "model_group_alias"),
        migration.in_section("litellm_settings", "model_group_alias"),
        migration.in_section("litellm_settings", "model_alias_map"),
    ];
    for (alias, at) in found.iter().flatten().flat_map(At::entries) {
        let named = if at.is_map() { at.get("model") } else { Some(at.clone()) };
        let named = named.filter(|named| named.text().is_some());
        let Some(named) = named else {
            let action = "name a model of `models` with the same targets";
            migration.accounts.no_equal(&at, "names no model", action);
            continue;
        };
        let group = groups.iter().position(|group| Some(group.name.as_str()) == named.text());
        let usable = (1..=256).contains(&alias.len())
            && alias.bytes().all(|byte| byte.is_ascii_graphic())
            && !alias.contains(['*'])
            && !alias.contains("${")
            && !is_reference(alias)
            && !looks_secret(alias)
            && aliases.len() < 1_000;
        let taken = groups.iter().any(|group| group.name == alias)
            || aliases.iter().any(|(known, _)| known == alias);
        let Some(group) = group.filter(|_| usable && !taken) else {
            let message = if taken {
                "a model is called so already"
            } else {
                "leads to no model that is carried over, or has a name that none can have"
            };
            let action = "name a model of `models` with the same targets";
            migration.accounts.no_equal(&at, message, action);
            continue;
        };
        let message = "a model of its own, with the same targets";
        migration.accounts.changed(&named, join("models", alias), message, None);
        if let Some(hidden) = at.get("hidden") {
            let message = "`GET /v1/models` lists every model that a caller may use";
            let action = "leave it out of the keys' `models` (docs/access.md)";
            migration.accounts.no_equal(&hidden, message, action);
        }
        aliases.push((alias.to_owned(), group));
    }
    aliases
}
