//! Makes pieces of the model.

use std::borrow::Cow;

use proptest::{collection::vec, option, prelude::*, sample::select};
use sluicegate_chat::{
    Dialect, Envelope, Event, Expect, StreamDecoder, StreamEncoder, Usage,
    json::{Number, Raw},
    model::{
        Block, Content, Delta, Document, Finish, Function, Image, Media, Origin, Part, Reply, Seal,
        Source, Thought, Tool, ToolCall, ToolChoice, part::Arguments,
    },
};

pub fn text() -> impl Strategy<Value = Cow<'static, str>> {
    // Quotes, line ends and other planes are in `any`, and come often enough here.
    prop_oneof![any::<String>(), "[a-z\"\\\\\n\u{1F600}é]{1,9}"]
        .prop_filter("not empty", |text| !text.is_empty())
        .prop_map(Cow::Owned)
}

pub fn id() -> impl Strategy<Value = Cow<'static, str>> {
    "[A-Za-z0-9_-]{1,9}".prop_map(Cow::Owned)
}

pub fn object() -> impl Strategy<Value = Raw<'static>> {
    let objects = [
        "{}",
        r#"{"type":"object","properties":{"a":{"type":"string"}}}"#,
        r#"{"n": 12345678901234567890.10, "e": 1e400, "a": [null, true, "\u0041\n"]}"#,
    ];
    select(objects.to_vec()).prop_map(|text| Raw::parse(text.into()).unwrap())
}

pub fn number() -> impl Strategy<Value = Number<'static>> {
    select(&["0", "1", "0.70", "0.999999999999999999999", "1E-3"][..])
        .prop_map(|text| Number::parse(text).unwrap())
}

pub fn text_part() -> impl Strategy<Value = Part<'static>> {
    text().prop_map(|text| Part::text(text, Origin::NONE))
}

pub fn part(content: Content<'static>) -> Part<'static> {
    Part::new(content, Origin::NONE)
}

pub fn source(media_type: &'static str) -> impl Strategy<Value = Source<'static>> {
    prop_oneof![
        "https://[a-z]{1,5}".prop_map(|url| Source::Url(url.into())),
        "[A-Za-z0-9+/]{0,8}".prop_map(move |data| Source::Inline(Media {
            media_type: media_type.into(),
            data: data.into(),
        })),
    ]
}

pub fn image() -> impl Strategy<Value = Part<'static>> {
    source("image/png").prop_map(|source| part(Content::Image(Image { source, detail: None })))
}

pub fn pdf() -> impl Strategy<Value = Part<'static>> {
    (text(), "[A-Za-z0-9+/]{0,8}").prop_map(|(name, data)| {
        let media = Media { media_type: "application/pdf".into(), data: data.into() };
        part(Content::Document(Document {
            source: Source::Inline(media),
            name: Some(name),
            context: None,
            citations: None,
        }))
    })
}

pub fn call() -> impl Strategy<Value = Part<'static>> {
    (id(), id(), object()).prop_map(|(id, name, arguments)| {
        part(Content::ToolCall(ToolCall { id, name, arguments: Arguments::Object(arguments) }))
    })
}

pub fn tool(
    parameters: impl Strategy<Value = Option<Raw<'static>>>,
    strict: impl Strategy<Value = Option<bool>>,
) -> impl Strategy<Value = Function<'static>> {
    (id(), option::of(text()), parameters, strict).prop_map(
        |(name, description, parameters, strict)| Function {
            name,
            description,
            parameters,
            strict,
            cache: None,
            origin: Origin::NONE,
        },
    )
}

pub fn tools(
    function: impl Strategy<Value = Function<'static>>,
) -> impl Strategy<Value = Vec<Tool<'static>>> {
    vec(function.prop_map(Tool::Function), 0..3)
}

pub fn choice() -> impl Strategy<Value = ToolChoice<'static>> {
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        id().prop_map(ToolChoice::Function),
    ]
}

pub fn usage() -> impl Strategy<Value = Usage> {
    any::<[u32; 4]>().prop_map(|counts| {
        let [input, cache_read, cache_write_5m, output] = counts.map(u64::from);
        Usage {
            input,
            cache_read,
            cache_write_5m,
            output,
            reasoning: output / 2,
            ..Usage::default()
        }
    })
}

