//! What a target's model can, by its name: what a translation for it may use.
//!
//! A name that tells nothing is taken for one of the newest: these change, and what they can't do they refuse.

use sluicegate_chat::Capabilities;

/// What `model` can at the provider that is `known` by this name.
pub(super) fn of(known: Option<&str>, model: &str) -> Capabilities {
    // What copies OpenAI's API mostly copies its older words.
    let of_openai = matches!(known, Some("openai" | "azure"));
    let claude = claude(model);
    let since = |version| claude.is_none_or(|claude| claude >= version);
    Capabilities {
        max_completion_tokens: of_openai,
        developer_role: of_openai,
        // <https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking>
        adaptive_thinking: since((4, 6)),
        // <https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs>
        structured_output: since((4, 5)),
        // <https://ai.google.dev/gemini-api/docs/thinking>
        thinking_levels: !["gemini-1", "gemini-2"].iter().any(|old| model.contains(old)),
        ..Capabilities::default()
    }
}

/// The version that a name of Anthropic's tells, such as `claude-3-7-sonnet-20250219`,
/// `claude-sonnet-4@20250514` and `eu.anthropic.claude-opus-4-5-20251101-v1:0`. `None`: it tells none.
fn claude(model: &str) -> Option<(u8, u8)> {
    let (_, rest) = model.split_once("claude")?;
    let mut numbers = rest
        .split(['-', '.', '@', ':'])
        // Longer ones are dates; from `v1` on it is the version of the packing.
        .take_while(|part| part.len() < 8 && !is_packing(part))
        .filter_map(|part| part.parse().ok());
    let major = numbers.next()?;
    Some((major, numbers.next().unwrap_or(0)))
}

fn is_packing(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_off_names() {
        for (name, version) in [
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-3-haiku@20240307", Some((3, 0))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-opus-4-1@20250805", Some((4, 1))),
            ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Some((4, 5))),
            ("anthropic.claude-opus-4-6-v1", Some((4, 6))),
            ("claude-sonnet-4.5", Some((4, 5))),
            ("claude-opus-latest", None),
            ("claude-instant-v1", None),
            ("gpt-4o", None),
        ] {
            assert_eq!(claude(name), version, "{name}");
        }
    }

    #[test]
    fn older_models_can_less() {
        let old = of(Some("anthropic"), "claude-3-7-sonnet-20250219");
        assert!(!old.adaptive_thinking && !old.structured_output);
        let new = of(Some("anthropic"), "claude-opus-4-6");
        assert!(new.adaptive_thinking && new.structured_output);
        assert!(!of(Some("google"), "gemini-2.5-flash").thinking_levels);
        assert!(of(Some("google"), "gemini-3-pro").thinking_levels);
        assert!(of(Some("openai"), "gpt-5").max_completion_tokens);
        assert!(!of(Some("mistral"), "mistral-large").max_completion_tokens);
    }
}
