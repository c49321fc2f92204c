//! The text form of a [`Behaviour`]: `fault=stall,after=3,token_ms=10`.

use std::{str::FromStr, time::Duration};

use crate::{Behaviour, Chunking, Fault, LineEnding};

/// Why directives were refused. The simulator answers such a request with status 400, so that a
/// misspelt test does not pass by accident.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    /// An item without `=`.
    #[error("`{0}` is not of the form key=value")]
    NotAPair(String),
    /// A key that does not exist.
    #[error("unknown key `{0}`")]
    UnknownKey(String),
    /// A value that its key does not take.
    #[error("`{value}` is not a value of `{key}`")]
    BadValue {
        /// The key.
        key: &'static str,
        /// The refused value.
        value: String,
    },
    /// `after`, `status`, `seconds`, `ms` or `n` without a `fault` in the same text.
    #[error("`{0}` needs a `fault`")]
    NeedsFault(&'static str),
    /// Tokens times bytes a token exceed 64 MiB.
    #[error("the answer would be larger than 64 MiB")]
    TooLarge,
}

const MAX_TEXT: u64 = 64 << 20;

const MAX_CALLS: u32 = 128;

/// Ten years: longer than any test, and short enough for every timer.
const MAX_MILLISECONDS: u64 = 10 * 365 * 86_400 * 1000;

impl Behaviour {
    /// Changes what `directives` names: `key=value` items, separated by commas or semicolons.
    /// The table of keys is in the crate documentation.
    ///
    /// # Errors
    /// On the first item that is not understood; `self` is then unchanged.
    pub fn apply(&mut self, directives: &str) -> Result<(), DirectiveError> {
        let mut changed = *self;
        let mut fault = FaultParts::default();
        for item in items(directives) {
            let (key, value) =
                item.split_once('=').ok_or_else(|| DirectiveError::NotAPair(item.to_owned()))?;
            changed.set(&mut fault, key.trim(), value.trim())?;
        }
        fault.build(&mut changed.fault)?;
        if u64::from(changed.tokens) * u64::from(changed.token_text_bytes) > MAX_TEXT {
            return Err(DirectiveError::TooLarge);
        }
        *self = changed;
        Ok(())
    }

    fn set(
        &mut self,
        fault: &mut FaultParts,
        key: &str,
        value: &str,
    ) -> Result<(), DirectiveError> {
        match key {
            "first_token_ms" => self.first_token_delay = milliseconds("first_token_ms", value)?,
            "token_ms" => self.token_delay = milliseconds("token_ms", value)?,
            "tokens" => self.tokens = number("tokens", value)?,
            "text_bytes" => self.token_text_bytes = number("text_bytes", value)?,
            "unicode" => self.unicode = flag("unicode", value)?,
            "prompt_tokens" => self.prompt_tokens = Some(number("prompt_tokens", value)?),
            "cached_tokens" => self.cached_tokens = number("cached_tokens", value)?,
            "cache_write_tokens" => self.cache_write_tokens = number("cache_write_tokens", value)?,
            "reasoning_tokens" => self.reasoning_tokens = number("reasoning_tokens", value)?,
            "reasoning_content" => {
                self.reasoning_content = flag("reasoning_content", value)?;
            }
            "tool_calls" => {
                self.tool_calls = number("tool_calls", value)?;
                if self.tool_calls > MAX_CALLS {
                    return Err(bad("tool_calls", value));
                }
            }
            "strict" => self.strict = flag("strict", value)?,
            "omit_usage" => self.omit_usage = flag("omit_usage", value)?,
            "comments" => self.comments = flag("comments", value)?,
            "line" => {
                self.line_ending = match value {
                    "lf" => LineEnding::Lf,
                    "crlf" => LineEnding::CrLf,
                    _ => return Err(bad("line", value)),
                }
            }
            "chunking" => {
                self.chunking = match value {
                    "events" => Chunking::AsEvents,
                    "coalesce" => Chunking::Coalesce,
                    bytes => Chunking::Bytes(number("chunking", bytes)?),
                }
            }
            "fault" => fault.name = Some(value.replace('_', "-")),
            "after" => fault.after = Some(number("after", value)?),
            "seconds" => fault.seconds = Some(number("seconds", value)?),
            "ms" => fault.delay = Some(milliseconds("ms", value)?),
            "n" => fault.count = Some(number("n", value)?),
            "status" => {
                let status = number("status", value)?;
                if !(400..=599).contains(&status) {
                    return Err(bad("status", value));
                }
                fault.status = Some(status);
            }
            unknown => return Err(DirectiveError::UnknownKey(unknown.to_owned())),
        }
        Ok(())
    }
}

/// Whether `text` is meant as directives. A request's `user` is usually just a name.
pub(crate) fn looks_like_directives(text: &str) -> bool {
    let first = items(text).next().and_then(|item| item.split_once('='));
    first.is_some_and(|(key, value)| {
        let known = Behaviour::default().set(&mut FaultParts::default(), key.trim(), value.trim());
        !matches!(known, Err(DirectiveError::UnknownKey(_)))
    })
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';']).map(str::trim).filter(|item| !item.is_empty())
}

