//! The shape of `mcp` in the file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::effective;
use super::raw::{AuthStyle, ClientCertificate, Wait};
use super::valid;
use super::valid::mcp::Transport;

/// The MCP servers whose tools are offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mcp {
    /// The servers, by name: 1 to 32 of `a` to `z`, `0` to `9` and `-`. Callers see their tools as
    /// `<name>_<tool>`. Default: none.
    pub targets: Option<BTreeMap<String, McpTarget>>,
}

/// An MCP server: behind a `url`, or started here by a `command`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpTarget {
    /// Its endpoint, which speaks streamable HTTP. A final `/` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// With `url`: its credential, as a reference: `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`.
    /// Production refuses anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// With `url`: how calls carry the credential. Default: bearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStyle>,
    /// With `url`: headers sent with every call. Values may be references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// With `url`: what stands in the query of every call, up to 64 parameters by name. Values may be
    /// references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub query: BTreeMap<String, String>,
    /// With `url`: authorities to trust instead of the public ones, as a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// With `url`: the certificate that is shown to a server that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// The program and its arguments, which speaks MCP over its standard input and output. No shell reads
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65))]
    pub command: Option<Vec<String>>,
    /// With `command`: its environment variables, besides PATH, HOME, LANG, TMPDIR, TZ and USER, which are
    /// the gateway's. Values may be references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub environment: BTreeMap<String, String>,
    /// With `command`: its working directory. Default: the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Its tools that are offered, by the names that it gives them. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub tools: Option<Vec<String>>,
    /// When it is given up.
    pub timeouts: Option<McpTimeouts>,
    /// How long its list of tools is good for, where it says nothing shorter; 1s to 24h. Default: 5m.
    pub list_ttl: Option<Wait>,
}

/// When an MCP server is given up. Each up to 1h.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpTimeouts {
    /// For a connection, or for a program's start up to its answer to the handshake. Default: 10s, and
    /// 60s for a program.
    pub connect: Option<Wait>,
    /// For one call to a tool, whole. Default: 50s.
    pub call: Option<Wait>,
    /// For the list of tools, whole. Default: 20s.
    pub list: Option<Wait>,
}

impl Mcp {
    /// The shape of a valid section; none where there is no server.
    pub(super) fn of(mcp: &valid::mcp::Mcp) -> Option<Self> {
        let targets = effective::map(&mcp.targets, McpTarget::of);
        (!targets.is_empty()).then_some(Self { targets: Some(targets) })
    }
}

impl McpTarget {
    fn of(target: &valid::mcp::Target) -> Self {
        let valid::mcp::Timeouts { connect, call, list } = target.timeouts;
        let timeouts = McpTimeouts {
            connect: Some(Wait(connect)),
            call: Some(Wait(call)),
            list: Some(Wait(list)),
        };
        let own = Self {
            url: None,
            api_key: None,
            auth: None,
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            ca: None,
            client_certificate: None,
            command: None,
            environment: BTreeMap::new(),
            directory: None,
            tools: target.tools.as_ref().map(|tools| tools.iter().cloned().collect()),
            timeouts: Some(timeouts),
            list_ttl: Some(Wait(target.list_ttl)),
        };
        match &target.transport {
            Transport::Http(http) => Self {
                url: Some(http.url.to_string()),
                api_key: effective::reference(http.api_key.as_ref()),
                auth: Some(effective::auth_style(&http.auth)),
                headers: http
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.reference.to_string()))
                    .collect(),
                query: http
                    .query
                    .iter()
                    .map(|(name, value)| (name.clone(), value.reference.to_string()))
                    .collect(),
                ca: http.ca.as_deref().map(effective::path),
                client_certificate: http
                    .client_certificate
                    .as_ref()
                    .map(effective::client_certificate),
                ..own
            },
            Transport::Stdio(stdio) => Self {
                command: Some(stdio.command.clone()),
                environment: effective::map(&stdio.environment, |value| {
                    value.reference.to_string()
                }),
                directory: stdio.directory.as_deref().map(effective::path),
                ..own
            },
        }
    }
}
