//! What was used and paid, from the ledger.

use std::borrow::Cow;

use serde_json::{Value, json};
use sluicegate::stores::records::{Key, UserRole};
use sluicegate_filters::Usage;
use sluicegate_ledger::Row;
use uuid::Uuid;

use super::harness::{Admin, error, nothing};
use crate::support::Response;

/// 2026-01-31, noon.
const NOON: i64 = 1_769_860_800_000;
const DAY: i64 = 86_400_000;

fn row(number: u128, key: &Key, model: &'static str, day: i64) -> Row<'static> {
    Row {
        request_id: Uuid::from_u128(number),
        attempt: 1,
        begun_at: NOON + day * DAY,
        ended_at: NOON + day * DAY + 5,
        caller: "key".into(),
        key: Some(key.id),
        user: key.user.clone().map(Cow::Owned),
        team: key.team.clone().map(Cow::Owned),
        end_user: Some("=cmd|'/c calc'!A1".into()),
        endpoint: "chat_completions".into(),
        model: model.into(),
        provider: "openai".into(),
        provider_model: model.into(),
        outcome: "complete".into(),
        usage: Usage { input: 10, output: 5, ..Usage::default() },
        cost: Some(250_000_000),
        ..Row::default()
    }
}

/// Anna administers `red` and carl `blue`; a key of each team, and one of anna's own.
struct World {
    admin: Admin,
    keys: [Key; 3],
    anna: String,
    carl: String,
}

async fn world() -> World {
    let admin = Admin::start().await;
    for user in ["anna", "carl"] {
        admin.user(user, UserRole::InternalUser).await;
    }
    admin.team("red", "anna").await;
    admin.team("blue", "carl").await;
    let (red, _) = admin.stored_key(None, Some("red")).await;
    let (blue, _) = admin.stored_key(None, Some("blue")).await;
    let (own, anna) = admin.stored_key(Some("anna"), None).await;
    let (_, carl) = admin.stored_key(Some("carl"), None).await;
    let rows = [
        row(1, &red, "gpt-4o", 0),
        row(2, &red, "o3", 0),
        row(3, &red, "gpt-4o", 1),
        row(4, &blue, "gpt-4o", 1),
        row(5, &own, "gpt-4o", 2),
    ];
    let ledger = admin.services.gateway.ledger.store().unwrap();
    assert_eq!(ledger.append(&rows).await.unwrap(), 5);
    World { admin, keys: [red, blue, own], anna, carl }
}

fn ok(answer: Response) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn totals_are_by_what_is_asked_for_part_by_part() {
    let World { admin, keys, .. } = world().await;
    let all = ok(admin.get("/admin/v1/usage").await);
    assert_eq!((&all["items"][0]["attempts"], &all["items"][0]["group"]), (&json!(5), &json!({})));
    assert_eq!(all["items"][0]["cost"], json!({"usd": "1.25", "nano_usd": 1_250_000_000}));

    let path = "/admin/v1/usage?group_by=day,team&limit=2";
    let mut found = Vec::new();
    let mut page = ok(admin.get(path).await);
    loop {
        found.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| (item["group"].to_string(), item["attempts"].as_u64().unwrap())),
        );
        let Some(cursor) = page["cursor"].as_str() else { break };
        page = ok(admin.get(&format!("{path}&cursor={cursor}")).await);
    }
    let group = |day: &str, team: Value| json!({"day": day, "team": team}).to_string();
    assert_eq!(
        found,
        [
            (group("2026-01-31", json!("red")), 2),
            (group("2026-02-01", json!("blue")), 1),
            (group("2026-02-01", json!("red")), 1),
            (group("2026-02-02", json!(null)), 1),
        ]
    );
    let day = ok(admin.get("/admin/v1/usage?from=2026-02-01&to=2026-02-01").await);
    assert_eq!(day["items"][0]["attempts"], 2);
    let key = ok(admin.get(&format!("/admin/v1/usage?group_by=model&key={}", keys[0].id)).await);
    assert_eq!(key["items"][0]["group"]["model"], "gpt-4o");
    assert_eq!(key["items"][0]["input_tokens"], 20);
    for (query, field) in [
        ("group_by=colour", "group_by"),
        ("from=yesterday", "from"),
        ("from=2026-02-02&to=2026-02-01", "to"),
        ("key=sk-x", "key"),
        ("cursor=zz", "cursor"),
        ("format=xml", "format"),
        ("limit=1001", "limit"),
        ("tema=x", "tema"),
    ] {
        let refused = admin.get(&format!("/admin/v1/usage?{query}")).await;
        assert_eq!((error(&refused).0, error(&refused).2.as_str()), (422, field), "{query}");
    }
}

