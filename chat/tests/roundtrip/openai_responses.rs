//! OpenAI's responses.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::Value;
use sluicegate_chat::{
    ClientDialect, Dialect, Envelope, Event, Expect, Finish, OnLoss, Reply, Request, StreamEncoder,
    Target, decode_reply, decode_request, encode_reply, encode_request,
    json::Raw,
    model::{
        Block, Content, Delta, Display, Document, Effort, Extra, Format, Image, Maker, Message,
        Origin, Part, Role, Seal, ServiceTier, Source, Thought, Tool, ToolCall, ToolChoice,
        ToolResult, part::Arguments,
    },
};

use crate::make;

const OWN: Dialect = Dialect::OpenAiResponses;

fn raw(text: &'static str) -> Raw<'static> {
    Raw::parse(text.into()).unwrap()
}

fn image() -> impl Strategy<Value = Part<'static>> {
    let source = prop_oneof![make::source("image/webp"), make::id().prop_map(Source::FileId)];
    (source, option::of(select(&["low", "high"][..]))).prop_map(|(source, detail)| {
        make::part(Content::Image(Image { source, detail: detail.map(Into::into) }))
    })
}

/// A file beside whose place no name stands.
fn file_elsewhere() -> impl Strategy<Value = Part<'static>> {
    let source = prop_oneof![
        "https://[a-z]{1,5}".prop_map(|url| Source::Url(url.into())),
        make::id().prop_map(Source::FileId),
    ];
    source.prop_map(|source| {
        let (name, context, citations) = (None, None, None);
        make::part(Content::Document(Document { source, name, context, citations }))
    })
}

fn shown() -> impl Strategy<Value = Vec<Part<'static>>> {
    vec(prop_oneof![make::text_part(), image(), make::pdf(), file_elsewhere()], 1..4)
}

fn thought() -> impl Strategy<Value = Part<'static>> {
    (make::text(), option::of(make::id()), option::of(make::id())).prop_map(|(text, seal, id)| {
        // Without either it can not go back.
        let id = if seal.is_none() { id.or(Some("rs_1".into())) } else { id };
        let seal = seal.map(|seal| Seal::new(Maker::OpenAi, seal));
        make::part(Content::Thought(Thought { text, seal, redacted: false, id }))
    })
}

fn native(kind: &'static str) -> Part<'static> {
    let value = match kind {
        "web_search_call" => raw(r#"{"type":"web_search_call","id":"ws_1"}"#),
        _ => raw(r#"{"type":"item_reference","id":"msg_1"}"#),
    };
    make::part(Content::Native { dialect: OWN, kind: kind.into(), value })
}

fn assistant() -> impl Strategy<Value = Message<'static>> {
    let refusal = make::text().prop_map(|text| make::part(Content::Refusal(text)));
    let others = select(&["web_search_call", "item_reference"][..]).prop_map(native);
    let odd_call = (make::id(), make::id()).prop_map(|(id, name)| {
        let arguments = Arguments::Text("{\"a\":".into());
        make::part(Content::ToolCall(ToolCall { id, name, arguments }))
    });
    let part = prop_oneof![make::text_part(), make::call(), thought(), refusal, odd_call, others];
    vec(part, 1..5).prop_map(|parts| Message::new(Role::Assistant, parts, Origin::NONE))
}

fn message() -> impl Strategy<Value = Message<'static>> {
    let said = |role| {
        vec(make::text_part(), 1..3).prop_map(move |parts| Message::new(role, parts, Origin::NONE))
    };
    let results = vec((make::id(), shown()), 1..3).prop_map(|results| {
        let parts = results.into_iter().map(|(call_id, parts)| {
            make::part(Content::ToolResult(ToolResult { call_id, parts, is_error: false }))
        });
        Message::new(Role::User, parts.collect(), Origin::NONE)
    });
    prop_oneof![
        said(Role::System),
        said(Role::Developer),
        shown().prop_map(|parts| Message::new(Role::User, parts, Origin::NONE)),
        assistant(),
        results,
    ]
}

fn messages() -> impl Strategy<Value = Vec<Message<'static>>> {
    vec(message(), 1..6).prop_map(|mut messages| {
        // The model's items that follow each other are one turn, and so are results.
        messages.dedup_by(|next, last| {
            (next.role == Role::Assistant && last.role == Role::Assistant)
                || (next.is_results() && last.is_results())
        });
        messages
    })
}

fn format() -> impl Strategy<Value = Format<'static>> {
    prop_oneof![
        Just(Format::JsonObject),
        (make::id(), option::of(make::text()), make::object(), option::of(any::<bool>())).prop_map(
            |(name, description, schema, strict)| Format::JsonSchema {
                name: Some(name),
                description,
                schema,
                strict,
            }
        ),
    ]
}

