//! OpenAI's chat completions.

use proptest::{collection::vec, option, prelude::*, sample::select};
use sluicegate_chat::{
    ClientDialect, Dialect, Envelope, Event, Expect, Finish, OnLoss, Request, Target, decode_reply,
    decode_request, encode_reply, encode_request,
    model::{
        Block, Content, Effort, Format, Image, Message, Origin, Part, Role, Sampling, ServiceTier,
        Thought, ToolChoice, ToolResult,
    },
};

use crate::make;

fn message() -> impl Strategy<Value = Message<'static>> {
    let said = |role| {
        (vec(make::text_part(), 1..3), option::of(make::id())).prop_map(move |(parts, name)| {
            Message { name, ..Message::new(role, parts, Origin::NONE) }
        })
    };
    let detailed = (make::source("image/webp"), option::of(select(&["low", "high"][..]))).prop_map(
        |(source, detail)| {
            make::part(Content::Image(Image { source, detail: detail.map(Into::into) }))
        },
    );
    let shown = prop_oneof![make::text_part(), detailed, make::pdf()];
    prop_oneof![
        said(Role::System),
        said(Role::Developer),
        vec(shown, 1..4).prop_map(|parts| Message::new(Role::User, parts, Origin::NONE)),
        assistant(),
        vec((make::id(), vec(make::text_part(), 1..3)), 1..3).prop_map(|results| {
            let parts = results.into_iter().map(|(call_id, parts)| {
                make::part(Content::ToolResult(ToolResult { call_id, parts, is_error: false }))
            });
            Message::new(Role::User, parts.collect(), Origin::NONE)
        }),
    ]
}

fn assistant() -> impl Strategy<Value = Message<'static>> {
    let thought = make::text()
        .prop_map(|text| make::part(Content::Thought(Thought { text, ..Thought::default() })));
    let refusal = make::text().prop_map(|text| make::part(Content::Refusal(text)));
    let said = vec(prop_oneof![make::text_part(), refusal], 0..3);
    let calls = vec((make::call(), option::of(make::id())), 1..3).prop_map(|calls| {
        calls.into_iter().map(|(part, seal)| Part { seal, ..part }).collect::<Vec<_>>()
    });
    (option::of(thought), said, calls).prop_map(|(thought, said, calls)| {
        let parts = thought.into_iter().chain(said).chain(calls).collect();
        Message::new(Role::Assistant, parts, Origin::NONE)
    })
}

fn messages() -> impl Strategy<Value = Vec<Message<'static>>> {
    vec(message(), 1..6).prop_map(|mut messages| {
        // Neighbouring results are one message.
        messages.dedup_by(|next, last| next.is_results() && last.is_results());
        messages
    })
}

fn sampling() -> impl Strategy<Value = Sampling<'static>> {
    let number = || option::of(make::number());
    (number(), number(), number(), number(), number(), option::of(make::object())).prop_map(
        |(temperature, top_p, seed, frequency_penalty, presence_penalty, logit_bias)| Sampling {
            temperature,
            top_p,
            top_k: None,
            seed,
            frequency_penalty,
            presence_penalty,
            logit_bias,
            n: None,
        },
    )
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

fn request() -> impl Strategy<Value = Request<'static>> {
    let function = make::tool(option::of(make::object()), option::of(any::<bool>()));
    let efforts = [Effort::None, Effort::Minimal, Effort::Medium, Effort::XHigh, Effort::Max];
    let tiers =
        [ServiceTier::Auto, ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority];
    let settings = (
        option::of(any::<u64>()),
        vec(make::text(), 0..3),
        option::of(any::<bool>()),
        option::of(0_u64..20),
        option::of(format()),
        option::of(select(efforts.to_vec())),
        option::of(select(tiers.to_vec())),
    );
    let labels = (
        option::of(make::text()),
        option::of(make::text()),
        option::of(make::object()),
        option::of(any::<bool>()),
        option::of(make::text()),
    );
    let tools = (make::tools(function), option::of(choice()), option::of(any::<bool>()));
    (any::<bool>(), messages(), sampling(), settings, labels, tools).prop_map(
        |(stream, messages, sampling, settings, labels, (tools, choice, parallel))| {
            let mut request = Request::new(ClientDialect::OpenAiChat, "target");
            request.stream = stream;
            request.include_usage = stream;
            request.messages = messages;
            request.sampling = sampling;
            request.max_output_tokens = settings.0;
            request.stop = settings.1;
            request.logprobs = settings.2;
            request.top_logprobs = settings.3;
            request.format = settings.4;
            request.reasoning.effort = settings.5;
            request.service_tier = settings.6;
            request.verbosity = labels.0;
            request.end_user = labels.1;
            request.metadata = labels.2;
            request.store = labels.3;
            request.prompt_cache_key = labels.4;
            // Without tools there is nothing to choose.
            request.tool_choice = choice.filter(|_| !tools.is_empty());
            request.parallel_tool_calls = parallel.filter(|_| !tools.is_empty());
            request.tools = tools;
            request
        },
    )
}

proptest! {
    #[test]
    fn requests(request in request()) {
        let mut target = Target::new("target");
        target.capabilities.reasoning_content = true;
        let encoded =
            encode_request(Dialect::OpenAiChat, &request, &target, OnLoss::Refuse).unwrap();
        prop_assert_eq!(&encoded.dropped, &[]);
        let read = decode_request(ClientDialect::OpenAiChat, &encoded.body).unwrap();
        prop_assert_eq!(read, request);
    }

    #[test]
    fn replies(
        thoughts in vec(make::thought(), 0..3),
        text in option::of(make::text_part()),
        calls in vec(make::call(), 0..3),
        usage in option::of(make::usage()),
    ) {
        let finish = if calls.is_empty() { Finish::Length } else { Finish::ToolCalls };
        let parts = thoughts.into_iter().chain(text).chain(calls).collect();
        let mut reply = make::reply(parts, finish, usage);
        reply.created = Some(7);
        let mut wire = Vec::new();
        encode_reply(ClientDialect::OpenAiChat, &Envelope::default(), &reply, &mut wire);
        let read = decode_reply(Dialect::OpenAiChat, &Expect::default(), &wire).unwrap();
        prop_assert_eq!(read, reply);
    }

    #[test]
    fn streams(blocks in vec(make::block(), 0..4), usage in make::usage()) {
        let mut blocks: Vec<_> = blocks.into_iter().collect();
        // Neighbouring texts can not be told apart.
        let is_text = |block: &[Event<'_>]| matches!(block[0], Event::BlockStart(Block::Text));
        blocks.dedup_by(|next, last| is_text(next) && is_text(last));
        let blocks: Vec<_> = blocks.concat();
        let is_call = |event: &Event<'_>| matches!(event, Event::BlockStart(Block::ToolCall { .. }));
        let reason = if blocks.iter().any(is_call) { Finish::ToolCalls } else { Finish::Length };
        let id = Some("id-1".into());
        let mut events = vec![Event::Start { id, model: Some("m".into()), created: Some(7) }];
        events.extend(blocks);
        events.push(Event::Finish { reason, stop_sequence: None });
        events.extend([Event::Usage(usage), Event::End]);
        let found = make::there_and_back(ClientDialect::OpenAiChat, &events);
        prop_assert_eq!(found, events);
    }
}
