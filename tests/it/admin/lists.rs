//! Lists: parts, filters, and what happens meanwhile.

use serde_json::{Value, json};

use super::harness::{Admin, error};

/// Follows the cursors to the end: the ids in each part. `between` runs after each.
async fn parts(
    admin: &Admin,
    path: &str,
    limit: usize,
    between: impl AsyncFn(usize),
) -> Vec<Vec<String>> {
    let (mut parts, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("{path}?limit={limit}{cursor}")).await.json();
        let items = page["items"].as_array().unwrap();
        parts.push(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect());
        between(parts.len()).await;
        match &page["cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => return parts,
        }
    }
}

#[tokio::test]
async fn parts_are_full_and_end_without_an_empty_one() {
    let admin = Admin::start().await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(admin.key(json!({})).await.0);
    }
    let found = parts(&admin, "/admin/v1/keys", 2, async |_| {}).await;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    let mut all = found.concat();
    all.sort_unstable();
    ids.sort_unstable();
    assert_eq!(all, ids);
    let one = admin.get("/admin/v1/keys?limit=6").await.json();
    assert_eq!((one["total"].as_u64(), one["cursor"].is_null()), (Some(6), true));
}

#[tokio::test]
async fn what_is_made_or_deleted_meanwhile_shifts_nothing() {
    let admin = Admin::start().await;
    for n in 0..9 {
        let team = json!({"id": format!("team-{n}")});
        assert_eq!(admin.post("/admin/v1/teams", team).await.status, 201);
    }
    let before = parts(&admin, "/admin/v1/teams", 100, async |_| {}).await.concat();
    let found = parts(&admin, "/admin/v1/teams", 3, async |part| {
        if part == 1 {
            // Two that were seen go, three new ones come before all others.
            for id in &before[..2] {
                admin.master("DELETE", &format!("/admin/v1/teams/{id}"), &json!(null)).await;
            }
            for n in 0..3 {
                admin.post("/admin/v1/teams", json!({"id": format!("new-{n}")})).await;
            }
        }
    })
    .await;
    assert_eq!(found.concat(), before, "each of those from the beginning once");
}

#[tokio::test]
async fn a_cursor_whose_record_is_gone_is_good_and_a_made_up_one_is_refused() {
    let admin = Admin::start().await;
    for id in ["a", "b", "c"] {
        admin.post("/admin/v1/organizations", json!({"id": id})).await;
    }
    let first = admin.get("/admin/v1/organizations?limit=1").await.json();
    let cursor = first["cursor"].as_str().unwrap();
    let seen = first["items"][0]["id"].as_str().unwrap();
    admin.master("DELETE", &format!("/admin/v1/organizations/{seen}"), &json!(null)).await;
    let rest = admin.get(&format!("/admin/v1/organizations?cursor={cursor}")).await.json();
    assert_eq!(rest["items"].as_array().unwrap().len(), 2);
    for wrong in ["x", "1_", "1_zz", "_61", "1_6", "99999999999999999999_61"] {
        let answer = admin.get(&format!("/admin/v1/keys?cursor={wrong}")).await;
        let (status, _, field) = error(&answer);
        assert!(
            status == 422 && matches!(&*field, "cursor" | "after"),
            "{wrong}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn filters_narrow_a_list() {
    let admin = Admin::start().await;
    admin.team("red", "anna").await;
    admin.user("ben", sluicegate::stores::records::UserRole::InternalUser).await;
    admin.key(json!({"alias": "one", "team": "red"})).await;
    admin.key(json!({"alias": "two", "user": "ben"})).await;
    admin.key(json!({"alias": "three", "blocked": true})).await;
    for (query, expected) in [
        ("team=red", vec!["one"]),
        ("user=ben", vec!["two"]),
        ("user=ben&team=red", vec![]),
        ("alias=three", vec!["three"]),
        ("blocked=true", vec!["three"]),
        ("blocked=false", vec!["two", "one"]),
    ] {
        let list = admin.get(&format!("/admin/v1/keys?{query}")).await.json();
        let mut found: Vec<_> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|k| k["alias"].as_str().unwrap())
            .collect();
        let mut expected = expected;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{query}");
        assert_eq!(list["total"], found.len());
    }
}

#[tokio::test]
async fn no_list_shows_a_key_or_its_hash() {
    let admin = Admin::start().await;
    let (id, text) = admin.key(json!({"alias": "ci"})).await;
    let stored = admin.store().key(id.parse().unwrap()).await.unwrap().unwrap();
    for path in ["/admin/v1/keys".to_owned(), format!("/admin/v1/keys/{id}")] {
        let shown = admin.get(&path).await.text();
        assert!(shown.contains(&stored.hint) && !shown.contains(&text), "{shown}");
        assert!(!shown.contains(&stored.hash.to_hex()), "{shown}");
    }
    for path in ["/key/list?return_full_object=true".to_owned(), format!("/key/info?key={text}")] {
        assert!(!admin.get(&path).await.text().contains(&text), "{path}");
    }
}