#[tokio::test]
async fn attempts_are_listed_newest_first() {
    let World { admin, .. } = world().await;
    let mut found = Vec::new();
    let mut page = ok(admin.get("/admin/v1/usage/rows?limit=2").await);
    loop {
        let ids = page["items"].as_array().unwrap().iter().map(|row| row["request_id"].clone());
        found.extend(ids);
        let Some(cursor) = page["cursor"].as_str() else { break };
        page = ok(admin.get(&format!("/admin/v1/usage/rows?limit=2&cursor={cursor}")).await);
    }
    let id = |number| json!(Uuid::from_u128(number));
    assert_eq!(found, [id(5), id(4), id(3), id(2), id(1)]);
    let one =
        ok(admin.get(&format!("/admin/v1/usage/rows?request_id={}", Uuid::from_u128(2))).await);
    assert_eq!(one["items"][0]["tokens"], json!({"input": 10, "output": 5}));
    assert_eq!(
        (&one["items"][0]["model"], &one["items"][0]["cost"]["usd"]),
        (&json!("o3"), &json!("0.25"))
    );
}

#[tokio::test]
async fn a_teams_administrator_sees_their_teams_only() {
    let World { admin, keys, anna, carl } = world().await;
    let get = async |who: &str, path: &str| admin.as_(who, "GET", path, &nothing()).await;
    for (who, team, other, attempts) in [(&anna, "red", "blue", 3), (&carl, "blue", "red", 1)] {
        let all = ok(get(who, "/admin/v1/usage?group_by=team").await);
        assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");
        assert_eq!(all["items"][0]["group"]["team"], team);
        assert_eq!(all["items"][0]["attempts"], attempts);
        let foreign = ok(get(who, &format!("/admin/v1/usage?team={other}&group_by=team")).await);
        assert_eq!(foreign["items"], json!([]));
        let rows = ok(get(who, "/admin/v1/usage/rows").await);
        assert!(rows["items"].as_array().unwrap().iter().all(|row| row["team"] == team));
        let foreign = ok(get(who, &format!("/admin/v1/usage/rows?team={other}")).await);
        assert_eq!(foreign["items"], json!([]));
        let report = "/global/spend/report?start_date=2026-01-01&end_date=2026-12-31";
        let report = ok(get(who, report).await).to_string();
        assert!(report.contains(team) && !report.contains(other), "{report}");
        let logs = ok(get(who, "/spend/logs").await);
        assert_eq!(logs.as_array().unwrap().len(), attempts);
    }
    let foreign = get(&anna, &format!("/spend/logs?api_key={}", keys[1].hash.to_hex())).await;
    assert_eq!(foreign.status, 404, "its hash says nothing to a stranger");
}

#[tokio::test]
async fn no_cell_of_a_table_is_a_formula() {
    let World { admin, .. } = world().await;
    let totals = admin.get("/admin/v1/usage?group_by=end_user,model&format=csv&limit=1").await;
    assert_eq!(totals.status, 200, "{}", totals.text());
    assert!(totals.header("content-type").unwrap().starts_with("text/csv"));
    assert!(totals.header("x-sluicegate-cursor").is_some());
    let text = totals.text();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("end_user,model,attempts,input_tokens"));
    assert_eq!(lines.next().unwrap(), "'=cmd|'/c calc'!A1,gpt-4o,4,40,0,20,0,1,1000000000");
    let rows = admin.get("/admin/v1/usage/rows?format=csv").await.text();
    assert_eq!(rows.lines().count(), 6);
    assert!(rows.contains(",'=cmd|'/c calc'!A1,") && !rows.contains(",=cmd"), "{rows}");
}

