//! Providers that need only a key: who speaks what where.
//!
//! A table and nothing else. Addresses follow each provider's own documentation, whose page is noted
//! beside it; a configuration can say otherwise.

use super::dialect::ProviderDialect;

/// A provider as its documentation describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name in a configuration's `providers`.
    pub name: &'static str,
    /// The name that people use.
    pub display_name: &'static str,
    /// What it speaks.
    pub dialect: ProviderDialect,
    /// Where; without a slash at the end.
    pub base_url: &'static str,
    /// How a call carries the key.
    pub auth: Auth,
    /// Whether it wants a key at all.
    pub key: Key,
    /// The environment variable that its own clients read the key from.
    pub key_env: &'static str,
    /// Where it departs from its dialect.
    pub quirks: Quirks,
    /// The page that says so.
    pub documentation: &'static str,
}

/// How a call carries the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `authorization: Bearer <key>`.
    Bearer,
    /// The key alone in this header; in lower case.
    Header(&'static str),
}

/// Whether a provider wants a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Every call needs one.
    Required,
    /// It serves calls without one, as a server on one's own machine does.
    Optional,
}

/// Where a provider departs from its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// How a stream tells its usage.
    pub stream_usage: StreamUsage,
}

/// How a stream tells its usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamUsage {
    /// Where `stream_options.include_usage` asks for it.
    OnRequest,
    /// Always; `stream_options` is refused, or not documented.
    Always,
}

/// The entry called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}

const AS_DOCUMENTED: Quirks = Quirks { stream_usage: StreamUsage::OnRequest };

