//! The resources that are configured, known before any request.

use std::collections::HashMap;

use cedar_policy::Entity;

use super::ask::Resource;
use super::entities::{self, Place};

/// The resources of one configuration: what decisions can be kept for.
///
/// A resource that is not among them is asked for in vain in the end; until then policies are asked
/// each time, and know no more of it than its name.
#[derive(Clone, Debug, Default)]
pub struct World {
    models: HashMap<Box<str>, usize>,
    tools: HashMap<Box<str>, HashMap<Box<str>, usize>>,
    agents: HashMap<Box<str>, usize>,
    all: Vec<(Place, Vec<Entity>)>,
}

/// Where requests to a model go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The name of the dialect it speaks.
    pub dialect: String,
}

impl World {
    /// Adds a model, with all targets that its requests can go to by themselves.
    #[must_use]
    pub fn with_model(mut self, name: &str, targets: &[Target]) -> Self {
        let index = self.add(Resource::Model(name), targets);
        self.models.insert(name.into(), index);
        self
    }

    /// Adds a tool of an MCP server.
    #[must_use]
    pub fn with_tool(mut self, server: &str, name: &str) -> Self {
        let index = self.add(Resource::Tool { server, name }, &[]);
        self.tools.entry(server.into()).or_default().insert(name.into(), index);
        self
    }

    /// Adds an agent.
    #[must_use]
    pub fn with_agent(mut self, name: &str) -> Self {
        let index = self.add(Resource::Agent(name), &[]);
        self.agents.insert(name.into(), index);
        self
    }

    fn add(&mut self, resource: Resource<'_>, targets: &[Target]) -> usize {
        self.all.push(entities::resource(resource, targets));
        self.all.len() - 1
    }

    /// Takes the resources out, in the order of their numbers, each with what it leads to.
    pub(super) fn take_all(&mut self) -> Vec<(Place, Vec<Entity>)> {
        std::mem::take(&mut self.all)
    }

    /// The number of a resource, if it is configured.
    pub(super) fn find(&self, resource: Resource<'_>) -> Option<usize> {
        match resource {
            Resource::Model(name) => self.models.get(name),
            Resource::Tool { server, name } => self.tools.get(server)?.get(name),
            Resource::Agent(name) => self.agents.get(name),
        }
        .copied()
    }
}