/// A fault and its parameters may come in any order, so they are put together at the end.
#[derive(Default)]
struct FaultParts {
    name: Option<String>,
    after: Option<u32>,
    status: Option<u16>,
    seconds: Option<u32>,
    delay: Option<Duration>,
    count: Option<u32>,
}

impl FaultParts {
    fn build(self, fault: &mut Option<Fault>) -> Result<(), DirectiveError> {
        let Some(name) = self.name.as_deref() else {
            return self.refuse_orphans();
        };
        let after_events = self.after.unwrap_or(1);
        *fault = Some(match name {
            "none" => {
                *fault = None;
                return Ok(());
            }
            "status" => Fault::Status(self.status.unwrap_or(500)),
            "retry-after" => Fault::RetryAfter {
                status: self.status.unwrap_or(429),
                seconds: self.seconds.unwrap_or(1),
            },
            "delay-head" => Fault::DelayHead(self.delay.unwrap_or(Duration::from_secs(1))),
            "stall" => Fault::Stall { after_events },
            "truncate" => Fault::Truncate { after_events },
            "truncate-mid-event" => Fault::TruncateMidEvent { after_events },
            "reset" => Fault::Reset { after_events },
            "ignore-limit" => Fault::IgnoreLimit,
            "close-mid-body" => Fault::CloseMidBody,
            "malformed-sse" => Fault::MalformedSse { after_events },
            "corrupt-frame" => Fault::CorruptFrame { after_events },
            "error-event" => Fault::ErrorEvent { after_events },
            "not-json" => Fault::NotJson,
            "empty-reply" => Fault::EmptyReply,
            "refuse-first" => Fault::RefuseFirst(self.count.unwrap_or(1)),
            unknown => return Err(bad("fault", unknown)),
        });
        Ok(())
    }

    fn refuse_orphans(&self) -> Result<(), DirectiveError> {
        let orphans = [
            ("after", self.after.is_some()),
            ("status", self.status.is_some()),
            ("seconds", self.seconds.is_some()),
            ("ms", self.delay.is_some()),
            ("n", self.count.is_some()),
        ];
        match orphans.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(DirectiveError::NeedsFault(key)),
            None => Ok(()),
        }
    }
}

fn number<N: FromStr>(key: &'static str, value: &str) -> Result<N, DirectiveError> {
    value.parse().map_err(|_| bad(key, value))
}

fn milliseconds(key: &'static str, value: &str) -> Result<Duration, DirectiveError> {
    match number(key, value)? {
        ms if ms <= MAX_MILLISECONDS => Ok(Duration::from_millis(ms)),
        _ => Err(bad(key, value)),
    }
}

fn flag(key: &'static str, value: &str) -> Result<bool, DirectiveError> {
    match value {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(bad(key, value)),
    }
}

fn bad(key: &'static str, value: &str) -> DirectiveError {
    DirectiveError::BadValue { key, value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Behaviour, DirectiveError> {
        let mut behaviour = Behaviour::default();
        behaviour.apply(text).map(|()| behaviour)
    }

    #[test]
    fn the_order_of_items_and_their_separator_do_not_matter() {
        let wanted = Behaviour {
            fault: Some(Fault::Stall { after_events: 3 }),
            tokens: 20,
            chunking: Chunking::Bytes(7),
            line_ending: LineEnding::CrLf,
            token_delay: Duration::from_millis(10),
            ..Behaviour::default()
        };
        let forwards = parse("fault=stall,after=3,tokens=20,chunking=7,line=crlf,token_ms=10");
        let backwards =
            parse(" token_ms = 10; line=crlf;chunking=7 ;tokens=20;after=3;fault=stall");
        assert_eq!(forwards, Ok(wanted));
        assert_eq!(backwards, Ok(wanted));
    }

    #[test]
    fn a_later_text_overrides_an_earlier_one() {
        let mut behaviour = Behaviour::default();
        assert_eq!(behaviour.apply("fault=retry_after,status=503,seconds=9"), Ok(()));
        assert_eq!(behaviour.fault, Some(Fault::RetryAfter { status: 503, seconds: 9 }));
        assert_eq!(behaviour.apply("tokens=2"), Ok(()));
        assert!(behaviour.fault.is_some());
        assert_eq!(behaviour.apply("fault=none"), Ok(()));
        assert_eq!(behaviour.fault, None);
    }

    #[test]
    fn what_is_not_understood_is_refused_and_changes_nothing() {
        for text in [
            "tokens",
            "tokens=-1",
            "tokens=x",
            "unknown=1",
            "fault=explode",
            "after=3",
            "fault=status,status=200",
            "comments=maybe",
            "tokens=4000000000,text_bytes=4000000000",
            "token_ms=99999999999999999",
        ] {
            let mut behaviour = Behaviour::default();
            assert!(behaviour.apply(&format!("unicode=true,{text}")).is_err(), "{text}");
            assert_eq!(behaviour, Behaviour::default(), "{text}");
        }
    }

    #[test]
    fn a_user_name_is_not_taken_for_directives() {
        assert!(looks_like_directives("fault=stall"));
        assert!(looks_like_directives("tokens=wrong"));
        assert!(!looks_like_directives("alice"));
        assert!(!looks_like_directives("department=sales"));
        assert!(!looks_like_directives(""));
    }
}
