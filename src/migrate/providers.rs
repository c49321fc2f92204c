//! `providers`: from each deployment's parameters to a provider, one for all that share address and key.

use http::HeaderName;

use super::at::{At, clean, join};
use super::clouds::{self, AwsKeys, AzureCredential};
use super::variables::{self, Holds, looks_secret};
use super::yaml::{Map, Yaml};
use super::{Fate, Migration};
use crate::config;
use crate::providers::catalogue::{self, Key, StreamUsage};

/// The parameters of one deployment, those of the credential that it names included.
#[derive(Clone)]
pub(super) struct Params<'n> {
    pub(super) own: At<'n>,
    pub(super) credential: Option<At<'n>>,
}

impl<'n> Params<'n> {
    pub(super) fn get(&self, key: &str) -> Option<At<'n>> {
        self.own.get(key).or_else(|| self.credential.as_ref()?.get(key))
    }
}

/// A kind of provider as LiteLLM knows it.
#[derive(Debug)]
struct Service {
    /// LiteLLM's names for it.
    names: &'static [&'static str],
    /// Ours: the catalogue's, where it is in there.
    name: &'static str,
    /// Where LiteLLM finds the key when the file has none.
    variable: &'static str,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// OpenAI's dialect below the address as it is written.
    Plain,
    /// OpenAI's dialect below `/v1` of the address.
    BelowV1,
    Anthropic,
    Gemini,
    Azure,
    Bedrock,
    Vertex,
}

const fn plain(
    names: &'static [&'static str],
    name: &'static str,
    variable: &'static str,
) -> Service {
    Service { names, name, variable, what: What::Plain }
}

/// <https://docs.litellm.ai/docs/providers>
static SERVICES: &[Service] = &[
    plain(
        &["openai", "text-completion-openai", "custom_openai", "openai_like", "litellm_proxy"],
        "openai",
        "OPENAI_API_KEY",
    ),
    Service {
        names: &["anthropic", "anthropic_text"],
        name: "anthropic",
        variable: "ANTHROPIC_API_KEY",
        what: What::Anthropic,
    },
    Service { names: &["gemini"], name: "gemini", variable: "GEMINI_API_KEY", what: What::Gemini },
    Service {
        names: &["azure", "azure_text"],
        name: "azure",
        variable: "AZURE_API_KEY",
        what: What::Azure,
    },
    Service {
        names: &["bedrock", "bedrock_converse"],
        name: "bedrock",
        variable: "AWS_SECRET_ACCESS_KEY",
        what: What::Bedrock,
    },
    Service {
        names: &["vertex_ai", "vertex_ai_beta"],
        name: "vertex",
        variable: "GOOGLE_APPLICATION_CREDENTIALS",
        what: What::Vertex,
    },
    Service {
        names: &["ollama", "ollama_chat"],
        name: "ollama",
        variable: "OLLAMA_API_KEY",
        what: What::BelowV1,
    },
    Service {
        names: &["huggingface"],
        name: "huggingface",
        variable: "HUGGINGFACE_API_KEY",
        what: What::BelowV1,
    },
    plain(&["cerebras"], "cerebras", "CEREBRAS_API_KEY"),
    plain(&["cohere", "cohere_chat"], "cohere", "COHERE_API_KEY"),
    plain(&["dashscope"], "dashscope", "DASHSCOPE_API_KEY"),
    plain(&["deepinfra"], "deepinfra", "DEEPINFRA_API_KEY"),
    plain(&["deepseek"], "deepseek", "DEEPSEEK_API_KEY"),
    plain(&["fireworks_ai"], "fireworks", "FIREWORKS_AI_API_KEY"),
    plain(&["github"], "github", "GITHUB_API_KEY"),
    plain(&["groq"], "groq", "GROQ_API_KEY"),
    plain(&["hyperbolic"], "hyperbolic", "HYPERBOLIC_API_KEY"),
    plain(&["lm_studio"], "lm_studio", "LM_STUDIO_API_KEY"),
    plain(&["mistral"], "mistral", "MISTRAL_API_KEY"),
    plain(&["moonshot"], "moonshot", "MOONSHOT_API_KEY"),
    plain(&["novita"], "novita", "NOVITA_API_KEY"),
    plain(&["nvidia_nim"], "nvidia", "NVIDIA_NIM_API_KEY"),
    plain(&["openrouter"], "openrouter", "OPENROUTER_API_KEY"),
    plain(&["perplexity"], "perplexity", "PERPLEXITYAI_API_KEY"),
    plain(&["sambanova"], "sambanova", "SAMBANOVA_API_KEY"),
    plain(&["together_ai"], "together", "TOGETHERAI_API_KEY"),
    plain(&["hosted_vllm", "xinference", "llamafile"], "vllm", "HOSTED_VLLM_API_KEY"),
    plain(&["xai"], "xai", "XAI_API_KEY"),
    plain(&["zai"], "zai", "ZAI_API_KEY"),
];

