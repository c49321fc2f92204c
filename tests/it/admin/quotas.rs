//! Limits of every sort, and what is left of them.

use serde_json::{Value, json};
use sluicegate::stores::records::UserRole;
use sluicegate_quota::{Amounts, Slice};

use super::harness::{Admin, error, nothing};
use crate::support::{MASTER_KEY, soon};

const QUOTAS: &str = "admin: { master_key: \"env:MASTER_KEY\" }\n\
    quotas:\n\
    - { scope: gateway, unit: requests, limit: 1000, window: 1m }\n\
    - { scope: team, id: blue, unit: usd, limit: \"2.5\", soft: 1, window: { calendar: month, time_zone: Europe/Berlin } }\n\
    - { scope: end_user, unit: tokens, limit: 10, window: lifetime }\n";

async fn start() -> Admin {
    Admin::with(QUOTAS, &[]).await
}

/// Uses a scope's limits as a request of the proxy would.
async fn slices(admin: &Admin, key: &str) -> Vec<std::sync::Arc<Slice>> {
    let gateway = &admin.services.gateway;
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
    let caller = admin.services.identity.identify(&headers, [127, 0, 0, 1].into()).await.unwrap();
    let runtime = gateway.current();
    let others = runtime.quotas.for_request(&caller, "gpt-4o", &["openai"], Some("eve"), &[]);
    gateway.quotas.of(&caller, "gpt-4o", &others)
}

