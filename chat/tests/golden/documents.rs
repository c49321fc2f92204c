//! Requests, replies and errors.
//!
//! A fixture is an object. All have `source`, the page that the input follows, and may have `note`. `input` is what is
//! read: JSON, or a string whose content is taken as it is where the input has to be no plain JSON value.
//!
//! | member | in | is |
//! |---|---|---|
//! | `target` | requests | `model`, and capabilities that differ from the defaults |
//! | `drop` | requests | whether unsupported parameters are dropped |
//! | `path` | requests | what is to be appended to the base URL |
//! | `output` | all | what has to be written |
//! | `dropped` | requests | the fields that have to be listed as left out |
//! | `refusal` | requests | in place of `output`: what has to be said |
//! | `broken` | replies | in place of `output`: what has to be said |
//! | `answer_tool` | replies | the tool that stood in for structured output |
//! | `status` | errors | the upstream's status |
//! | `output_status` | errors | the client's status |

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, value::RawValue};
use sluicegate_chat::{
    Envelope, Expect, OnLoss, Refusal, Target, decode_fault, decode_reply, decode_request,
    encode_fault, encode_reply, encode_request,
};

use crate::fixture::{Pair, Problems, minify, pretty, update};

/// An object's members in their order, as they were written.
struct Fixture {
    members: Vec<(String, String)>,
}

impl Fixture {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let values: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut members: Vec<_> =
            values.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect();
        let position = |name: &str| ORDER.iter().position(|known| *known == name);
        for (name, _) in &members {
            assert!(position(name).is_some(), "{}: unknown member {name}", path.display());
        }
        members.sort_by_key(|(name, _)| position(name));
        let mut fixture = Self { members };
        if update() {
            // The form that the file will have: white space in arguments counts.
            for (_, value) in &mut fixture.members {
                *value = pretty(value);
            }
        }
        let source = fixture.string("source").unwrap_or_default();
        assert!(source.starts_with("https://"), "{}: no source", path.display());
        fixture
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| value.as_str())
    }

    fn string(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| serde_json::from_str(value).unwrap())
    }

    fn input(&self) -> Vec<u8> {
        let input = self.get("input").expect("an input");
        match serde_json::from_str::<String>(input) {
            Ok(text) => text.into_bytes(),
            Err(_) => input.as_bytes().to_vec(),
        }
    }

    /// Compares members that have to be there, and no others of `RESULTS`, with what came out.
    fn settle(mut self, path: &Path, found: Vec<(&str, String)>, problems: &mut Problems) {
        const RESULTS: [&str; 6] =
            ["path", "output", "output_status", "dropped", "refusal", "broken"];
        if update() {
            self.members.retain(|(name, _)| !RESULTS.contains(&name.as_str()));
            let found = found.into_iter().map(|(name, value)| (name.to_owned(), value));
            self.members.extend(found);
            self.write(path);
            return;
        }
        for name in RESULTS {
            let expected = self.get(name).map(minify).unwrap_or_default();
            let found = found.iter().find(|(found, _)| *found == name);
            let found = found.map(|(_, value)| minify(value)).unwrap_or_default();
            problems.compare(path, name, &expected, &found);
        }
    }

    fn write(&self, path: &Path) {
        let members: Vec<_> = self
            .members
            .iter()
            .map(|(name, value)| format!("  \"{name}\": {}", pretty(value)))
            .collect();
        fs::write(path, format!("{{\n{}\n}}\n", members.join(",\n"))).unwrap();
    }
}

/// Names of members, in the order in which fixtures have them.
const ORDER: [&str; 14] = [
    "source",
    "note",
    "target",
    "drop",
    "answer_tool",
    "status",
    "input",
    "path",
    "output",
    "output_status",
    "dropped",
    "refusal",
    "broken",
    "_",
];

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn as_json(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).unwrap();
    let _valid: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    text.to_owned()
}