/// Beginnings of names that LiteLLM knows without a provider before them.
const BARE: [(&str, &str); 14] = [
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("ft:", "openai"),
    ("text-embedding-", "openai"),
    ("davinci", "openai"),
    ("babbage", "openai"),
    ("claude", "anthropic"),
    ("gemini-", "vertex_ai"),
    ("command", "cohere_chat"),
    ("deepseek-", "deepseek"),
    ("mistral-", "mistral"),
];

/// What people write for a key where none is needed.
const NO_KEY: [&str; 9] =
    ["none", "empty", "dummy", "fake", "fake-key", "not-needed", "no-key", "na", "anything"];

/// A provider, before it has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spec {
    service: &'static str,
    /// Another address than the catalogue's.
    base_url: Option<Yaml>,
    api_key: Option<String>,
    headers: Vec<(String, String)>,
    /// The whole of it, for a cloud's dialect.
    cloud: Option<Map>,
}

#[derive(Debug)]
struct Provider {
    name: String,
    /// LiteLLM's name.
    litellm: &'static str,
    spec: Spec,
}

/// The providers so far.
#[derive(Debug, Default)]
pub(super) struct Providers(Vec<Provider>);

/// Where a deployment leads.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Our provider's name.
    pub(super) provider: String,
    /// The model's name there.
    pub(super) model: Yaml,
    /// Whether that stands for many.
    pub(super) wildcard: bool,
}

/// What is decided while the provider has no name yet.
type Fates<'n> = Vec<(At<'n>, &'static str, Fate)>;

