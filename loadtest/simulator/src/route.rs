//! Which API a path belongs to.

use http::Uri;

use crate::{
    auth::decode,
    errors::{Dialect, Refusal},
    request::Endpoint,
};

/// Whose API it is, where that is more than the endpoint's dialect says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    /// The providers' own APIs.
    None,
    GoogleAi,
    Vertex,
    Azure,
    Bedrock,
}

/// A call's place.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    pub(crate) cloud: Cloud,
    /// The model that the path names, with its directives.
    pub(crate) model: Option<String>,
    /// Where the path says whether the answer is a stream.
    pub(crate) stream: Option<bool>,
}

impl Route {
    /// `None`: no endpoint of a model.
    pub(crate) fn from_uri(uri: &Uri) -> Option<Self> {
        let path = uri.path();
        if let Some(endpoint) = Endpoint::from_path(path) {
            return Some(Self { endpoint, cloud: Cloud::None, model: None, stream: None });
        }
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let call = |endpoint, cloud, model: &str, stream| {
            Some(Self { endpoint, cloud, model: Some(decode(model)?), stream: Some(stream) })
        };
        match segments[..] {
            ["v1beta", "models", last] => {
                let (model, stream) = generates(last)?;
                call(Endpoint::Gemini, Cloud::GoogleAi, model, stream)
            }
            ["v1", "projects", _, "locations", _, "publishers", "google", "models", last] => {
                let (model, stream) = generates(last)?;
                call(Endpoint::Gemini, Cloud::Vertex, model, stream)
            }
            ["v1", "projects", _, "locations", _, "publishers", "anthropic", "models", last] => {
                let (model, stream) = match last.rsplit_once(':')? {
                    (model, "rawPredict") => (model, false),
                    (model, "streamRawPredict") => (model, true),
                    _ => return None,
                };
                call(Endpoint::Messages, Cloud::Vertex, model, stream)
            }
            ["model", model, "converse"] => call(Endpoint::Converse, Cloud::Bedrock, model, false),
            ["model", model, "converse-stream"] => {
                call(Endpoint::Converse, Cloud::Bedrock, model, true)
            }
            ["openai", "deployments", deployment, ref rest @ ..] => {
                let endpoint = Endpoint::from_path(&format!("/v1/{}", rest.join("/")))?;
                let fits = matches!(
                    endpoint,
                    Endpoint::Chat | Endpoint::Completions | Endpoint::Embeddings
                );
                let model = Some(decode(deployment)?);
                fits.then_some(Self { endpoint, cloud: Cloud::Azure, model, stream: None })
            }
            ["openai", ref rest @ ..] => {
                let rest = if rest.first() == Some(&"v1") { &rest[1..] } else { rest };
                let endpoint = Endpoint::from_path(&format!("/v1/{}", rest.join("/")))?;
                let fits = endpoint.dialect() == Dialect::OpenAi
                    && (segments[1] == "v1" || endpoint == Endpoint::Responses);
                fits.then_some(Self { endpoint, cloud: Cloud::Azure, model: None, stream: None })
            }
            _ => None,
        }
    }

    /// The dialect of refusals.
    pub(crate) fn dialect(&self) -> Dialect {
        match self.cloud {
            Cloud::Azure => Dialect::Azure,
            _ => self.endpoint.dialect(),
        }
    }

    /// What the query has to say.
    pub(crate) fn check_query(&self, uri: &Uri) -> Result<(), Refusal> {
        match (self.endpoint, self.cloud) {
            (Endpoint::Gemini, _) if self.stream == Some(true) => {
                match parameter(uri, "alt").as_deref() {
                    Some("sse") => Ok(()),
                    _ => Err(Refusal::bad_request("The simulator streams with alt=sse only.")),
                }
            }
            (_, Cloud::Azure) if !uri.path().starts_with("/openai/v1/") => {
                match parameter(uri, "api-version").as_deref().map(is_version) {
                    Some(true) => Ok(()),
                    _ => Err(Refusal::new(http::StatusCode::NOT_FOUND, "Resource not found")),
                }
            }
            _ => Ok(()),
        }
    }
}

fn generates(last: &str) -> Option<(&str, bool)> {
    match last.rsplit_once(':')? {
        (model, "generateContent") => Some((model, false)),
        (model, "streamGenerateContent") => Some((model, true)),
        _ => None,
    }
}

/// A parameter of the query, decoded.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
    decode(value)
}

/// `YYYY-MM-DD`, or that with `-preview`.
fn is_version(version: &str) -> bool {
    let date = version.strip_suffix("-preview").unwrap_or(version);
    let parts: Vec<&str> = date.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [4, 2, 2] && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
}