fn choice() -> impl Strategy<Value = ToolChoice<'static>> {
    prop_oneof![
        make::choice(),
        (vec(make::id(), 0..3), any::<bool>())
            .prop_map(|(names, required)| ToolChoice::Allowed { names, required }),
    ]
}

fn extras() -> impl Strategy<Value = Vec<Extra<'static>>> {
    let known = [
        ("reasoning.context", "\"all_turns\""),
        ("include[0]", "\"file_search_call.results\""),
        ("previous_response_id", "\"resp_1\""),
        ("truncation", "\"auto\""),
        ("max_tool_calls", "3"),
    ];
    proptest::sample::subsequence(known.to_vec(), 0..=known.len()).prop_map(|extras| {
        let extra = |(path, value): (&str, &'static str)| Extra {
            path: path.to_owned(),
            value: raw(value),
            dialect: Some(OWN),
        };
        extras.into_iter().map(extra).collect()
    })
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let function = make::tool(make::object().prop_map(Some), option::of(any::<bool>()));
    let efforts = [Effort::None, Effort::Minimal, Effort::Medium, Effort::XHigh, Effort::Max];
    let displays = [Display::Auto, Display::Concise, Display::Detailed];
    let tiers =
        [ServiceTier::Auto, ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority];
    let settings = (
        option::of(any::<u64>()),
        (option::of(make::number()), option::of(make::number())),
        option::of(0_u64..20),
        option::of(format()),
        option::of(select(efforts.to_vec())),
        option::of(select(displays.to_vec())),
        option::of(select(tiers.to_vec())),
    );
    let labels = (
        option::of(make::text()),
        option::of(make::text()),
        option::of(make::object()),
        option::of(any::<bool>()),
        option::of(make::text()),
        extras(),
    );
    let tools =
        (make::tools(function), any::<bool>(), option::of(choice()), option::of(any::<bool>()));
    (any::<[bool; 3]>(), messages(), settings, labels, tools).prop_map(
        |(switches, messages, settings, labels, (mut tools, search, choice, parallel))| {
            let mut request = Request::new(ClientDialect::OpenAiResponses, "target");
            request.stream = switches[0];
            request.messages = messages;
            request.max_output_tokens = settings.0;
            (request.sampling.temperature, request.sampling.top_p) = settings.1;
            request.top_logprobs = settings.2;
            request.format = settings.3;
            request.reasoning.effort = settings.4;
            request.reasoning.display = settings.5;
            request.service_tier = settings.6;
            request.verbosity = labels.0;
            request.end_user = labels.1;
            request.metadata = labels.2;
            request.store = labels.3;
            request.prompt_cache_key = labels.4;
            request.extras = labels.5;
            // Places in the list shift where the model has a field for some of it.
            if !request.extras.iter().any(|extra| extra.path.starts_with("include")) {
                request.include_seals = switches[1];
                request.logprobs = switches[2].then_some(true);
            }
            if search {
                tools.push(Tool::Native {
                    dialect: OWN,
                    kind: "web_search".into(),
                    value: raw(r#"{"type": "web_search", "n": 1.50}"#),
                    origin: Origin::NONE,
                });
            }
            // Without tools there is nothing to choose.
            request.tool_choice = choice.filter(|_| !tools.is_empty());
            request.parallel_tool_calls = parallel.filter(|_| !tools.is_empty());
            request.tools = tools;
            request
        },
    )
}

/// What an answer can hold. Seals are its own: an upstream's `encrypted_content` is never taken for another's.
fn answer_part() -> impl Strategy<Value = Part<'static>> {
    let refusal = make::text().prop_map(|text| make::part(Content::Refusal(text)));
    let thought =
        (make::text(), option::of(make::id()), make::id()).prop_map(|(text, seal, id)| {
            let seal = seal.map(|seal| Seal::new(Maker::OpenAi, seal));
            make::part(Content::Thought(Thought { text, seal, redacted: false, id: Some(id) }))
        });
    prop_oneof![make::text_part(), refusal, thought, make::call()]
}