/// Why a deployment can't be carried over, and what to do.
type Refusal = (String, &'static str);

impl Providers {
    /// Our providers that LiteLLM calls `name`.
    pub(super) fn called(&self, name: &str) -> Vec<&str> {
        let of = |provider: &&Provider| {
            SERVICES.iter().any(|service| {
                service.names.contains(&name) && service.names[0] == provider.litellm
            })
        };
        self.0.iter().filter(of).map(|provider| provider.name.as_str()).collect()
    }

    pub(super) fn into_yaml(self) -> Map {
        let mut map = Map::default();
        for Provider { name, spec, .. } in self.0 {
            map.put(&name, Yaml::Map(spec.into_yaml(&name)));
        }
        map
    }

    /// The provider of a deployment, added where it is new.
    pub(super) fn of<'n>(
        &mut self,
        migration: &mut Migration<'n>,
        params: &Params<'n>,
    ) -> Result<Place, Refusal> {
        let model = params.get("model").ok_or_else(no_model)?;
        let text = model.text().ok_or_else(no_model)?;
        let (service, rest) = service(params, text)?;
        let mut fates = Fates::new();
        let (mut spec, hint, model) = match service.what {
            What::Plain | What::BelowV1 | What::Anthropic => {
                let (spec, hint) = openai_like(migration, service, params, &mut fates)?;
                (spec, hint, upstream(service, rest))
            }
            What::Gemini => {
                (gemini(migration, params, &mut fates)?, String::new(), rest.to_owned())
            }
            What::Azure => azure(migration, params, rest, &mut fates)?,
            What::Bedrock => bedrock(migration, params, rest, &mut fates)?,
            What::Vertex => vertex(migration, params, rest, &mut fates)?,
        };
        if model.is_empty() {
            return Err(no_model());
        }
        headers(migration, params, &mut spec, &mut fates);
        let provider = self.add(service, spec, &hint);
        for (at, suffix, fate) in &fates {
            let mut to = join("providers", &provider);
            if !suffix.is_empty() {
                to = format!("{to}.{suffix}");
            }
            migration.settle(at, &to, fate);
        }
        if let Some(at) = params.get("custom_llm_provider") {
            migration.accounts.carried(&at, join("providers", &provider));
        }
        Ok(Place { provider, wildcard: model.contains('*'), model: Yaml::Text(model) })
    }

    fn add(&mut self, service: &'static Service, spec: Spec, hint: &str) -> String {
        if let Some(known) = self.0.iter().find(|provider| provider.spec == spec) {
            return known.name.clone();
        }
        let simple = |char: char| if char.is_ascii_alphanumeric() { char } else { '-' };
        let hint: String = hint.chars().take(40).map(simple).collect::<String>().to_lowercase();
        let hint = hint.trim_matches('-');
        let base = match (hint, &spec.base_url) {
            ("", _) => service.name.to_owned(),
            // Under the catalogue's own name, nobody would expect another address.
            (hint, Some(_)) => format!("{}-{hint}", service.name),
            (_, None) => service.name.to_owned(),
        };
        let mut name = base.clone();
        let mut number = 2;
        while self.0.iter().any(|provider| provider.name == name) {
            name = format!("{base}-{number}");
            number += 1;
        }
        self.0.push(Provider { name: name.clone(), litellm: service.names[0], spec });
        name
    }
}

impl Spec {
    fn new(service: &'static Service) -> Self {
        let (base_url, api_key, cloud) = (None, None, None);
        Self { service: service.name, base_url, api_key, headers: Vec::new(), cloud }
    }

    fn into_yaml(self, name: &str) -> Map {
        let mut map = self.cloud.unwrap_or_default();
        if map.is_empty() {
            let known = catalogue::find(self.service);
            let own_name = known.is_some_and(|entry| entry.name == name);
            if !own_name || self.base_url.is_some() {
                let dialect = known.map_or("openai", |entry| entry.dialect.name());
                map.text("dialect", dialect);
                let base_url = self.base_url.unwrap_or_else(|| {
                    Yaml::Text(known.map(|entry| entry.base_url).unwrap_or_default().to_owned())
                });
                map.put("base_url", base_url);
            }
            if let Some(api_key) = self.api_key {
                map.text("api_key", api_key);
            }
            let always = known.is_some_and(|it| it.quirks.stream_usage == StreamUsage::Always);
            if !own_name && always && self.service != "anthropic" {
                map.plain("stream_usage", false);
            }
        }
        let mut headers = Map::default();
        for (name, value) in self.headers {
            headers.text(&name, value);
        }
        map.some("headers", Yaml::Map(headers));
        map
    }
}

fn no_model() -> Refusal {
    ("names no model".to_owned(), "write `litellm_params.model`, and migrate again")
}

/// Which service serves `model`, and what the model is called without it.
fn service<'t>(
    params: &Params<'_>,
    model: &'t str,
) -> Result<(&'static Service, &'t str), Refusal> {
    let find = |name: &str| SERVICES.iter().find(|service| service.names.contains(&name));
    if variables::is_reference(model) {
        let message = "the model's name comes from a variable, so its provider can't be told";
        return Err((message.to_owned(), "write the model's name out, and migrate again"));
    }
    if let Some(custom) = params.get("custom_llm_provider") {
        let name = custom.text().unwrap_or_default();
        let service = find(name).ok_or_else(|| unknown(name))?;
        let rest = model.strip_prefix(name).and_then(|rest| rest.strip_prefix('/'));
        return Ok((service, rest.unwrap_or(model)));
    }
    if let Some((name, rest)) = model.split_once('/') {
        return find(name).map(|service| (service, rest)).ok_or_else(|| unknown(name));
    }
    if model == "*" {
        let message = "a wildcard for all providers";
        return Err((message.to_owned(), "name each model that is to be served in `models`"));
    }
    let bare = BARE.iter().find(|(beginning, _)| model.starts_with(beginning));
    bare.and_then(|(_, name)| find(name)).map(|service| (service, model)).ok_or_else(|| {
        let message = "its provider can't be told from the model's name";
        (message.to_owned(), "write it as provider/model, and migrate again")
    })
}