#[test]
fn requests() {
    let mut problems = Problems::default();
    for pair in Pair::all() {
        for path in pair.files("requests") {
            let fixture = Fixture::read(&path);
            let found = match translate_request(&pair, &fixture) {
                Ok(found) => found,
                Err(refusal) => vec![("refusal", quoted(&refusal.to_string()))],
            };
            fixture.settle(&path, found, &mut problems);
        }
    }
    problems.check();
}

fn translate_request(
    pair: &Pair,
    fixture: &Fixture,
) -> Result<Vec<(&'static str, String)>, Refusal> {
    let settings: Value = serde_json::from_str(fixture.get("target").unwrap_or("{}")).unwrap();
    let target = target(&settings);
    let on_loss = match fixture.get("drop") {
        Some("true") => OnLoss::DropParameters,
        _ => OnLoss::Refuse,
    };
    let input = fixture.input();
    let request = decode_request(pair.client, &input)?;
    let encoded = encode_request(pair.upstream, &request, &target, on_loss)?;
    let mut found = vec![("path", quoted(&encoded.path)), ("output", as_json(&encoded.body))];
    if !encoded.dropped.is_empty() {
        let fields: Vec<_> = encoded.dropped.iter().map(|dropped| &dropped.field).collect();
        found.push(("dropped", serde_json::to_string(&fields).unwrap()));
    }
    Ok(found)
}

fn target(settings: &Value) -> Target<'_> {
    let mut target = Target::new("target-model");
    for (name, value) in settings.as_object().unwrap() {
        let capabilities = &mut target.capabilities;
        let switch = match name.as_str() {
            "model" => {
                target.model = value.as_str().unwrap();
                continue;
            }
            "default_max_output" => {
                target.default_max_output = value.as_u64().unwrap();
                continue;
            }
            "adaptive_thinking" => &mut capabilities.adaptive_thinking,
            "structured_output" => &mut capabilities.structured_output,
            "max_completion_tokens" => &mut capabilities.max_completion_tokens,
            "developer_role" => &mut capabilities.developer_role,
            "mid_conversation_system" => &mut capabilities.mid_conversation_system,
            "effort_none" => &mut capabilities.effort_none,
            "reasoning_content" => &mut capabilities.reasoning_content,
            "thinking_levels" => &mut capabilities.thinking_levels,
            other => panic!("unknown setting {other}"),
        };
        *switch = value.as_bool().unwrap();
    }
    target
}

pub fn envelope() -> Envelope {
    Envelope {
        id: "own-id".to_owned(),
        created: 1_700_000_000,
        asked_model: "asked-model".to_owned(),
        ..Envelope::default()
    }
}

#[test]
fn replies() {
    let mut problems = Problems::default();
    for pair in Pair::all() {
        for path in pair.files("replies") {
            let fixture = Fixture::read(&path);
            let input = fixture.input();
            let expect = expect(fixture.get("answer_tool").is_some());
            let found = match decode_reply(pair.upstream, &expect, &input) {
                Ok(reply) => {
                    let mut out = Vec::new();
                    encode_reply(pair.client, &envelope(), &reply, &mut out);
                    vec![("output", as_json(&out))]
                }
                Err(broken) => vec![("broken", quoted(&broken.to_string()))],
            };
            fixture.settle(&path, found, &mut problems);
        }
    }
    problems.check();
}

/// What a request with or without structured output by a tool expects.
pub fn expect(answer_tool: bool) -> Expect {
    if answer_tool { Expect::of_answer_tool() } else { Expect::default() }
}

#[test]
fn errors() {
    let mut problems = Problems::default();
    for pair in Pair::all() {
        for path in pair.files("errors") {
            let fixture = Fixture::read(&path);
            let status = fixture.get("status").expect("a status").parse().unwrap();
            let fault = decode_fault(pair.upstream, status, &fixture.input());
            let mut out = Vec::new();
            encode_fault(pair.client, &fault, "own-request-id", &mut out);
            let found =
                vec![("output", as_json(&out)), ("output_status", fault.kind.status().to_string())];
            fixture.settle(&path, found, &mut problems);
        }
    }
    problems.check();
}
