//! What goes wrong, and its text form.

use std::{str::FromStr, time::Duration};

use crate::DirectiveError;

/// What goes wrong, at what, and how often.
///
/// As a text: `fault=status,status=503,on=tools/list,times=1`; `on` and `times` can be left out.
///
/// | `fault` | its parameters and their defaults |
/// |---|---|
/// | `none` | |
/// | `status` | `status=500` |
/// | `retry-after` | `status=429`, `seconds=1` |
/// | `redirect` | `status=307` |
/// | `delay-head` | `ms=1000` |
/// | `error` | `code=-32603` |
/// | `not-json`, `bad-json`, `empty-reply`, `accepted`, `wrong-id`, `duplicate-members`, `truncate`, `truncate-mid-event`, `reset`, `stall`, `endless` | |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpFault {
    /// What goes wrong.
    pub kind: McpFaultKind,
    /// The method that it happens to; `any` for all requests. Default: `tools/call`.
    pub on: String,
    /// How often. `None`: always. Only in [`McpSettings::fault`](super::McpSettings::fault).
    pub times: Option<u32>,
}

/// What goes wrong. Over standard input and output, what is HTTP's own is an error -32603 instead, and a
/// connection that ends is the process's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McpFaultKind {
    /// An HTTP status (200 to 599) with a text that is no JSON.
    Status(u16),
    /// The same with `retry-after`.
    RetryAfter {
        /// HTTP status.
        status: u16,
        /// Value of `retry-after`, in seconds.
        seconds: u32,
    },
    /// A redirect with this status to `/mcp-elsewhere` on the same server.
    Redirect(u16),
    /// Nothing for so long, then the answer as usual.
    DelayHead(Duration),
    /// An error of JSON-RPC with this code.
    Error(i32),
    /// Status 200 with an HTML page; over standard output a line that is no JSON.
    NotJson,
    /// Half of the answer, as if it were all.
    BadJson,
    /// The connection is closed without an answer.
    EmptyReply,
    /// 202, as if the request were a notification.
    Accepted,
    /// The answer to another request than was asked.
    WrongId,
    /// An answer that has its id and its result twice.
    DuplicateMembers,
    /// An event stream that ends without the answer.
    Truncate,
    /// An event stream that ends within the answer.
    TruncateMidEvent,
    /// The same, and the connection is reset.
    Reset,
    /// An event stream that falls silent before the answer.
    Stall,
    /// An event stream of notifications that never ends.
    Endless,
}

impl McpFault {
    /// At `tools/call`, always.
    pub fn new(kind: McpFaultKind) -> Self {
        Self { kind, on: "tools/call".to_owned(), times: None }
    }

    pub(crate) fn meets(&self, method: &str) -> bool {
        self.on == method || self.on == "any"
    }

    /// # Errors
    /// What is wrong with the text. `None`: there is to be no fault.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, DirectiveError> {
        let mut parts = Parts::default();
        for item in text.split([',', ';']).map(str::trim).filter(|item| !item.is_empty()) {
            let (key, value) =
                item.split_once('=').ok_or_else(|| DirectiveError::NotAPair(item.to_owned()))?;
            parts.set(key.trim(), value.trim())?;
        }
        parts.build()
    }
}

impl FromStr for McpFault {
    type Err = DirectiveError;

    fn from_str(text: &str) -> Result<Self, DirectiveError> {
        Self::parse(text)?.ok_or(DirectiveError::NeedsFault("fault"))
    }
}

#[derive(Default)]
struct Parts {
    name: Option<String>,
    on: Option<String>,
    times: Option<u32>,
    status: Option<u16>,
    seconds: Option<u32>,
    delay: Option<Duration>,
    code: Option<i32>,
}

/// Longer than any test, and short enough for every timer.
const MAX_MILLISECONDS: u64 = 86_400_000;

impl Parts {
    fn set(&mut self, key: &str, value: &str) -> Result<(), DirectiveError> {
        match key {
            "fault" => self.name = Some(value.to_owned()),
            "on" => self.on = Some(value.to_owned()),
            "times" => self.times = Some(number("times", value)?),
            "seconds" => self.seconds = Some(number("seconds", value)?),
            "code" => self.code = Some(number("code", value)?),
            "ms" => {
                let milliseconds: u64 = number("ms", value)?;
                self.delay = Some(Duration::from_millis(milliseconds.min(MAX_MILLISECONDS)));
            }
            "status" => {
                let status: u16 = number("status", value)?;
                if !(200..=599).contains(&status) {
                    return Err(bad("status", value));
                }
                self.status = Some(status);
            }
            unknown => return Err(DirectiveError::UnknownKey(unknown.to_owned())),
        }
        Ok(())
    }

    fn build(self) -> Result<Option<McpFault>, DirectiveError> {
        let Some(name) = self.name else {
            return Err(DirectiveError::NeedsFault("fault"));
        };
        let kind = match name.as_str() {
            "none" => return Ok(None),
            "status" => McpFaultKind::Status(self.status.unwrap_or(500)),
            "retry-after" => McpFaultKind::RetryAfter {
                status: self.status.unwrap_or(429),
                seconds: self.seconds.unwrap_or(1),
            },
            "redirect" => McpFaultKind::Redirect(self.status.unwrap_or(307)),
            "delay-head" => McpFaultKind::DelayHead(self.delay.unwrap_or(Duration::from_secs(1))),
            "error" => McpFaultKind::Error(self.code.unwrap_or(-32603)),
            "not-json" => McpFaultKind::NotJson,
            "bad-json" => McpFaultKind::BadJson,
            "empty-reply" => McpFaultKind::EmptyReply,
            "accepted" => McpFaultKind::Accepted,
            "wrong-id" => McpFaultKind::WrongId,
            "duplicate-members" => McpFaultKind::DuplicateMembers,
            "truncate" => McpFaultKind::Truncate,
            "truncate-mid-event" => McpFaultKind::TruncateMidEvent,
            "reset" => McpFaultKind::Reset,
            "stall" => McpFaultKind::Stall,
            "endless" => McpFaultKind::Endless,
            _ => return Err(bad("fault", &name)),
        };
        let on = self.on.unwrap_or_else(|| "tools/call".to_owned());
        Ok(Some(McpFault { kind, on, times: self.times }))
    }
}

fn number<T: FromStr>(key: &'static str, value: &str) -> Result<T, DirectiveError> {
    value.parse().map_err(|_| bad(key, value))
}

fn bad(key: &'static str, value: &str) -> DirectiveError {
    DirectiveError::BadValue { key, value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_a_text_form() {
        let fault: McpFault = "fault=status, status=503, on=any, times=2".parse().unwrap();
        let kind = McpFaultKind::Status(503);
        assert_eq!(fault, McpFault { kind, on: "any".to_owned(), times: Some(2) });
        let plain: McpFault = "fault=wrong-id".parse().unwrap();
        assert_eq!(plain, McpFault::new(McpFaultKind::WrongId));
        for wrong in ["", "status=503", "fault=status,status=99", "fault=stal", "fault", "wait=3"] {
            assert!(wrong.parse::<McpFault>().is_err(), "{wrong}");
        }
    }
}