fn unknown(name: &str) -> Refusal {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let action =
        "add it to `providers` with `dialect: openai`, where it has an address that speaks it";
    if name.len() <= 32 && name.bytes().all(plain) && !looks_secret(name) {
        (format!("the provider `{}` has no equal", clean(name)), action)
    } else {
        ("its provider has no equal".to_owned(), action)
    }
}

/// The model's name at a provider that speaks OpenAI's dialect, or Anthropic's.
fn upstream(service: &Service, rest: &str) -> String {
    if service.name == "huggingface"
        && let Some((provider, model)) = rest.split_once('/')
        && model.contains('/')
    {
        // LiteLLM's `huggingface/<provider>/<owner>/<model>` is `<owner>/<model>:<provider>` there.
        return format!("{model}:{provider}");
    }
    rest.to_owned()
}

fn openai_like<'n>(
    migration: &mut Migration<'n>,
    service: &'static Service,
    params: &Params<'n>,
    fates: &mut Fates<'n>,
) -> Result<(Spec, String), Refusal> {
    let mut spec = Spec::new(service);
    let mut hint = String::new();
    let known = catalogue::find(service.name);
    if let Some(found) = address(migration, params, service.what)? {
        let usual = known.is_some_and(|it| found.url == Yaml::Text(it.base_url.to_owned()));
        if usual {
            fates.push((found.at, "", found.fate));
        } else {
            fates.push((found.at, "base_url", found.fate));
            spec.base_url = Some(found.url);
            hint = found.host;
        }
    }
    let required = known.is_none_or(|entry| entry.key == Key::Required);
    let placeholder = |at: &At<'_>| {
        at.text().is_some_and(|text| NO_KEY.contains(&text.to_ascii_lowercase().as_str()))
    };
    match params.get("api_key") {
        Some(at) if spec.base_url.is_some() && placeholder(&at) => {
            migration.accounts.not_needed(&at, "stands for no key");
        }
        Some(at) => {
            let meaning = format!("the key for {}", service.name);
            let (reference, fate) = migration
                .secret(&at, service.variable, Holds::Secret, &meaning)
                .ok_or_else(unusable_key)?;
            spec.api_key = Some(reference);
            fates.push((at, "api_key", fate));
        }
        None if required => {
            let meaning = format!("the key for {}, where LiteLLM looks for it", service.name);
            let name = migration.variables.named(service.variable, Holds::Secret, &meaning);
            spec.api_key = Some(format!("env:{name}"));
        }
        None => {}
    }
    if let Some(at) = params.get("organization")
        && let Some((value, fate)) =
            text_or_secret(migration, &at, false, "PROVIDER_HEADER", PROVIDER_HEADER)
    {
        spec.headers.push(("openai-organization".to_owned(), value));
        fates.push((at, "headers.openai-organization", fate));
    }
    Ok((spec, hint))
}

fn unusable_key() -> Refusal {
    ("its key can't be used".to_owned(), "mend `api_key`, and migrate again")
}

/// An address of the source.
struct Address<'n> {
    at: At<'n>,
    url: Yaml,
    /// A word for its host.
    host: String,
    fate: Fate,
}