fn of(view: &Value, unit: &str) -> Value {
    let quotas = view["quotas"].as_array().unwrap();
    quotas.iter().find(|quota| quota["unit"] == unit).unwrap_or_else(|| panic!("{view:#}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_used_held_and_refused_is_explained() {
    let admin = start().await;
    let limits = json!({
        "budget": "1", "soft_budget": "0.5", "budget_duration": "1mo", "parallel": 3,
        "budget_raise": {"by": "2", "until": "2100-01-01T00:00:00Z"},
    });
    let (id, key) = admin.key(json!({"limits": limits})).await;
    let path = format!("/admin/v1/quotas/key:{id}");
    let fresh = admin.get(&path).await;
    assert_eq!(fresh.status, 200, "{}", fresh.text());
    let money = of(&fresh.json(), "usd");
    assert_eq!(money["limit"], json!({"usd": "3", "nano_usd": 3_000_000_000_u64}));
    assert_eq!((&money["raise"]["in_force"], &money["source"]), (&json!(true), &json!("record")));
    assert_eq!((&money["window"], &money["settled"]["nano_usd"]), (&json!("month-UTC"), &json!(0)));
    assert!(money["window_end"].as_str().unwrap() > money["window_start"].as_str().unwrap());

    let slices = slices(&admin, &key).await;
    let engine = admin.services.gateway.quotas.engine();
    let amounts =
        |usd: u64| Amounts { requests: 1, tokens: 5, nano_usd: usd * 100_000_000, parallel: 1 };
    engine.hold(&slices, &amounts(7)).await.unwrap().settle(&amounts(6));
    let holds = engine.hold(&slices, &amounts(2)).await.unwrap();
    let refused = engine.hold(&slices, &amounts(31)).await.unwrap_err();
    assert_eq!(refused.amount, 3_100_000_000);
    soon("the store to be told", async {
        loop {
            let view = admin.get(&path).await.json();
            let money = of(&view, "usd");
            let told = (&money["settled"]["usd"], &money["held"]["usd"]);
            if told == (&json!("0.6"), &json!("0.2")) {
                assert_eq!(money["remaining"]["nano_usd"], 2_200_000_000_u64);
                assert_eq!(money["soft_exceeded"], true);
                assert_eq!(
                    (&money["refused"], &money["in_doubt"]["usd"]),
                    (&json!(1), &json!("0"))
                );
                let refusal = &money["refusals"][0];
                assert_eq!(refusal["reason"], "never_fits", "{refusal}");
                assert_eq!(refusal["amount"]["usd"], "3.1");
                let lease = &money["leases"][0];
                assert_eq!(lease["instance"], engine.instance().to_string());
                assert!(lease["expires_at"].as_str().unwrap() > money["at"].as_str().unwrap());
                assert_eq!(of(&view, "parallel")["held"], 1);
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(holds);
    let gateway = admin.get("/admin/v1/quotas/gateway").await.json();
    assert_eq!(of(&gateway, "requests")["source"], "config");
    let eve = admin.get("/admin/v1/quotas/end_user:eve").await.json();
    assert_eq!((&of(&eve, "tokens")["limit"], &eve["scope"]), (&json!(10), &json!("end_user:eve")));
}

#[tokio::test]
async fn limits_of_the_configuration_are_listed_in_parts() {
    let admin = start().await;
    let first = admin.get("/admin/v1/quotas?limit=2").await.json();
    assert_eq!((&first["total"], first["items"].as_array().unwrap().len()), (&json!(3), 2));
    assert_eq!(first["items"][1]["window"], "month-Europe/Berlin");
    assert_eq!(first["items"][1]["limit"]["usd"], "2.5");
    let cursor = first["cursor"].as_str().unwrap();
    let last = admin.get(&format!("/admin/v1/quotas?limit=2&cursor={cursor}")).await.json();
    assert_eq!(last["items"][0]["scope"], "end_user");
    assert!(last.get("cursor").is_none());
    assert_eq!(error(&admin.get("/admin/v1/quotas?cursor=x").await).2, "cursor");
}

#[tokio::test]
async fn everybody_sees_their_own_limits_and_nobody_elses() {
    let admin = start().await;
    for user in ["anna", "carl"] {
        admin.user(user, UserRole::InternalUser).await;
    }
    admin.team("blue", "anna").await;
    admin.team("red", "carl").await;
    let (target, holder) = admin.stored_key(None, Some("blue")).await;
    let (_, anna) = admin.stored_key(Some("anna"), None).await;
    let (_, carl) = admin.stored_key(Some("carl"), None).await;
    let key = format!("key:{}", target.id);
    for (scope, expected) in [
        // Of the key's holder, of the team's administrator, of another team's, of the master key.
        (key.as_str(), [200, 200, 404, 200]),
        ("key:00000000-0000-0000-0000-000000000000", [404; 4]),
        ("key:nonsense", [404; 4]),
        ("team:blue", [404, 200, 404, 200]),
        ("team:nobody", [404; 4]),
        ("user:anna", [404, 200, 404, 200]),
        ("organization:none", [404; 4]),
        ("gateway", [404, 404, 404, 200]),
        ("model:gpt-4o", [404, 404, 404, 200]),
        ("model:none", [404; 4]),
        ("provider:openai", [404, 404, 404, 200]),
        ("end_user:eve", [404, 404, 404, 200]),
        ("tag:none", [404; 4]),
        ("nothing", [422; 4]),
        ("team", [422; 4]),
    ] {
        let path = format!("/admin/v1/quotas/{scope}");
        let mut found = [0; 4];
        for (status, who) in found.iter_mut().zip([&holder, &anna, &carl, MASTER_KEY]) {
            *status = admin.as_(who, "GET", &path, &nothing()).await.status;
        }
        assert_eq!(found, expected, "{scope}");
    }
    // What is foreign looks as what does not exist.
    let foreign = admin.as_(&carl, "GET", "/admin/v1/quotas/team:blue", &nothing()).await;
    let absent = admin.as_(&carl, "GET", "/admin/v1/quotas/team:nobody", &nothing()).await;
    assert_eq!(foreign.json(), absent.json());
}

#[tokio::test]
async fn litellms_budgets_are_set_changed_and_given_back() {
    let admin = Admin::start().await;
    let fields = json!({
        "max_budget": 10,
        "model_max_budget": {"gpt-4o": {"budget_limit": 0.5, "time_period": "1d"}},
        "budget_limits": [{"budget_duration": "7d", "max_budget": 3}],
        "temp_budget_increase": 5, "temp_budget_expiry": "2100-01-01T00:00:00Z",
    });
    let with = |name: &str, id: &str| {
        let mut fields = fields.clone();
        fields[name] = json!(id);
        fields
    };
    let made = admin.post("/key/generate", fields.clone()).await.json();
    admin.post("/team/new", with("team_id", "t")).await;
    admin.post("/user/new", with("user_id", "u")).await;
    admin.post("/organization/new", with("organization_id", "o")).await;
    let token = made["token"].as_str().unwrap();
    let key = admin.get(&format!("/key/info?key={token}")).await.json()["info"].clone();
    let team = admin.get("/team/info?team_id=t").await.json()["team_info"].clone();
    let user = admin.get("/user/info?user_id=u").await.json()["user_info"].clone();
    let organization = admin.get("/organization/info?organization_id=o").await.json();
    for row in [made.clone(), key, team, user, organization["litellm_budget_table"].clone()] {
        assert_eq!(
            row["model_max_budget"],
            json!({"gpt-4o": {"budget_limit": 0.5, "time_period": "1d"}})
        );
        assert_eq!(row["budget_limits"], json!([{"budget_duration": "7d", "max_budget": 3.0}]));
        assert_eq!(row["temp_budget_increase"], 5.0);
        assert_eq!(row["temp_budget_expiry"], "2100-01-01T00:00:00.000000+00:00");
    }
    // Our own API has the same under its names.
    let list = admin.get("/admin/v1/teams").await.json();
    let limits = &list["items"][0]["limits"];
    assert_eq!(limits["model_budgets"]["gpt-4o"], json!({"limit": "0.5", "duration": "1d"}));
    assert_eq!(limits["budget_raise"], json!({"by": "5", "until": "2100-01-01T00:00:00Z"}));
    let change = json!({"key": token, "temp_budget_increase": null, "temp_budget_expiry": null});
    let changed = admin.post("/key/update", change).await.json();
    assert_eq!(
        (&changed["temp_budget_increase"], &changed["max_budget"]),
        (&json!(null), &json!(10.0))
    );
    for (body, field) in [
        (
            json!({"budget_limits": [{"max_budget": 1, "budget_duration": "x"}]}),
            "budget_limits[0].budget_duration",
        ),
        (
            json!({"model_max_budget": {"m": {"time_period": "1d"}}}),
            "model_max_budget.m.budget_limit",
        ),
        (json!({"temp_budget_expiry": "soon"}), "temp_budget_expiry"),
    ] {
        let refused = admin.post("/key/generate", body).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (422, &json!(field)));
    }
    for (limits, field) in [
        (
            json!({"windows": [{"unit": "tokens", "limit": 1, "window": "often"}]}),
            "limits.windows[0].window",
        ),
        (json!({"budget_time_zone": "Mars"}), "limits.budget_time_zone"),
        (json!({"on_store_loss": "panic"}), "limits.on_store_loss"),
    ] {
        let refused = admin.post("/admin/v1/keys", json!({"limits": limits})).await;
        assert_eq!(error(&refused).2, field, "{}", refused.text());
    }
}
