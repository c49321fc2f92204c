//! The OpenAPI document says what there is.

use std::collections::BTreeSet;

use serde_json::Value;
use sluicegate::admin::openapi;
use sluicegate::admin::routes::endpoints;

use super::harness::Admin;

fn document() -> Value {
    serde_json::from_str(&openapi::text()).unwrap()
}

#[test]
fn every_route_is_documented_and_no_other() {
    let document = document();
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(
                operation["summary"].as_str().is_some_and(|text| text.ends_with('.')),
                "{path}"
            );
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let routed: BTreeSet<_> =
        endpoints().into_iter().map(|e| format!("{} {}", e.method, e.path)).collect();
    assert_eq!(documented, routed);
}

#[test]
fn every_reference_leads_somewhere_and_every_id_is_one() {
    fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    found.insert(reference);
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut ids = BTreeSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} is there twice");
        }
    }
}

/// `UPDATE=1 cargo nextest run openapi` writes it anew.
#[test]
fn the_document_in_the_repository_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, openapi::text()).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == openapi::text(), "docs/openapi.json is not current: run this with UPDATE=1");
}

#[tokio::test]
async fn the_document_needs_no_credential() {
    let admin = Admin::start().await;
    let answer = admin.send("GET", "/admin/v1/openapi.json", &[], None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json(), document());
}

/// The codes of errors in the sources: the first text after each place where an error is made.
fn codes(directory: &std::path::Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes(&path, found);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for made in ["ApiError::new(", "ApiError::conflict(", "Self::new(", "unsupported("] {
            for (at, _) in source.match_indices(made) {
                let rest = &source[at..source.len().min(at + 200)];
                let code = rest.split('"').nth(1).unwrap_or_default();
                if code.contains('_') && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                    found.insert(code.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_code_of_an_error_is_documented() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    codes(&root.join("src/admin"), &mut found);
    assert!(found.len() > 15, "{found:?}");
    let page = std::fs::read_to_string(root.join("docs/admin.md")).unwrap();
    for code in found {
        assert!(page.contains(&format!("`{code}`")), "{code} is not in docs/admin.md");
    }
}