pub fn reply(parts: Vec<Part<'static>>, finish: Finish, usage: Option<Usage>) -> Reply<'static> {
    Reply {
        id: Some("id-1".into()),
        model: Some("model-1".into()),
        created: None,
        parts,
        finish,
        stop_sequence: None,
        usage,
        service_tier: None,
        logprobs: None,
    }
}

/// A block with its deltas.
pub fn block() -> impl Strategy<Value = Vec<Event<'static>>> {
    let deltas = |delta: fn(Cow<'static, str>) -> Delta<'static>| {
        vec(text().prop_map(delta).prop_map(Event::Delta), 1..4)
    };
    let whole = |block: Block<'static>, deltas: Vec<Event<'static>>| {
        let mut events = vec![Event::BlockStart(block)];
        events.extend(deltas);
        events.push(Event::BlockEnd);
        events
    };
    prop_oneof![
        deltas(Delta::Text).prop_map(move |deltas| whole(Block::Text, deltas)),
        (deltas(Delta::Thought), id()).prop_map(move |(mut deltas, seal)| {
            deltas.push(Event::Delta(Delta::Seal(seal_of(seal))));
            whole(Block::Thought { id: None }, deltas)
        }),
        id().prop_map(move |seal| whole(Block::Redacted(seal_of(seal)), Vec::new())),
        (deltas(Delta::Arguments), id(), id()).prop_map(move |(deltas, id, name)| {
            whole(Block::ToolCall { id, name, seal: None }, deltas)
        }),
    ]
}

pub fn seal_of(data: Cow<'static, str>) -> Seal<'static> {
    Seal::new(sluicegate_chat::model::Maker::Anthropic, data)
}

pub fn thought() -> impl Strategy<Value = Part<'static>> {
    (text(), id(), any::<bool>()).prop_map(|(text, seal, redacted)| {
        let text = if redacted { Cow::Borrowed("") } else { text };
        let seal = Some(seal_of(seal));
        part(Content::Thought(Thought { text, seal, redacted, id: None }))
    })
}

/// Writes events as `dialect` has them, reads them again, and leaves out what its wire adds.
pub fn there_and_back(
    client: sluicegate_chat::ClientDialect,
    events: &[Event<'static>],
) -> Vec<Event<'static>> {
    let envelope = Envelope { include_usage: true, created: 1, ..Envelope::default() };
    let mut encoder = StreamEncoder::new(client, envelope);
    let mut wire = Vec::new();
    events.iter().for_each(|event| encoder.event(event, &mut wire));
    let mut decoder = StreamDecoder::new(Dialect::from(client), &Expect::default());
    let mut found = Vec::new();
    decoder.push(&wire, &mut |event| found.push(owned(event))).unwrap();
    decoder.finish(&mut |event| found.push(owned(event))).unwrap();
    found
}

fn owned(event: Event<'_>) -> Event<'static> {
    let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
    let own_seal = |seal: Seal<'_>| Seal { maker: seal.maker, data: own(seal.data) };
    match event {
        Event::Start { id, model, created } => {
            Event::Start { id: id.map(own), model: model.map(own), created }
        }
        Event::BlockStart(block) => Event::BlockStart(match block {
            Block::Text => Block::Text,
            Block::Refusal => Block::Refusal,
            Block::Thought { id } => Block::Thought { id: id.map(own) },
            Block::Redacted(seal) => Block::Redacted(own_seal(seal)),
            Block::ToolCall { id, name, seal } => {
                Block::ToolCall { id: own(id), name: own(name), seal: seal.map(own) }
            }
        }),
        Event::Delta(delta) => Event::Delta(match delta {
            Delta::Text(text) => Delta::Text(own(text)),
            Delta::Thought(text) => Delta::Thought(own(text)),
            Delta::Arguments(text) => Delta::Arguments(own(text)),
            Delta::Seal(seal) => Delta::Seal(own_seal(seal)),
            other => panic!("not made here: {other:?}"),
        }),
        Event::BlockEnd => Event::BlockEnd,
        Event::Tier(tier) => Event::Tier(tier),
        Event::Usage(usage) => Event::Usage(usage),
        Event::Finish { reason, stop_sequence } => {
            Event::Finish { reason, stop_sequence: stop_sequence.map(own) }
        }
        Event::Ping => Event::Ping,
        Event::End => Event::End,
        Event::Fault(fault) => Event::Fault(fault),
    }
}
