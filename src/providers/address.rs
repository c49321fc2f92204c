//! Where a target's endpoints are.

use http::uri::{InvalidUri, PathAndQuery};
use sluicegate_chat::Dialect as Speech;
use sluicegate_chat::aws::sigv4::encode_segment;

use crate::config::valid::{Api, Azure, Provider, Vertex};
use crate::dialects::Endpoint;

/// The version of Anthropic's API that Vertex AI has, which stands in the body.
/// <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude>
pub const VERTEX_VERSION: &str = "vertex-2023-10-16";

/// The addresses of one model at one provider, for what it understands as it is.
pub struct Address {
    whole: [Option<PathAndQuery>; Endpoint::ALL.len()],
    /// Vertex AI: of messages that come in pieces. `None`: the same.
    in_pieces: Option<PathAndQuery>,
}

impl Address {
    /// Of `model` at `provider`.
    ///
    /// # Errors
    /// A base URL or name that no address can be made of.
    pub fn new(provider: &Provider, model: &str) -> Result<Self, InvalidUri> {
        let base = &provider.base_url.path_prefix;
        let native = provider.api.dialect().native(model);
        let mut address = Self { whole: [const { None }; Endpoint::ALL.len()], in_pieces: None };
        for endpoint in Endpoint::ALL {
            if native != Some(endpoint.dialect()) {
                continue;
            }
            let path = match &provider.api {
                Api::OpenAi | Api::Anthropic => Some(endpoint.upstream_suffix().to_owned()),
                Api::AzureOpenAi(azure) => Some(azure_path(azure, endpoint, model)),
                // Claude; it counts tokens elsewhere, as if that were a model of its own.
                Api::Vertex(vertex) => (endpoint == Endpoint::Messages)
                    .then(|| claude_path(vertex, model, "rawPredict")),
                Api::Gemini | Api::Bedrock(_) => None,
            };
            if let Some(path) = path {
                address.whole[endpoint as usize] = Some(format!("{base}{path}").parse()?);
            }
        }
        if let Api::Vertex(vertex) = &provider.api
            && native.is_some()
        {
            let path = claude_path(vertex, model, "streamRawPredict");
            address.in_pieces = Some(format!("{base}{path}").parse()?);
        }
        Ok(address)
    }

    /// Where `endpoint` is. `None`: the model does not understand it as it is.
    pub fn path(&self, endpoint: Endpoint, in_pieces: bool) -> Option<&PathAndQuery> {
        let whole = self.whole[endpoint as usize].as_ref()?;
        Some(self.in_pieces.as_ref().filter(|_| in_pieces).unwrap_or(whole))
    }
}

/// What stands before a codec's path.
pub fn prefix(provider: &Provider) -> String {
    let base = &provider.base_url.path_prefix;
    match &provider.api {
        Api::Gemini => format!("{base}/v1beta"),
        Api::Vertex(vertex) => format!("{base}{}/google", publishers(vertex)),
        Api::OpenAi | Api::Anthropic | Api::AzureOpenAi(_) | Api::Bedrock(_) => base.clone(),
    }
}

/// The endpoint by which a dialect's chat is asked for, where it has an address of its own.
pub fn chat_endpoint(speech: Speech) -> Option<Endpoint> {
    match speech {
        Speech::OpenAiChat => Some(Endpoint::ChatCompletions),
        Speech::OpenAiResponses => Some(Endpoint::Responses),
        Speech::Anthropic => Some(Endpoint::Messages),
        Speech::Gemini | Speech::Bedrock => None,
    }
}

/// With a version, deployments stand in the address; responses, which have none there, and everything
/// without a version are at the API's present form.
/// <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference>,
/// <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/api-version-lifecycle>
fn azure_path(azure: &Azure, endpoint: Endpoint, deployment: &str) -> String {
    let suffix = endpoint.upstream_suffix();
    match &azure.api_version {
        Some(version) if endpoint != Endpoint::Responses => {
            let deployment = encode_segment(deployment);
            format!("/openai/deployments/{deployment}{suffix}?api-version={version}")
        }
        _ => format!("/openai/v1{suffix}"),
    }
}

fn claude_path(vertex: &Vertex, model: &str, method: &str) -> String {
    format!("{}/anthropic/models/{}:{method}", publishers(vertex), encode_segment(model))
}

fn publishers(vertex: &Vertex) -> String {
    let Vertex { project, location, .. } = vertex;
    format!("/v1/projects/{project}/locations/{location}/publishers")
}