fn finish(parts: &[Part<'_>], cut: bool) -> Finish {
    let calls = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    match (cut, calls) {
        (true, _) => Finish::Length,
        (false, true) => Finish::ToolCalls,
        (false, false) => Finish::Stop,
    }
}

/// The answer in pieces.
fn events(reply: &Reply<'static>) -> Vec<Event<'static>> {
    let (id, model, created) = (reply.id.clone(), reply.model.clone(), reply.created);
    let mut events = vec![Event::Start { id, model, created }];
    for part in &reply.parts {
        let (block, delta) = match part.content.clone() {
            Content::Text { text, .. } => (Block::Text, Delta::Text(text)),
            Content::Refusal(text) => (Block::Refusal, Delta::Text(text)),
            Content::Thought(thought) => {
                (Block::Thought { id: thought.id }, Delta::Thought(thought.text))
            }
            Content::ToolCall(call) => {
                let text = call.arguments.as_text().to_owned();
                let block = Block::ToolCall { id: call.id, name: call.name, seal: None };
                (block, Delta::Arguments(text.into()))
            }
            other => panic!("not made here: {other:?}"),
        };
        events.extend([Event::BlockStart(block), Event::Delta(delta)]);
        if let Content::Thought(Thought { seal: Some(seal), .. }) = &part.content {
            events.push(Event::Delta(Delta::Seal(seal.clone())));
        }
        events.push(Event::BlockEnd);
    }
    events.extend(reply.usage.map(Event::Usage));
    events.extend(reply.service_tier.map(Event::Tier));
    events.push(Event::Finish { reason: reply.finish, stop_sequence: None });
    events.push(Event::End);
    events
}

fn reply() -> impl Strategy<Value = Reply<'static>> {
    (vec(answer_part(), 0..5), option::of(make::usage()), any::<bool>()).prop_map(
        |(parts, usage, cut)| {
            let finish = finish(&parts, cut);
            let mut reply = make::reply(parts, finish, usage);
            reply.created = Some(7);
            reply.service_tier = Some(ServiceTier::Flex);
            reply
        },
    )
}

fn envelope() -> Envelope {
    let request =
        decode_request(ClientDialect::OpenAiResponses, br#"{"model":"m","input":"Hi"}"#).unwrap();
    Envelope::new(&request, "own-id", 1)
}

proptest! {
    #[test]
    fn requests(request in request()) {
        let target = Target::new("target");
        let encoded = encode_request(OWN, &request, &target, OnLoss::Refuse).unwrap();
        prop_assert_eq!(&encoded.dropped, &[]);
        let mut read = decode_request(ClientDialect::OpenAiResponses, &encoded.body).unwrap();
        let mut request = request.clone();
        for extras in [&mut read.extras, &mut request.extras] {
            extras.sort_by(|left, right| left.path.cmp(&right.path));
        }
        prop_assert_eq!(read, request);
    }

    #[test]
    fn replies(reply in reply()) {
        let mut wire = Vec::new();
        encode_reply(ClientDialect::OpenAiResponses, &envelope(), &reply, &mut wire);
        let read = decode_reply(OWN, &Expect::default(), &wire).unwrap();
        prop_assert_eq!(read, reply);
    }

    #[test]
    fn streams(reply in reply()) {
        let events = events(&reply);
        let found = make::there_and_back(ClientDialect::OpenAiResponses, &events);
        prop_assert_eq!(found, events);
    }

    /// The last event holds the same answer that would have come as one document, and events are numbered.
    #[test]
    fn the_last_event_is_the_whole_answer(reply in reply()) {
        let mut encoder = StreamEncoder::new(ClientDialect::OpenAiResponses, envelope());
        let mut wire = Vec::new();
        events(&reply).iter().for_each(|event| encoder.event(event, &mut wire));
        let text = String::from_utf8(wire).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let sent: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
        for (number, event) in sent.iter().enumerate() {
            prop_assert_eq!(event["sequence_number"].as_u64(), Some(number as u64));
        }
        let mut whole = Vec::new();
        encode_reply(ClientDialect::OpenAiResponses, &envelope(), &reply, &mut whole);
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        prop_assert_eq!(&sent.last().unwrap()["response"], &whole);
        // So do the events that end items.
        let done = sent.iter().filter(|event| event["type"] == "response.output_item.done");
        let items: Vec<Value> = done.map(|event| event["item"].clone()).collect();
        prop_assert_eq!(&Value::from(items), &whole["output"]);
    }
}

#[test]
fn an_answer_that_is_too_long_fails() {
    let mut encoder = StreamEncoder::new(ClientDialect::OpenAiResponses, envelope());
    let mut out = Vec::new();
    let mut send = |event: Event<'static>| {
        out.clear();
        encoder.event(&event, &mut out);
        String::from_utf8(out.clone()).unwrap()
    };
    send(Event::Start { id: None, model: None, created: None });
    send(Event::BlockStart(Block::Text));
    let chunk = "\u{1}".repeat(100_000);
    let mut kept = 0;
    let last = loop {
        let sent = send(Event::Delta(Delta::Text(chunk.clone().into())));
        // Each character takes six bytes.
        kept += 600_000;
        if sent.contains("response.failed") {
            break sent;
        }
        assert!(kept <= sluicegate_chat::openai_responses::stream_out::MAX_KEPT);
    };
    assert!(last.contains("event: error\n"), "{}", &last[last.len() - 500..]);
    for event in
        [Event::BlockEnd, Event::Finish { reason: Finish::Stop, stop_sequence: None }, Event::End]
    {
        assert_eq!(send(event), "");
    }
}
