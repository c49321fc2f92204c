use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    alias: Option<String>,
    models: Vec<String>,
    blocked: bool,
    metadata: Map<String, Value>,
    limits: Limits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Limits {
    rpm: Option<u64>,
    by_model: BTreeMap<String, u64>,
    role: Option<Role>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    Admin,
    User,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    #[expect(dead_code, reason = "only its absence matters")]
    name: String,
}

fn fault<T: DeserializeOwned + fmt::Debug>(body: &str) -> (String, String, Option<String>) {
    let error = strict::<T>(body.as_bytes()).expect_err(body);
    (error.field.unwrap_or_default(), error.message.into_owned(), error.hint.map(Cow::into_owned))
}

#[test]
fn a_good_body_is_read_whole() {
    let body = r#"{"alias":"a\"b","models":["m","n"],"blocked":true,"metadata":{"deep":[{"x":1.5}]},
                   "limits":{"rpm":3,"by_model":{"m":7},"role":"admin"}}"#;
    let body: Body = strict(body.as_bytes()).unwrap();
    assert_eq!(body.alias.as_deref(), Some("a\"b"));
    assert_eq!(body.models, ["m", "n"]);
    assert!(body.blocked && matches!(body.limits.role, Some(Role::Admin)));
    assert_eq!(body.metadata["deep"][0]["x"], 1.5);
    assert_eq!((body.limits.rpm, body.limits.by_model["m"]), (Some(3), 7));
    assert!(strict::<Body>(b" ").unwrap().alias.is_none(), "no body is an empty object");
}

#[test]
fn every_fault_names_its_field() {
    let table = [
        (r#"{"alais":"x"}"#, "alais", "`alais` is not known"),
        (r#"{"alias":3}"#, "alias", "`alias` must be a string, not a number"),
        (r#"{"blocked":"yes"}"#, "blocked", "`blocked` must be true or false, not a string"),
        (r#"{"models":"m"}"#, "models", "`models` must be a list, not a string"),
        (r#"{"models":["m",null]}"#, "models[1]", "`models[1]` must be a string, not null"),
        (r#"{"limits":[]}"#, "limits", "`limits` must be an object"),
        (
            r#"{"limits":{"rpm":-1}}"#,
            "limits.rpm",
            "`limits.rpm` must be a whole number, 0 or more",
        ),
        (
            r#"{"limits":{"rpm":1.5}}"#,
            "limits.rpm",
            "`limits.rpm` must be a whole number, 0 or more, not a fraction",
        ),
        (
            r#"{"limits":{"by_model":{"m":"x"}}}"#,
            "limits.by_model.m",
            "`limits.by_model.m` must be a whole number, 0 or more, not a string",
        ),
        (
            r#"{"limits":{"role":"amdin"}}"#,
            "limits.role",
            "`limits.role` must be one of `admin`, `user`",
        ),
        (r#"{"alias":"a","alias":"b"}"#, "alias", "`alias` is given more than once"),
        (
            r#"{"metadata":{"a":{"b":1,"b":2}}}"#,
            "metadata.a.b",
            "`metadata.a.b` is given more than once",
        ),
        ("[]", "", "The body must be an object."),
    ];
    for (body, field, message) in table {
        let (at, says, _) = fault::<Body>(body);
        assert_eq!((at.as_str(), says.as_str()), (field, message), "{body}");
    }
    assert_eq!(fault::<Wanted>("{}").1, "`name` is required");
}

#[test]
fn a_slip_is_told_the_nearest_name() {
    assert_eq!(fault::<Body>(r#"{"alais":1}"#).2.unwrap(), "did you mean `alias`?");
    assert_eq!(fault::<Body>(r#"{"limits":{"rmp":1}}"#).2.unwrap(), "did you mean `rpm`?");
    assert_eq!(fault::<Body>(r#"{"zzzzzzzz":1}"#).2, None);
    let (_, _, hint) = fault::<Body>(r#"{"limits":{"role":"amdin"}}"#);
    assert_eq!(hint.unwrap(), "did you mean `admin`?");
}

#[test]
fn what_is_not_json_is_400_and_what_is_too_deep_is_refused() {
    for body in ["{", "{}x", "\u{1}", r#"{"a":01}"#] {
        let error = strict::<Body>(body.as_bytes()).expect_err(body);
        assert_eq!((error.status.as_u16(), error.code), (400, "invalid_json"), "{body}");
    }
    assert_eq!(strict::<Body>(b"{\"alias\":\"\xff\"}").expect_err("UTF-8").code, "invalid_json");
    let deep = format!("{{\"metadata\":{}1{}}}", "{\"a\":".repeat(40), "}".repeat(40));
    assert!(fault::<Body>(&deep).1.ends_with("is nested more than 32 deep"));
    let hostile = format!("{{\"metadata\":{{\"a\":{}", "[".repeat(500_000));
    assert_eq!(strict::<Body>(hostile.as_bytes()).expect_err("deep").code, "invalid_json");
}

#[test]
fn unknown_fields_can_be_noted_instead() {
    let (body, ignored) =
        lenient::<Body>(br#"{"alias":"a","guardrails":[1],"limits":{"x":1}}"#).unwrap();
    assert_eq!(body.alias.as_deref(), Some("a"));
    assert_eq!(ignored, ["guardrails", "x"]);
    assert!(lenient::<Body>(br#"{"alias":1}"#).is_err());
}

proptest! {
    #[test]
    fn no_body_panics(body: Vec<u8>) {
        strict::<Body>(&body).ok();
    }

    #[test]
    fn no_json_panics(text in r#"[\[\]{}":,a-z0-9 \\.-]{0,60}"#) {
        lenient::<Body>(text.as_bytes()).ok();
    }

    #[test]
    fn metadata_is_what_serde_json_makes_of_it(keys in proptest::collection::btree_map("[a-z]{1,4}", any::<i64>(), 0..5)) {
        let text = serde_json::json!({"metadata": keys}).to_string();
        let body: Body = strict(text.as_bytes()).unwrap();
        prop_assert_eq!(Value::Object(body.metadata), serde_json::json!(keys));
    }
}