/// `api_base`.
fn address<'n>(
    migration: &mut Migration<'n>,
    params: &Params<'n>,
    what: What,
) -> Result<Option<Address<'n>>, Refusal> {
    let Some(at) = params.get("api_base").or_else(|| params.get("base_url")) else {
        return Ok(None);
    };
    let refused = || {
        let action = "write it as in https://api.example.com/v1, and migrate again";
        ("its address can't be used".to_owned(), action)
    };
    let (value, fate) =
        migration.value(&at, Holds::BaseUrl, "a provider's URL").ok_or_else(refused)?;
    let (url, host) = match value {
        Yaml::Text(text) => {
            let url = match what {
                What::Azure => azure_resource(&text),
                What::Anthropic => trimmed(&text, &["/v1/messages", "/v1"]),
                What::Gemini => trimmed(&text, &["/v1beta"]),
                _ => trimmed(&text, &["/chat/completions", "/embeddings"]),
            };
            let base = config::parse_base_url(url).map_err(|_| refused())?;
            if matches!(what, What::Azure | What::Gemini) && config::names_version(&base) {
                let action = "write what is before the version, and migrate again";
                return Err(("its address names another version of the API".to_owned(), action));
            }
            let below = what == What::BelowV1 && base.path_prefix.is_empty();
            let url = if below { format!("{url}/v1") } else { url.to_owned() };
            (Yaml::Text(url), base.host)
        }
        Yaml::Plain(variable) => {
            let host = variable.trim_matches(['$', '{', '}']).to_owned();
            let url = if what == What::BelowV1 { format!("{variable}/v1") } else { variable };
            (Yaml::Plain(url), host)
        }
        other => (other, String::new()),
    };
    Ok(Some(Address { at, url, host, fate }))
}

/// A URL without slashes at its end, and without an endpoint that is ours to add.
fn trimmed<'t>(text: &'t str, endpoints: &[&str]) -> &'t str {
    let text = text.trim().trim_end_matches('/');
    let cut = endpoints.iter().find_map(|endpoint| text.strip_suffix(endpoint));
    cut.unwrap_or(text).trim_end_matches('/')
}

/// Of Azure's addresses, the part that names the resource.
fn azure_resource(text: &str) -> &str {
    let text = text.trim();
    let text = text.split_once('?').map_or(text, |(before, _)| before);
    let text = text.split_once("/openai").map_or(text, |(before, _)| before);
    text.trim_end_matches('/')
}

/// The version of the API that an address names.
fn azure_version(text: &str) -> Option<&str> {
    let (_, query) = text.split_once('?')?;
    let version = query.split('&').find_map(|pair| pair.strip_prefix("api-version="))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    (!version.is_empty() && version.len() <= 32 && version.bytes().all(plain)).then_some(version)
}

/// The key at `api_key`, or where LiteLLM looks for it otherwise.
fn required_key<'n>(
    migration: &mut Migration<'n>,
    params: &Params<'n>,
    key: &'static str,
    variable: &'static str,
    suffix: &'static str,
    fates: &mut Fates<'n>,
) -> Result<String, Refusal> {
    let Some(at) = params.get(key) else {
        let meaning = "a provider's credential, where LiteLLM looks for it";
        let name = migration.variables.named(variable, Holds::Secret, meaning);
        return Ok(format!("env:{name}"));
    };
    let found = migration.secret(&at, variable, Holds::Secret, "a provider's credential");
    let (reference, fate) = found.ok_or_else(unusable_key)?;
    fates.push((at, suffix, fate));
    Ok(reference)
}

/// The text at the first of `keys`, or the variable where LiteLLM looks for it otherwise.
fn required_text<'n>(
    migration: &mut Migration<'n>,
    params: &Params<'n>,
    keys: &[&str],
    variable: &str,
    suffix: &'static str,
    fates: &mut Fates<'n>,
) -> Result<Yaml, Refusal> {
    let Some(at) = keys.iter().find_map(|key| params.get(key)) else {
        let meaning = "a provider's setting, where LiteLLM looks for it";
        let name = migration.variables.named(variable, Holds::Text, meaning);
        return Ok(Yaml::Plain(format!("${{{name}}}")));
    };
    let found = migration.value(&at, Holds::Text, "a provider's setting");
    let (value, fate) = found.filter(|(value, _)| is_word(value)).ok_or_else(|| {
        ("its provider's settings can't be used".to_owned(), "mend them, and migrate again")
    })?;
    fates.push((at, suffix, fate));
    Ok(value)
}