#[tokio::test]
async fn a_report_is_never_cut() {
    let admin = Admin::start().await;
    let (key, _) = admin.stored_key(None, None).await;
    let ledger = admin.services.gateway.ledger.store().unwrap();
    // More totals than are read at once, each of a model of its own.
    let numbers: Vec<u128> = (1..=10_050).collect();
    for part in numbers.chunks(500) {
        let rows: Vec<_> = part
            .iter()
            .map(|number| Row {
                model: format!("m{number}").into(),
                cost: Some(1_000_000),
                ..row(*number, &key, "m", 0)
            })
            .collect();
        assert_eq!(ledger.append(&rows).await.unwrap(), part.len() as u64);
    }
    let days = "start_date=2026-01-31&end_date=2026-01-31";
    let summary = ok(admin.get(&format!("/spend/logs?{days}")).await);
    assert_eq!(summary[0]["spend"], 10.05);
    assert_eq!(summary[0]["models"].as_object().unwrap().len(), 10_050);
    let report = ok(admin.get(&format!("/global/spend/report?{days}&group_by=api_key")).await);
    assert_eq!(report[0]["total_cost"], 10.05);
    assert_eq!(report[0]["model_details"].as_array().unwrap().len(), 10_050);
}

#[tokio::test]
async fn litellms_clients_find_what_was_spent() {
    let World { admin, keys, .. } = world().await;
    let token = keys[0].hash.to_hex();
    let info = ok(admin.get(&format!("/key/info?key={token}")).await);
    assert_eq!((&info["key"], &info["info"]["spend"]), (&json!(token), &json!(0.75)));
    let list = ok(admin.get("/key/list?return_full_object=true&team_id=red").await);
    assert_eq!(list["keys"][0]["spend"], 0.75);
    let team = ok(admin.get("/team/info?team_id=red").await);
    assert_eq!(
        (&team["team_info"]["spend"], &team["keys"][0]["spend"]),
        (&json!(0.75), &json!(0.75))
    );
    let user = ok(admin.get("/user/info?user_id=anna").await);
    assert_eq!(
        (&user["user_info"]["spend"], &user["keys"][0]["spend"]),
        (&json!(0.25), &json!(0.25))
    );

    let days = "start_date=2026-01-31&end_date=2026-02-01";
    let logs = ok(admin.get(&format!("/spend/logs?{days}&api_key={token}")).await);
    assert_eq!(
        logs,
        json!([
            {"startTime": "2026-01-31", "spend": 0.5, "users": {"": 0.5}, "models": {"gpt-4o": 0.25, "o3": 0.25}},
            {"startTime": "2026-02-01", "spend": 0.25, "users": {"": 0.25}, "models": {"gpt-4o": 0.25}},
        ])
    );
    let rows = ok(admin.get(&format!("/spend/logs?{days}&summarize=false")).await);
    assert_eq!(rows.as_array().unwrap().len(), 4);
    let one = ok(admin.get(&format!("/spend/logs?request_id={}", Uuid::from_u128(1))).await);
    assert_eq!((&one[0]["api_key"], &one[0]["spend"]), (&json!(token), &json!(0.25)));
    assert_eq!(
        (&one[0]["total_tokens"], &one[0]["startTime"]),
        (&json!(15), &json!("2026-01-31T12:00:00.000000+00:00"))
    );

    let report = async |group: &str| {
        ok(admin.get(&format!("/global/spend/report?{days}&group_by={group}")).await)
    };
    let teams = report("team").await;
    assert_eq!(teams[0]["group_by_day"], "2026-01-31");
    assert_eq!(teams[0]["teams"][0]["total_spend"], 0.5);
    assert_eq!(teams[0]["teams"][0]["metadata"][0]["api_key"], token);
    assert_eq!(report("customer").await[0]["customers"][0]["total_spend"], 0.5);
    let by_key = report("api_key").await;
    let of_key = by_key.as_array().unwrap().iter().find(|row| row["api_key"] == token.as_str());
    assert_eq!(of_key.unwrap()["total_cost"], 0.75);
    assert_eq!(admin.get("/global/spend/report").await.status, 422);
}
