//! Anthropic's messages.

use proptest::{collection::vec, option, prelude::*, sample::select};
use sluicegate_chat::{
    ClientDialect, Dialect, Envelope, Event, Expect, Finish, OnLoss, Request, Target, Usage,
    decode_reply, decode_request, encode_reply, encode_request,
    model::{
        CacheHint, CacheLife, Content, Display, Document, Effort, Format, Message, Origin, Part,
        Reasoning, Role, ServiceTier, Source, Thinking, Tool, ToolResult,
    },
};

use crate::make;

fn hint() -> impl Strategy<Value = Option<CacheHint>> {
    let lives = [None, Some(CacheLife::FiveMinutes), Some(CacheLife::OneHour)];
    option::of(select(lives.to_vec()).prop_map(|life| CacheHint { life }))
}

/// White space alone is left out.
fn text_part() -> impl Strategy<Value = Part<'static>> {
    make::text_part()
        .prop_filter("not blank", |part| part.as_text().is_some_and(|text| !text.trim().is_empty()))
}

fn hinted(part: impl Strategy<Value = Part<'static>>) -> impl Strategy<Value = Part<'static>> {
    (part, hint()).prop_map(|(part, cache)| Part { cache, ..part })
}

fn document() -> impl Strategy<Value = Part<'static>> {
    let source = prop_oneof![make::source("application/pdf"), make::text().prop_map(Source::Text),];
    let more = (option::of(make::text()), option::of(make::text()), option::of(any::<bool>()));
    (source, more).prop_map(|(source, (name, context, citations))| {
        make::part(Content::Document(Document { source, name, context, citations }))
    })
}

fn result() -> impl Strategy<Value = Part<'static>> {
    let given = prop_oneof![hinted(text_part()), make::image(), document()];
    (make::id(), vec(given, 0..3), any::<bool>()).prop_map(|(call_id, parts, is_error)| {
        make::part(Content::ToolResult(ToolResult { call_id, parts, is_error }))
    })
}

fn user() -> impl Strategy<Value = Message<'static>> {
    let shown = prop_oneof![text_part(), make::image(), document()];
    (vec(hinted(result()), 0..3), vec(hinted(shown), 1..3)).prop_map(|(results, shown)| {
        let parts = results.into_iter().chain(shown).collect();
        Message::new(Role::User, parts, Origin::NONE)
    })
}

fn assistant() -> impl Strategy<Value = Message<'static>> {
    let part = prop_oneof![hinted(text_part()), make::thought(), hinted(make::call()),];
    vec(part, 1..4).prop_map(|parts| Message::new(Role::Assistant, parts, Origin::NONE))
}

fn messages() -> impl Strategy<Value = Vec<Message<'static>>> {
    let system = vec(hinted(text_part()), 1..3)
        .prop_map(|parts| Message::new(Role::System, parts, Origin::NONE));
    // Neighbours of one role are one turn.
    (option::of(system), vec((user(), assistant()), 1..3)).prop_map(|(system, turns)| {
        let turns = turns.into_iter().flat_map(|(user, assistant)| [user, assistant]);
        system.into_iter().chain(turns).collect()
    })
}

