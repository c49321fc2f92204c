//! What a credential itself allows: lists of models and of routes.

use std::collections::HashSet;

/// Which models a caller may ask for: several lists, each of which must allow the model.
///
/// A list without entries allows all. An entry is a model's name, a beginning followed by `*`, or one of
/// LiteLLM's words: `all-proxy-models` and `all-team-models` allow all that the other lists allow,
/// `no-default-models` allows none by itself.
#[derive(Clone, Debug, Default)]
pub struct ModelGrant {
    /// The lists that leave something out.
    lists: Box<[List]>,
}

impl ModelGrant {
    pub(crate) fn new(lists: &[Vec<String>]) -> Self {
        let restricting = lists.iter().filter(|list| !list.is_empty()).map(|list| {
            let entries = list.iter().map(|entry| match entry.as_str() {
                "all-proxy-models" | "all-team-models" => "*",
                // No model can have an empty name.
                "no-default-models" => "",
                entry => entry,
            });
            List::new(entries)
        });
        Self { lists: restricting.filter(|list| !list.allows_all()).collect() }
    }

    /// Whether every list allows `model`.
    pub fn allows(&self, model: &str) -> bool {
        self.lists.iter().all(|list| list.allows(model))
    }
}

/// Which routes a caller may use.
///
/// A list without entries allows all. An entry is a path with or without `/v1`, a beginning followed by
/// `*`, or LiteLLM's word `llm_api_routes`, which stands for all routes of the proxy's listener.
#[derive(Clone, Debug, Default)]
pub struct RouteGrant {
    list: Option<List>,
}

impl RouteGrant {
    pub(crate) fn new(routes: &[String]) -> Self {
        if routes.is_empty() {
            return Self::default();
        }
        let entries = routes.iter().map(|entry| match entry.as_str() {
            "llm_api_routes" | "openai_routes" | "/v1" | "/v1/*" => "*",
            entry => entry.strip_prefix("/v1").unwrap_or(entry),
        });
        let list = List::new(entries);
        Self { list: (!list.allows_all()).then_some(list) }
    }

    /// Whether the route of this path (or template of paths) is allowed.
    pub fn allows(&self, path: &str) -> bool {
        let Some(list) = &self.list else { return true };
        list.allows(path.strip_prefix("/v1").unwrap_or(path))
    }
}

/// Names, and beginnings of names.
#[derive(Clone, Debug)]
struct List {
    names: HashSet<Box<str>>,
    beginnings: Box<[Box<str>]>,
}

impl List {
    fn new<'a>(entries: impl Iterator<Item = &'a str>) -> Self {
        let (mut names, mut beginnings) = (HashSet::new(), Vec::new());
        for entry in entries {
            match entry.strip_suffix('*') {
                Some(beginning) => beginnings.push(beginning.into()),
                None => drop(names.insert(entry.into())),
            }
        }
        Self { names, beginnings: beginnings.into() }
    }

    fn allows_all(&self) -> bool {
        self.beginnings.iter().any(|beginning| beginning.is_empty())
    }

    fn allows(&self, name: &str) -> bool {
        self.names.contains(name)
            || self.beginnings.iter().any(|beginning| name.starts_with(&**beginning))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(lists: &[&[&str]]) -> ModelGrant {
        let lists: Vec<Vec<String>> =
            lists.iter().map(|list| list.iter().map(|&name| name.to_owned()).collect()).collect();
        ModelGrant::new(&lists)
    }

    fn routes(list: &[&str]) -> RouteGrant {
        RouteGrant::new(&list.iter().map(|&path| path.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_list_must_allow_a_model_and_an_empty_one_allows_all() {
        assert!(models(&[]).allows("gpt-4o"));
        assert!(models(&[&[], &[]]).allows("gpt-4o"));
        let key_and_team = models(&[&["gpt-4o", "o3"], &["gpt-4o"], &[]]);
        assert!(key_and_team.allows("gpt-4o"));
        assert!(!key_and_team.allows("o3"), "the team's list leaves it out");
        assert!(!key_and_team.allows("GPT-4O"), "names are exact");
        assert!(!key_and_team.allows("gpt-4o-mini"), "no name is a beginning");
    }

    #[test]
    fn a_star_stands_for_any_rest() {
        let grant = models(&[&["claude-*", "o3"]]);
        assert!(grant.allows("claude-sonnet") && grant.allows("o3") && grant.allows("claude-"));
        assert!(!grant.allows("gpt-4o") && !grant.allows("o3-mini"));
        assert!(models(&[&["*"]]).allows("anything"));
    }

    #[test]
    fn the_words_of_litellm_are_understood() {
        assert!(models(&[&["all-proxy-models"]]).allows("gpt-4o"));
        let team_decides = models(&[&["all-team-models"], &["o3"]]);
        assert!(team_decides.allows("o3") && !team_decides.allows("gpt-4o"));
        assert!(!models(&[&["no-default-models"]]).allows("gpt-4o"));
        assert!(routes(&["llm_api_routes"]).allows("/v1/messages"));
        assert!(!routes(&["management_routes"]).allows("/v1/messages"));
    }

    #[test]
    fn routes_go_by_path_with_or_without_the_version() {
        assert!(routes(&[]).allows("/v1/messages"));
        let grant = routes(&["/chat/completions", "/v1/models*"]);
        assert!(grant.allows("/v1/chat/completions"));
        assert!(grant.allows("/v1/models") && grant.allows("/v1/models/{id}"));
        assert!(!grant.allows("/v1/messages") && !grant.allows("/v1/chat/completions/more"));
    }
}