/// Every provider of the catalogue, by name.
pub static CATALOGUE: &[Entry] = &[
    Entry {
        name: "anthropic",
        display_name: "Anthropic",
        dialect: ProviderDialect::Anthropic,
        base_url: "https://api.anthropic.com",
        auth: Auth::Header("x-api-key"),
        key: Key::Required,
        key_env: "ANTHROPIC_API_KEY",
        quirks: Quirks { stream_usage: StreamUsage::Always },
        documentation: "https://docs.anthropic.com/en/api/messages",
    },
    Entry {
        name: "cerebras",
        display_name: "Cerebras",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.cerebras.ai/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "CEREBRAS_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://inference-docs.cerebras.ai/resources/openai",
    },
    Entry {
        name: "cohere",
        display_name: "Cohere (compatibility API)",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.cohere.ai/compatibility/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "COHERE_API_KEY",
        // Answers 4xx to `stream_options`.
        quirks: Quirks { stream_usage: StreamUsage::Always },
        documentation: "https://docs.cohere.com/docs/compatibility-api",
    },
    Entry {
        name: "dashscope",
        display_name: "Alibaba Cloud Model Studio (international)",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "DASHSCOPE_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
    },
    Entry {
        name: "deepinfra",
        display_name: "DeepInfra",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.deepinfra.com/v1/openai",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "DEEPINFRA_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://deepinfra.com/docs/openai_api",
    },
    Entry {
        name: "deepseek",
        display_name: "DeepSeek",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.deepseek.com/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "DEEPSEEK_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://api-docs.deepseek.com/",
    },
    Entry {
        name: "fireworks",
        display_name: "Fireworks AI",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.fireworks.ai/inference/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "FIREWORKS_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
    },
    Entry {
        name: "gemini",
        display_name: "Google Gemini (OpenAI compatibility)",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://generativelanguage.googleapis.com/v1beta/openai",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "GEMINI_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://ai.google.dev/gemini-api/docs/openai",
    },
    Entry {
        name: "github",
        display_name: "GitHub Models",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://models.github.ai/inference",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "GITHUB_TOKEN",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.github.com/en/github-models/quickstart",
    },
    Entry {
        name: "google",
        display_name: "Google Gemini",
        dialect: ProviderDialect::Gemini,
        base_url: "https://generativelanguage.googleapis.com",
        auth: Auth::Header("x-goog-api-key"),
        key: Key::Required,
        key_env: "GEMINI_API_KEY",
        quirks: Quirks { stream_usage: StreamUsage::Always },
        documentation: "https://ai.google.dev/api/generate-content",
    },
    Entry {
        name: "groq",
        display_name: "Groq",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.groq.com/openai/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "GROQ_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://console.groq.com/docs/openai",
    },
    Entry {
        name: "huggingface",
        display_name: "Hugging Face Inference Providers",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://router.huggingface.co/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "HF_TOKEN",
        quirks: AS_DOCUMENTED,
        documentation: "https://huggingface.co/docs/inference-providers/index",
    },
    Entry {
        name: "hyperbolic",
        display_name: "Hyperbolic",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.hyperbolic.xyz/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "HYPERBOLIC_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.hyperbolic.xyz/docs/rest-api",
    },
    Entry {
        name: "lm_studio",
        display_name: "LM Studio",
        dialect: ProviderDialect::OpenAi,
        base_url: "http://localhost:1234/v1",
        auth: Auth::Bearer,
        key: Key::Optional,
        key_env: "LM_STUDIO_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://lmstudio.ai/docs/app/api/endpoints/openai",
    },
    Entry {
        name: "mistral",
        display_name: "Mistral AI",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.mistral.ai/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "MISTRAL_API_KEY",
        // Answers 422 to `stream_options`; the last chunk has the usage anyhow.
        quirks: Quirks { stream_usage: StreamUsage::Always },
        documentation: "https://docs.mistral.ai/api/",
    },
    Entry {
        name: "moonshot",
        display_name: "Moonshot AI",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.moonshot.ai/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "MOONSHOT_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://platform.moonshot.ai/docs/api/chat",
    },
    Entry {
        name: "novita",
        display_name: "Novita AI",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.novita.ai/openai/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "NOVITA_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://novita.ai/docs/guides/llm-api",
    },
    Entry {
        name: "nvidia",
        display_name: "NVIDIA NIM",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://integrate.api.nvidia.com/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "NVIDIA_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.api.nvidia.com/nim/reference/llm-apis",
    },
    Entry {
        name: "ollama",
        display_name: "Ollama",
        dialect: ProviderDialect::OpenAi,
        base_url: "http://localhost:11434/v1",
        auth: Auth::Bearer,
        key: Key::Optional,
        key_env: "OLLAMA_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.ollama.com/api/openai-compatibility",
    },
    Entry {
        name: "openai",
        display_name: "OpenAI",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.openai.com/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "OPENAI_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://platform.openai.com/docs/api-reference/chat",
    },
    Entry {
        name: "openrouter",
        display_name: "OpenRouter",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://openrouter.ai/api/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "OPENROUTER_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://openrouter.ai/docs/api-reference/overview",
    },
    Entry {
        name: "perplexity",
        display_name: "Perplexity",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.perplexity.ai",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "PERPLEXITY_API_KEY",
        // `stream_options` is not documented; every chunk has the usage so far.
        quirks: Quirks { stream_usage: StreamUsage::Always },
        documentation: "https://docs.perplexity.ai/api-reference/chat-completions-post",
    },
    Entry {
        name: "sambanova",
        display_name: "SambaNova",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.sambanova.ai/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "SAMBANOVA_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.sambanova.ai/cloud/api-reference/endpoints/chat",
    },
    Entry {
        name: "together",
        display_name: "Together AI",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.together.xyz/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "TOGETHER_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.together.ai/docs/openai-api-compatibility",
    },
    Entry {
        name: "vllm",
        display_name: "vLLM",
        dialect: ProviderDialect::OpenAi,
        base_url: "http://localhost:8000/v1",
        auth: Auth::Bearer,
        key: Key::Optional,
        key_env: "VLLM_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    },
    Entry {
        name: "xai",
        display_name: "xAI",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.x.ai/v1",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "XAI_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.x.ai/docs/api-reference",
    },
    Entry {
        name: "zai",
        display_name: "Z.ai",
        dialect: ProviderDialect::OpenAi,
        base_url: "https://api.z.ai/api/paas/v4",
        auth: Auth::Bearer,
        key: Key::Required,
        key_env: "ZAI_API_KEY",
        quirks: AS_DOCUMENTED,
        documentation: "https://docs.z.ai/api-reference/introduction",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_without_doubles() {
        assert!(CATALOGUE.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(find("openai").map(|entry| entry.base_url), Some("https://api.openai.com/v1"));
        assert_eq!(find("nobody"), None);
    }

    #[test]
    fn a_key_never_leaves_this_machine_unencrypted() {
        for entry in CATALOGUE {
            let local = entry.base_url.starts_with("http://localhost:");
            assert!(entry.base_url.starts_with("https://") || local, "{}", entry.name);
            assert_eq!(entry.key == Key::Optional, local, "{}", entry.name);
        }
    }

    #[test]
    fn entries_are_complete() {
        for entry in CATALOGUE {
            assert!(!entry.base_url.ends_with('/'), "{}", entry.name);
            assert!(entry.documentation.starts_with("https://"), "{}", entry.name);
            assert!(!entry.display_name.is_empty(), "{}", entry.name);
            let variable = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
            assert!(entry.key_env.bytes().all(variable), "{}", entry.name);
            if let Auth::Header(name) = entry.auth {
                assert_eq!(http::HeaderName::from_static(name).as_str(), name);
            }
        }
    }
}