fn reasoning() -> impl Strategy<Value = Reasoning> {
    let thinking = prop_oneof![
        Just((Some(Thinking::Off), None)),
        (1_024_u64.., option::of(select(vec![Display::Auto, Display::Omitted])))
            .prop_map(|(budget, display)| (Some(Thinking::Budget(budget)), display)),
        Just((Some(Thinking::Adaptive), Some(Display::Omitted))),
        Just((None, None)),
    ];
    let efforts = vec![Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max];
    (thinking, option::of(select(efforts))).prop_map(|((thinking, display), effort)| Reasoning {
        thinking,
        effort,
        display,
    })
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let strict = prop_oneof![Just(None), Just(Some(true))];
    let function = make::tool(make::object().prop_map(Some), strict);
    let tools =
        (
            make::tools((function, hint()).prop_map(|(function, cache)| {
                sluicegate_chat::model::Function { cache, ..function }
            })),
            option::of(make::choice()),
            any::<bool>(),
        );
    let numbers =
        (option::of(make::number()), option::of(make::number()), option::of(make::number()));
    let settings = (
        any::<u64>(),
        vec(make::text(), 0..3),
        option::of(make::object()),
        reasoning(),
        option::of(select(vec![ServiceTier::Auto, ServiceTier::Standard])),
        option::of(make::text()),
        hint(),
    );
    (any::<bool>(), messages(), numbers, settings, tools).prop_map(
        |(stream, messages, numbers, settings, (tools, choice, serial))| {
            let mut request = Request::new(ClientDialect::Anthropic, "target");
            request.stream = stream;
            request.messages = messages;
            (request.sampling.temperature, request.sampling.top_p, request.sampling.top_k) =
                numbers;
            request.max_output_tokens = Some(settings.0);
            request.stop = settings.1;
            request.format = settings.2.map(|schema| Format::JsonSchema {
                name: None,
                description: None,
                schema,
                strict: Some(true),
            });
            request.reasoning = settings.3;
            request.service_tier = settings.4;
            request.end_user = settings.5;
            request.cache = settings.6;
            let choice = choice.filter(|_| !tools.is_empty());
            let is_none = choice == Some(sluicegate_chat::model::ToolChoice::None);
            request.parallel_tool_calls = (serial && choice.is_some() && !is_none).then_some(false);
            request.tool_choice = choice;
            request.tools = tools;
            request
        },
    )
}

proptest! {
    #[test]
    fn requests(request in request()) {
        let target = Target::new("target");
        let encoded =
            encode_request(Dialect::Anthropic, &request, &target, OnLoss::Refuse).unwrap();
        prop_assert_eq!(&encoded.dropped, &[]);
        let read = decode_request(ClientDialect::Anthropic, &encoded.body).unwrap();
        prop_assert_eq!(read, request);
    }

    #[test]
    fn replies(
        parts in vec(prop_oneof![make::thought(), text_part(), make::call()], 0..5),
        finish in select(vec![Finish::Stop, Finish::Length, Finish::ContextWindow, Finish::ToolCalls,
            Finish::Refusal, Finish::Pause, Finish::StopSequence]),
        usage in make::usage(),
    ) {
        let mut reply = make::reply(parts, finish, Some(usage));
        reply.service_tier = Some(ServiceTier::Priority);
        let mut wire = Vec::new();
        encode_reply(ClientDialect::Anthropic, &Envelope::default(), &reply, &mut wire);
        let read = decode_reply(Dialect::Anthropic, &Expect::default(), &wire).unwrap();
        prop_assert_eq!(read, reply);
    }

    #[test]
    fn streams(
        blocks in vec(make::block(), 0..4),
        first in make::usage(),
        last in make::usage(),
        stop_sequence in option::of(make::text()),
    ) {
        let id = Some("id-1".into());
        let mut events = vec![Event::Start { id, model: Some("m".into()), created: None }];
        events.push(Event::Usage(first));
        events.extend(blocks.concat());
        // Counts of reasoning that are zero are not written, and so not replaced.
        let last = Usage { reasoning: last.reasoning.max(1), output: last.output.max(2), ..last };
        events.push(Event::Usage(last));
        events.push(Event::Finish { reason: Finish::Length, stop_sequence });
        events.push(Event::End);
        let found = make::there_and_back(ClientDialect::Anthropic, &events);
        prop_assert_eq!(found, events);
    }
}

/// A tool that is no function is written as it came.
#[test]
fn tools_of_the_provider() {
    let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{}}]}],"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#;
    let request = decode_request(ClientDialect::Anthropic, body).unwrap();
    assert!(matches!(request.tools[0], Tool::Native { .. }));
    let target = Target::new("m");
    let encoded = encode_request(Dialect::Anthropic, &request, &target, OnLoss::Refuse).unwrap();
    let read = decode_request(ClientDialect::Anthropic, &encoded.body).unwrap();
    assert_eq!(read, request);
}
