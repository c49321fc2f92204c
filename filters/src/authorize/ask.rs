//! What is asked of the policies: an action on a resource, and what else is known of the request.

use std::net::IpAddr;

/// One question: may the caller do this to that?
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub action: Action,
    pub resource: Resource<'a>,
    pub facts: Facts,
    /// The arguments of a call to a tool: a JSON object. A parser that lets two members of one name
    /// through must not have made it.
    pub arguments: Option<&'a serde_json::Value>,
}

impl<'a> Ask<'a> {
    /// A question without arguments.
    pub const fn new(action: Action, resource: Resource<'a>, facts: Facts) -> Self {
        Self { action, resource, facts, arguments: None }
    }
}

/// What a caller acts on. A name that is not configured is answered for, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    /// A model by the name that callers know: `Model::"gpt-4o"`.
    Model(&'a str),
    /// A tool of an MCP server: `Tool::"search"` in `Server::"github"`.
    Tool { server: &'a str, name: &'a str },
    /// An agent: `Agent::"planner"`.
    Agent(&'a str),
}

/// What is known of one request, besides who and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The client's address.
    pub ip: IpAddr,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Input and the most output that was asked for.
    pub estimated_tokens: u64,
    /// In billionths of a US dollar, where the model has a price.
    pub estimated_cost: Option<u64>,
    /// The time, in milliseconds since 1970 in UTC.
    pub now_ms: i64,
}

macro_rules! actions {
    ($($(#[$doc:meta])+ $action:ident = $name:literal, $kind:ident, $route:literal;)+) => {
        /// What can be done, one for each family of endpoints. Policies know two groups besides:
        /// `infer` for the six that reach a model, and `any`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[$doc])+ $action,)+
        }

        impl Action {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$action,)+];

            /// The word for it in policies: `Action::"chat_completions"`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$action => $name,)+
                }
            }

            /// The kind of resource that it is done to.
            pub const fn resource_kind(self) -> ResourceKind {
                match self {
                    $(Self::$action => ResourceKind::$kind,)+
                }
            }

            /// The route by which it is asked for, as a credential's list of routes names it.
            pub const fn route(self) -> &'static str {
                match self {
                    $(Self::$action => $route,)+
                }
            }
        }
    };
}

actions! {
    /// A chat in OpenAI's dialect.
    ChatCompletions = "chat_completions", Model, "/v1/chat/completions";
    /// A response in OpenAI's dialect.
    Responses = "responses", Model, "/v1/responses";
    /// A completion in OpenAI's dialect.
    Completions = "completions", Model, "/v1/completions";
    /// Embeddings in OpenAI's dialect.
    Embeddings = "embeddings", Model, "/v1/embeddings";
    /// A message in Anthropic's dialect.
    Messages = "messages", Model, "/v1/messages";
    /// A count of a message's tokens in Anthropic's dialect.
    CountTokens = "count_tokens", Model, "/v1/messages/count_tokens";
    /// Seeing one model in the list of models.
    ListModels = "list_models", Model, "/v1/models";
    /// Calling a tool of an MCP server.
    CallTool = "call_tool", Tool, "/mcp";
    /// Seeing one tool in a list of tools.
    ListTools = "list_tools", Tool, "/mcp";
    /// Sending a message to an agent.
    InvokeAgent = "invoke_agent", Agent, "/a2a";
}

impl Action {
    /// The action of a request to `path`, a path without query or a template of paths.
    pub fn from_path(path: &str) -> Option<Self> {
        match path {
            "/v1/models/{id}" => Some(Self::ListModels),
            "/mcp/tools" => Some(Self::ListTools),
            // By their paths alone, calling a tool and listing tools are the same.
            "/mcp" | "/a2a" => None,
            path => Self::ALL.iter().copied().find(|action| action.route() == path),
        }
    }

    /// The action of this name in policies.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.name() == name)
    }
}

/// The kinds of [`Resource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    Model,
    Tool,
    Agent,
}

impl ResourceKind {
    /// The word for it in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::Tool => "Tool",
            Self::Agent => "Agent",
        }
    }
}

impl Resource<'_> {
    pub fn kind(&self) -> ResourceKind {
        match self {
            Self::Model(_) => ResourceKind::Model,
            Self::Tool { .. } => ResourceKind::Tool,
            Self::Agent(_) => ResourceKind::Agent,
        }
    }

    /// The name by which policies know it. A tool's is without its server.
    pub fn name(&self) -> &str {
        match self {
            Self::Model(name) | Self::Tool { name, .. } | Self::Agent(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::methods::INFERENCE_PATHS;

    #[test]
    fn every_path_for_inference_has_its_action() {
        for path in INFERENCE_PATHS {
            let action = Action::from_path(path).expect(path);
            assert_eq!((action.route(), action.resource_kind()), (path, ResourceKind::Model));
        }
        assert_eq!(Action::from_path("/v1/models"), Some(Action::ListModels));
        assert_eq!(Action::from_path("/v1/models/{id}"), Some(Action::ListModels));
        assert_eq!(Action::from_path("/mcp"), None);
        assert_eq!(Action::from_path("/health"), None);
    }

    #[test]
    fn an_action_is_found_by_its_name() {
        for action in Action::ALL {
            assert_eq!(Action::from_name(action.name()), Some(*action));
        }
        assert_eq!(Action::from_name("infer"), None, "a group is no action");
    }
}
