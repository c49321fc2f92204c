//! A request's body, as a target gets it.

use bytes::Bytes;
use sluicegate_filters::{Denial, DenialKind};

use super::ctx::Exchange;
use super::translate::{self, Translation};
use crate::dialects::Endpoint;
use crate::dialects::peek::Peek;
use crate::dialects::rewrite::{copy_with_version, rewrite_copy};
use crate::routing::{Model, Target};

/// A body that is kept as it came, since not every target takes it so.
pub struct Original {
    /// The bytes.
    pub body: Bytes,
    /// What was read of them.
    pub peek: Peek,
}

/// What a target gets.
pub struct Outgoing {
    /// The bytes.
    pub body: Bytes,
    /// Whether a stream's usage was asked for in the caller's place.
    pub hide_usage: bool,
    /// How it was translated, if it was.
    pub translation: Option<Box<Translation>>,
}

/// Writes `original` for `target` of `model`. `id` is the request's, with when it began.
///
/// # Errors
/// It can't be said in the target's dialect, or is not of its own.
pub fn write(
    endpoint: Endpoint,
    original: &Original,
    (model, target): (&Model, &Target),
    id: (&str, i64),
) -> Result<Outgoing, Denial> {
    let Original { body, peek } = original;
    if !target.understands(endpoint) {
        let (body, how) = translate::request(endpoint, body, target, model.drop_params, id)?;
        return Ok(Outgoing { body, hide_usage: false, translation: Some(Box::new(how)) });
    }
    if let Some(version) = target.upstream.version_in_body() {
        let body = copy_with_version(body, peek, version);
        return Ok(Outgoing { body, hide_usage: false, translation: None });
    }
    let hide_usage = hides_usage(endpoint, peek, target);
    let (body, _) = rewrite_copy(body, peek, renamed(model, target), hide_usage);
    Ok(Outgoing { body, hide_usage, translation: None })
}

/// The body as the target at `next` gets it; `now` is as the present one does. `None`: it is the same.
///
/// # Errors
/// As of [`write()`].
pub fn rewrite_for(
    exchange: &mut Exchange,
    next: usize,
    now: &Bytes,
    id: (&str, i64),
) -> Result<Option<Bytes>, Denial> {
    let model = exchange.model.clone();
    let target = model.target(next);
    if let Some(original) = &exchange.original {
        let written = write(exchange.endpoint, original, (&model, target), id)?;
        exchange.hide_usage = written.hide_usage;
        exchange.translation = written.translation;
        return Ok(Some(written.body));
    }
    if target.model == exchange.target().model {
        return Ok(None);
    }
    let (body, peek) = rewrite_copy(now, &exchange.peek, Some(&target.model), exchange.hide_usage);
    exchange.peek = peek;
    Ok(Some(body))
}

/// The name to put in the place of the one that the caller gave, where it differs.
pub fn renamed<'t>(model: &Model, target: &'t Target) -> Option<&'t str> {
    (target.model != model.name).then_some(target.model.as_str())
}

/// Whether `target` is asked for a stream's usage where the caller did not: the answer's usage chunk is taken
/// out again.
pub fn hides_usage(endpoint: Endpoint, peek: &Peek, target: &Target) -> bool {
    endpoint.asks_for_usage() && peek.stream && !peek.include_usage && target.upstream.stream_usage
}

/// What has to be said where a target's own words fail.
pub fn no_address() -> Denial {
    Denial::new(DenialKind::InternalError, "The target has no address for this request.")
}
