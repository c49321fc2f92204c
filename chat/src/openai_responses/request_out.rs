//! Writes a request for an upstream.

use std::borrow::Cow;

use super::{items_out, tools_out, words};
use crate::{
    ClientDialect, Dialect, Encoded, Expect, OnLoss, Refusal, Target,
    json::{Number, Writer},
    model::{Content, Display, Effort, Extra, Field, Maker, Request, Thinking},
    openai_chat::{
        request_out::{one_answer, told_effort},
        words::tier_word,
    },
    refusal::Losses,
};

const OWN: Dialect = Dialect::OpenAiResponses;

/// Writes a request for an upstream.
pub fn encode_request(
    request: &Request<'_>,
    target: &Target<'_>,
    on_loss: OnLoss,
) -> Result<Encoded, Refusal> {
    let mut losses = Losses::new(OWN, on_loss);
    let mut body = Vec::with_capacity(1_024);
    let mut out = Writer::new(&mut body);
    out.open().field("model", target.model);
    items_out::write(request, &mut losses, &mut out)?;
    sampling(request, &mut losses, &mut out)?;
    reasoning(request, target, &mut losses, &mut out);
    include(request, &mut out);
    text(request, &mut out);
    tools_out::write(request, &mut losses, &mut out)?;
    others(request, &mut losses, &mut out);
    let extras: Vec<_> = request.extras.iter().filter(|extra| !is_nested(extra)).cloned().collect();
    losses.extras(&extras, |extra| {
        out.any_key(&extra.path).raw(extra.value.as_str());
    })?;
    if request.stream {
        out.key("stream").boolean(true);
    }
    out.close();
    Ok(Encoded {
        body: body.into(),
        path: Cow::Borrowed("/responses"),
        headers: Vec::new(),
        dropped: losses.into_dropped(),
        expect: Expect::default(),
    })
}

/// Whether a field that the model has none for stands within one that it has: see [`reasoning`] and [`include()`].
fn is_nested(extra: &Extra<'_>) -> bool {
    extra.dialect == Some(OWN)
        && (extra.path.starts_with(REASONING) || extra.path.starts_with(INCLUDE))
}

const REASONING: &str = "reasoning.";
const INCLUDE: &str = "include[";

fn own_extras<'r, 'a>(
    request: &'r Request<'a>,
    within: &'static str,
) -> impl Iterator<Item = &'r Extra<'a>> {
    let extras = request.extras.iter();
    extras.filter(move |extra| extra.dialect == Some(OWN) && extra.path.starts_with(within))
}

fn sampling(
    request: &Request<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if let Some(limit) = request.max_output_tokens {
        out.count_field("max_output_tokens", limit);
    }
    let sampling = &request.sampling;
    out.raw_if("temperature", sampling.temperature.map(|number| number.as_str()));
    out.raw_if("top_p", sampling.top_p.map(|number| number.as_str()));
    if let Some(count) = request.top_logprobs {
        out.count_field("top_logprobs", count);
    }
    let is_zero = |number: Option<Number<'_>>| number.is_none_or(|number| number.as_f64() == 0.0);
    for (name, unchanged) in [
        (request.name_of(Field::Stop), request.stop.is_empty()),
        ("top_k", sampling.top_k.is_none()),
        ("seed", sampling.seed.is_none()),
        ("frequency_penalty", is_zero(sampling.frequency_penalty)),
        ("presence_penalty", is_zero(sampling.presence_penalty)),
        ("logit_bias", sampling.logit_bias.as_ref().is_none_or(|bias| bias.as_str() == "{}")),
    ] {
        if !unchanged {
            losses.parameter(name)?;
        }
    }
    one_answer(request, losses)
}

fn reasoning(
    request: &Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) {
    let effort = told_effort(request, target, losses);
    let summary = request.reasoning.display.and_then(words::summary);
    let mut others = own_extras(request, REASONING).peekable();
    if effort.is_none() && summary.is_none() && others.peek().is_none() {
        return;
    }
    out.key("reasoning").open();
    out.field_if("effort", effort.map(Effort::word)).field_if("summary", summary);
    for extra in others {
        out.any_key(&extra.path[REASONING.len()..]).raw(extra.value.as_str());
    }
    out.close();
}

fn include(request: &Request<'_>, out: &mut Writer<'_>) {
    let logprobs = request.logprobs == Some(true);
    let seals = wants_seals(request);
    let mut others = own_extras(request, INCLUDE).peekable();
    if !logprobs && !seals && others.peek().is_none() {
        return;
    }
    out.key("include").open_array();
    if seals {
        out.element().string("reasoning.encrypted_content");
    }
    if logprobs {
        out.element().string("message.output_text.logprobs");
    }
    for extra in others {
        out.element().raw(extra.value.as_str());
    }
    out.close_array();
}

/// Whether to ask for what reasoning goes on with. Clients of other dialects get it unasked, and send it back; but models that
/// do not reason refuse to be asked, so that something in the request has to tell that this one does.
fn wants_seals(request: &Request<'_>) -> bool {
    if request.dialect == ClientDialect::OpenAiResponses {
        return request.include_seals;
    }
    let asked = request.reasoning;
    asked.effort.is_some_and(|effort| effort != Effort::None)
        || asked.thinking.is_some_and(|thinking| thinking != Thinking::Off)
        || asked.display.is_some_and(|display| display != Display::Omitted)
        || request.messages.iter().flat_map(|message| &message.parts).any(|part| {
            matches!(&part.content, Content::Thought(thought) if thought.is_sealed_by(Maker::OpenAi))
        })
}

fn text(request: &Request<'_>, out: &mut Writer<'_>) {
    if request.format.is_none() && request.verbosity.is_none() {
        return;
    }
    out.key("text").open();
    if let Some(format) = &request.format {
        tools_out::format(format, out);
    }
    out.field_if("verbosity", request.verbosity.as_deref()).close();
}

fn others(request: &Request<'_>, losses: &mut Losses, out: &mut Writer<'_>) {
    if let Some(tier) = request.service_tier {
        out.field("service_tier", tier_word(tier));
    }
    out.field_if("user", request.end_user.as_deref());
    out.raw_if("metadata", request.metadata.as_ref().map(|metadata| metadata.as_str()));
    // Other dialects keep nothing without a word, and this one everything.
    let silent = (request.dialect != ClientDialect::OpenAiResponses).then_some(false);
    if let Some(store) = request.store.or(silent) {
        out.key("store").boolean(store);
    }
    out.field_if("prompt_cache_key", request.prompt_cache_key.as_deref());
    if request.cache.is_some() {
        losses.note("cache_control");
    }
}
