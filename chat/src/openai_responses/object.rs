//! Writes what stands around an answer's items: the response object.

use super::{fault, usage, words::Status};
use crate::{Envelope, Fault, Usage, json::Writer, model::ServiceTier, openai_chat::words};

/// What names an answer.
#[derive(Clone, Copy, Debug)]
pub struct Names<'n> {
    /// Its identifier.
    pub id: &'n str,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: &'n str,
}

/// How an answer stands.
#[derive(Clone, Copy, Debug)]
pub struct State<'s> {
    /// How it stands.
    pub status: Status,
    /// Why it is incomplete.
    pub reason: Option<&'s str>,
    /// Why it failed.
    pub fault: Option<&'s Fault>,
    /// What it consumed.
    pub usage: Option<&'s Usage>,
    /// What to add to it: JSON members without braces.
    pub usage_members: &'s str,
    /// How fast it was served.
    pub tier: Option<ServiceTier>,
}

impl<'s> State<'s> {
    /// Of an answer of which nothing else is known.
    pub const fn new(status: Status, reason: Option<&'s str>) -> Self {
        Self { status, reason, fault: None, usage: None, usage_members: "", tier: None }
    }
}

/// Writes the object. `items`: what stands between the brackets of `output`.
pub fn write(
    names: Names<'_>,
    state: &State<'_>,
    items: &[u8],
    envelope: &Envelope,
    out: &mut Writer<'_>,
) {
    out.open().field("id", names.id).field("object", "response");
    out.count_field("created_at", names.created).field("status", state.status.word());
    out.key("error");
    match state.fault {
        Some(fault) => fault::write_object(fault, out),
        None => _ = out.null(),
    }
    out.key("incomplete_details");
    match state.reason {
        Some(reason) => _ = out.open().field("reason", reason).close(),
        None => _ = out.null(),
    }
    out.field("model", names.model).key("output").open_array();
    out.buffer().extend_from_slice(items);
    out.close_array();
    out.members(&envelope.echo);
    if let Some(tier) = state.tier {
        out.field("service_tier", words::tier_word(tier));
    }
    out.key("usage");
    match state.usage {
        Some(usage) => usage::write(usage, state.usage_members, out),
        None => _ = out.null(),
    }
    out.close();
}