/// Whether it can be a part of an address, and is no reference of ours.
fn is_word(value: &Yaml) -> bool {
    let Yaml::Text(text) = value else { return true };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.len() <= 128 && text.bytes().all(plain) && text.bytes().any(|byte| byte != b'.')
}

fn cloud(service: &str, map: Map) -> Spec {
    let service = SERVICES.iter().find(|known| known.name == service).unwrap_or(&SERVICES[0]);
    Spec { cloud: Some(map), ..Spec::new(service) }
}

fn gemini<'n>(
    migration: &mut Migration<'n>,
    params: &Params<'n>,
    fates: &mut Fates<'n>,
) -> Result<Spec, Refusal> {
    let base_url = match address(migration, params, What::Gemini)? {
        Some(found) => {
            fates.push((found.at, "base_url", found.fate));
            found.url
        }
        None => Yaml::Text(clouds::GEMINI.to_owned()),
    };
    let api_key = required_key(migration, params, "api_key", "GEMINI_API_KEY", "api_key", fates)?;
    Ok(cloud("gemini", clouds::gemini(base_url, &api_key)))
}

fn azure<'n>(
    migration: &mut Migration<'n>,
    params: &Params<'n>,
    rest: &str,
    fates: &mut Fates<'n>,
) -> Result<(Spec, String, String), Refusal> {
    let mut told = None;
    let (base_url, hint) = match address(migration, params, What::Azure)? {
        Some(found) => {
            told = found.at.text().and_then(azure_version);
            fates.push((found.at, "base_url", found.fate));
            let label = found.host.split('.').next().unwrap_or_default().to_owned();
            (found.url, label)
        }
        None => {
            let meaning = "the URL of the Azure resource, where LiteLLM looks for it";
            let name = migration.variables.named("AZURE_API_BASE", Holds::BaseUrl, meaning);
            (Yaml::Plain(format!("${{{name}}}")), String::new())
        }
    };
    let version = match params.get("api_version") {
        Some(at) => {
            let found = migration.value(&at, Holds::Text, "the version of Azure's API");
            let (value, fate) = found.filter(|(value, _)| is_word(value)).ok_or_else(|| {
                ("its API's version can't be used".to_owned(), "mend it, and migrate again")
            })?;
            fates.push((at, "api_version", fate));
            value
        }
        None => Yaml::Text(told.unwrap_or(clouds::AZURE_VERSION).to_owned()),
    };
    let credential = if params.get("api_key").is_none() && params.get("tenant_id").is_some() {
        AzureCredential::Entra {
            tenant_id: required_text(
                migration,
                params,
                &["tenant_id"],
                "AZURE_TENANT_ID",
                "entra.tenant_id",
                fates,
            )?,
            client_id: required_text(
                migration,
                params,
                &["client_id"],
                "AZURE_CLIENT_ID",
                "entra.client_id",
                fates,
            )?,
            client_secret: required_key(
                migration,
                params,
                "client_secret",
                "AZURE_CLIENT_SECRET",
                "entra.client_secret",
                fates,
            )?,
        }
    } else {
        AzureCredential::Key(required_key(
            migration,
            params,
            "api_key",
            "AZURE_API_KEY",
            "api_key",
            fates,
        )?)
    };
    if let Some(at) = params.get("azure_ad_token") {
        let message = "a token that somebody else got is out of date within hours";
        let action = "use `api_key`, or `entra` with an application of yours";
        migration.accounts.no_equal(&at, message, action);
    }
    let model = ["o_series/", "gpt5_series/", "responses/"]
        .iter()
        .find_map(|kind| rest.strip_prefix(kind))
        .unwrap_or(rest);
    let mut spec = cloud("azure", clouds::azure(base_url.clone(), version, credential));
    spec.base_url = Some(base_url);
    Ok((spec, hint, model.to_owned()))
}

