//! The shapes of `providers.<name>` for the clouds' own dialects. They stand here and nowhere else.

use super::yaml::{Map, Yaml};

/// Where Gemini's own API is.
pub(super) const GEMINI: &str = "https://generativelanguage.googleapis.com";
/// The version of Azure's API where the source names none.
pub(super) const AZURE_VERSION: &str = "2024-10-21";

/// How Azure is told who calls.
pub(super) enum AzureCredential {
    Key(String),
    /// An application of Microsoft Entra ID.
    Entra {
        tenant_id: Yaml,
        client_id: Yaml,
        client_secret: String,
    },
}

/// Keys of an AWS account, as references.
pub(super) struct AwsKeys {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
}

/// Google's Gemini API.
pub(super) fn gemini(base_url: Yaml, api_key: &str) -> Map {
    let mut map = Map::default();
    map.text("dialect", "gemini");
    map.put("base_url", base_url);
    map.text("api_key", api_key);
    map
}

/// Azure OpenAI.
pub(super) fn azure(base_url: Yaml, api_version: Yaml, credential: AzureCredential) -> Map {
    let mut map = Map::default();
    map.text("dialect", "azure_openai");
    map.put("base_url", base_url);
    map.put("api_version", api_version);
    match credential {
        AzureCredential::Key(api_key) => map.text("api_key", api_key),
        AzureCredential::Entra { tenant_id, client_id, client_secret } => {
            let mut entra = Map::default();
            entra.put("tenant_id", tenant_id);
            entra.put("client_id", client_id);
            entra.text("client_secret", client_secret);
            map.put("entra", Yaml::Map(entra));
        }
    }
    map
}

/// Amazon Bedrock.
pub(super) fn bedrock(region: Yaml, keys: AwsKeys) -> Map {
    let mut aws = Map::default();
    aws.text("access_key_id", keys.access_key_id);
    aws.text("secret_access_key", keys.secret_access_key);
    if let Some(token) = keys.session_token {
        aws.text("session_token", token);
    }
    let mut map = Map::default();
    map.text("dialect", "bedrock");
    map.put("region", region);
    map.put("aws", Yaml::Map(aws));
    map
}

/// Google Cloud's Vertex AI.
pub(super) fn vertex(project: Yaml, location: Yaml, service_account: &str) -> Map {
    let mut map = Map::default();
    map.text("dialect", "vertex");
    map.put("project", project);
    map.put("location", location);
    map.text("service_account", service_account);
    map
}