fn bedrock<'n>(
    migration: &mut Migration<'n>,
    params: &Params<'n>,
    rest: &str,
    fates: &mut Fates<'n>,
) -> Result<(Spec, String, String), Refusal> {
    let mut model = rest;
    let mut named = None;
    while let Some((first, behind)) = model.split_once('/') {
        let kind = ["converse", "invoke", "converse_like", "deepseek_r1", "llama", "nova", "qwen3"];
        if is_region(first) {
            named = Some(first.to_owned());
        } else if !kind.contains(&first) {
            break;
        }
        model = behind;
    }
    let region = match named {
        Some(region) => Yaml::Text(region),
        None => required_text(
            migration,
            params,
            &["aws_region_name"],
            "AWS_REGION_NAME",
            "region",
            fates,
        )?,
    };
    let hint = match &region {
        Yaml::Text(text) if is_region(text) => text.clone(),
        _ => String::new(),
    };
    let keys = AwsKeys {
        access_key_id: required_key(
            migration,
            params,
            "aws_access_key_id",
            "AWS_ACCESS_KEY_ID",
            "aws.access_key_id",
            fates,
        )?,
        secret_access_key: required_key(
            migration,
            params,
            "aws_secret_access_key",
            "AWS_SECRET_ACCESS_KEY",
            "aws.secret_access_key",
            fates,
        )?,
        session_token: match params.get("aws_session_token") {
            None => None,
            Some(_) => Some(required_key(
                migration,
                params,
                "aws_session_token",
                "AWS_SESSION_TOKEN",
                "aws.session_token",
                fates,
            )?),
        },
    };
    for key in [
        "aws_role_name",
        "aws_session_name",
        "aws_profile_name",
        "aws_web_identity_token",
        "aws_sts_endpoint",
        "aws_external_id",
        "aws_bedrock_runtime_endpoint",
    ] {
        if let Some(at) = params.get(key) {
            let message = "an account is told by its keys alone";
            let action = "give keys of a user or a session that may call Bedrock";
            migration.accounts.no_equal(&at, message, action);
        }
    }
    let mut spec = cloud("bedrock", clouds::bedrock(region.clone(), keys));
    spec.base_url = Some(region);
    Ok((spec, hint, model.to_owned()))
}

fn vertex<'n>(
    migration: &mut Migration<'n>,
    params: &Params<'n>,
    rest: &str,
    fates: &mut Fates<'n>,
) -> Result<(Spec, String, String), Refusal> {
    let project = required_text(
        migration,
        params,
        &["vertex_project", "vertex_ai_project"],
        "VERTEXAI_PROJECT",
        "project",
        fates,
    )?;
    let location = required_text(
        migration,
        params,
        &["vertex_location", "vertex_ai_location"],
        "VERTEXAI_LOCATION",
        "location",
        fates,
    )?;
    let hint = match &location {
        Yaml::Text(text) => text.clone(),
        _ => String::new(),
    };
    let keys = ["vertex_credentials", "vertex_ai_credentials"];
    let account = match keys.iter().find_map(|key| params.get(key)) {
        // LiteLLM takes a path as well as the JSON itself.
        Some(at) if at.text().is_some_and(is_path) => {
            let path = at.text().unwrap_or_default();
            fates.push((at, "service_account", Fate::Carried));
            format!("file:{path}")
        }
        Some(at) if at.is_map() => {
            let meaning = format!("the service account at {} as JSON", at.path);
            let name = migration.variables.fresh("VERTEX_SERVICE_ACCOUNT", Holds::Secret, &meaning);
            let message = "a secret does not stand in the file".to_owned();
            let action = format!("set {name} to it as JSON, on one line");
            fates.push((at, "service_account", Fate::Changed(message, Some(action))));
            format!("env:{name}")
        }
        Some(at) => {
            let meaning = "a service account as JSON";
            let found = migration.secret(&at, "VERTEX_SERVICE_ACCOUNT", Holds::Secret, meaning);
            let (reference, fate) = found.ok_or_else(unusable_key)?;
            fates.push((at, "service_account", fate));
            reference
        }
        None => {
            let meaning = "a service account as JSON; what LiteLLM finds on the machine is not \
                           looked at here";
            let name = migration.variables.named("VERTEX_SERVICE_ACCOUNT", Holds::Secret, meaning);
            format!("env:{name}")
        }
    };
    let mut spec = cloud("vertex", clouds::vertex(project, location.clone(), &account));
    spec.base_url = Some(location);
    Ok((spec, hint, rest.to_owned()))
}

fn is_path(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    plain && text.ends_with(".json") && text.len() < 512
}

/// Such as `us-east-1` or `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let first = parts.next().is_some_and(|part| part.len() == 2 && letters(part));
    let last = parts
        .next_back()
        .is_some_and(|part| part.len() == 1 && part.as_bytes()[0].is_ascii_digit());
    let mut middle = parts.peekable();
    first && last && middle.peek().is_some() && middle.all(letters)
}

/// `extra_headers` and `headers`.
fn headers<'n>(
    migration: &mut Migration<'n>,
    params: &Params<'n>,
    spec: &mut Spec,
    fates: &mut Fates<'n>,
) {
    for key in ["extra_headers", "headers"] {
        let Some(map) = params.get(key) else { continue };
        if !map.is_map() {
            let message = "is not a mapping of headers";
            migration.accounts.no_equal(
                &map,
                message,
                "write it anew in `providers.<name>.headers`",
            );
            continue;
        }
        for (name, at) in map.entries() {
            let carries_key = spec.api_key.is_some()
                && ["authorization", "x-api-key", "api-key"].contains(&&*name.to_ascii_lowercase());
            let parsed = name.parse::<HeaderName>().ok().filter(|name| {
                !carries_key
                    && !config::is_own_header(name)
                    && !spec.headers.iter().any(|(other, _)| other == name.as_str())
            });
            let Some(name) = parsed.filter(|_| spec.cloud.is_none()) else {
                let message = "this header can't be set on a provider";
                let action = "see `providers.<name>.headers` and `request_headers.allow`";
                migration.accounts.no_equal(&at, message, action);
                continue;
            };
            let secret = names_secret(name.as_str());
            if let Some((value, fate)) =
                text_or_secret(migration, &at, secret, "PROVIDER_HEADER", PROVIDER_HEADER)
            {
                spec.headers.push((name.as_str().to_owned(), value));
                fates.push((at, "headers", fate));
            }
        }
    }
}

/// What the variable of a header holds.
const PROVIDER_HEADER: &str = "a header that a provider is sent";

/// Whether a header's name tells of a secret in its value.
pub(super) fn names_secret(name: &str) -> bool {
    const SECRET: [&str; 8] =
        ["key", "token", "secret", "auth", "password", "cookie", "credential", "signature"];
    SECRET.iter().any(|word| name.contains(word))
}

/// A value as it is, or a reference where it comes from a variable or may be a secret. `wanted` is the
/// variable for one that stands in the source.
pub(super) fn text_or_secret<'n>(
    migration: &mut Migration<'n>,
    at: &At<'n>,
    may_be_secret: bool,
    wanted: &'static str,
    meaning: &str,
) -> Option<(String, Fate)> {
    let text = at.text().unwrap_or_default();
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text;
    let refers = ["env:", "file:", "vault:", "aws:", "gcp:", "azure:", "k8s:"];
    if at.text().is_some()
        && printable
        && text.len() <= 1024
        && !variables::is_reference(text)
        && !text.contains("${")
        && !may_be_secret
        && !refers.iter().any(|prefix| text.starts_with(prefix))
        && text != config::secrets::REDACTED
        && !looks_secret(text)
    {
        return Some((text.to_owned(), Fate::Carried));
    }
    migration.secret(at, wanted, Holds::Secret, meaning)
}
