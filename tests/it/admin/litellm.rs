//! LiteLLM's clients and scripts, with LiteLLM's fields only.

use serde_json::{Value, json};

use super::harness::{Admin, LOCKED, bearer, message, nothing};
use crate::support::{MASTER_KEY, Response};

fn ok(answer: Response) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_key_goes_through_its_life() {
    let admin = Admin::start().await;
    let fields = json!({
        "key_alias": "ci", "duration": "30d", "models": ["gpt-4o"], "max_budget": 0.1,
        "soft_budget": 0.05, "budget_duration": "30d", "max_parallel_requests": 3, "tpm_limit": 1000,
        "rpm_limit": 10, "model_rpm_limit": {"gpt-4o": 5}, "model_tpm_limit": {"gpt-4o": 500},
        "metadata": {"owner": "infra"}, "tags": ["prod"], "user_id": "new-user",
    });
    let made = ok(admin.post("/key/generate", fields).await);
    let key = made["key"].as_str().unwrap().to_owned();
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(key.starts_with("sk-") && token.len() == 64 && made["token_id"] == made["token"]);
    let expires = made["expires"].as_str().unwrap();
    assert!(expires.ends_with("+00:00"), "older Pythons can't read Z: {expires}");
    for (field, value) in [
        ("key_alias", json!("ci")),
        ("models", json!(["gpt-4o"])),
        ("max_budget", json!(0.1)),
        ("soft_budget", json!(0.05)),
        ("budget_duration", json!("30d")),
        ("max_parallel_requests", json!(3)),
        ("tpm_limit", json!(1000)),
        ("rpm_limit", json!(10)),
        ("model_rpm_limit", json!({"gpt-4o": 5})),
        ("tags", json!(["prod"])),
        ("user_id", json!("new-user")),
        ("team_id", json!(null)),
        ("blocked", json!(false)),
        ("spend", json!(0.0)),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    assert!(made["key_name"].as_str().unwrap().starts_with("sk-..."));
    // The user, whom nobody had made, is there now, as LiteLLM has it.
    assert_eq!(ok(admin.get("/user/info?user_id=new-user").await)["keys"][0]["token"], token);

    for named in [&key, &token] {
        let info = ok(admin.get(&format!("/key/info?key={named}")).await);
        assert_eq!(info["key"], token, "never the text");
        assert_eq!(info["info"]["key_alias"], "ci");
        assert_eq!(info["info"]["metadata"]["tags"], json!(["prod"]));
        assert!(info["info"].get("token").is_none());
    }
    let own = ok(admin.as_(&key, "GET", "/key/info", &nothing()).await);
    assert_eq!(own["key"], token, "a key's holder may ask for it without naming it");

    let list = ok(admin.get("/key/list").await);
    assert_eq!(
        list,
        json!({"keys": [token], "total_count": 1, "current_page": 1, "total_pages": 1})
    );
    let list = ok(admin.get("/key/list?return_full_object=true&user_id=new-user").await);
    assert_eq!(list["keys"][0]["key_alias"], "ci");
    assert_eq!(ok(admin.get("/key/list?team_id=x").await)["total_count"], 0);

    let update = json!({"key": key, "rpm_limit": 20, "max_budget": null, "duration": "-1"});
    let updated = ok(admin.post("/key/update", update).await);
    assert_eq!((&updated["rpm_limit"], &updated["max_budget"]), (&json!(20), &json!(null)));
    assert_eq!((&updated["expires"], &updated["tpm_limit"]), (&json!(null), &json!(1000)));

    assert_eq!(ok(admin.post("/key/block", json!({"key": token})).await)["blocked"], true);
    assert_eq!(admin.as_(&key, "GET", "/key/info", &nothing()).await.status, 403);
    assert_eq!(ok(admin.post("/key/unblock", json!({"key": key})).await)["blocked"], false);

    let regenerate = json!({"grace_period": "1h", "tpm_limit": 7});
    let path = format!("/key/{token}/regenerate");
    let regenerated = ok(admin.post(&path, regenerate).await);
    let second = regenerated["key"].as_str().unwrap().to_owned();
    assert!(second != key && regenerated["token"] != json!(token));
    assert_eq!((&regenerated["tpm_limit"], &regenerated["key_alias"]), (&json!(7), &json!("ci")));
    assert_eq!(admin.as_(&key, "GET", "/key/info", &nothing()).await.status, 200, "in its grace");
    let third = ok(admin.post("/key/regenerate", json!({"key": second})).await);
    admin.own_key_until(&second, 401).await;

    let named = third["token"].as_str().unwrap();
    let deleted = ok(admin.post("/key/delete", json!({"keys": [named]})).await);
    assert_eq!(deleted, json!({"deleted_keys": [named]}));
    let (status, _) = message(&admin.get(&format!("/key/info?key={named}")).await);
    assert_eq!(status, 404);
}

#[tokio::test]
async fn teams_and_their_members_go_through_theirs() {
    let admin = Admin::start().await;
    let fields = json!({
        "team_alias": "Red", "models": ["gpt-4o"], "max_budget": 100, "rpm_limit": "50",
        "budget_duration": "monthly", "metadata": {"model_rpm_limit": {"gpt-4o": 2}, "x": 1},
        "members_with_roles": [{"role": "admin", "user_id": "anna"}],
    });
    let team = ok(admin.post("/team/new", fields).await);
    let id = team["team_id"].as_str().unwrap().to_owned();
    assert_eq!((&team["max_budget"], &team["rpm_limit"]), (&json!(100.0), &json!(50)));
    assert_eq!((&team["budget_duration"], &team["admins"]), (&json!("1mo"), &json!(["anna"])));
    assert_eq!(team["metadata"], json!({"x": 1, "model_rpm_limit": {"gpt-4o": 2}}));

    let key = ok(admin.post("/key/generate", json!({"team_id": id})).await);
    let info = ok(admin.get(&format!("/team/info?team_id={id}")).await);
    assert_eq!((&info["team_id"], &info["team_info"]["team_alias"]), (&json!(id), &json!("Red")));
    assert_eq!(info["keys"][0]["token"], key["token"]);
    let list = ok(admin.get("/team/list").await);
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["team_id"], id);
    assert_eq!(ok(admin.get("/team/list?user_id=ben").await), json!([]));

    let add = json!({"team_id": id, "member": [
        {"role": "user", "user_id": "ben"}, {"role": "user", "user_email": "carl@example.com"},
    ]});
    let added = ok(admin.post("/team/member_add", add).await);
    assert_eq!(added["members_with_roles"].as_array().unwrap().len(), 3);
    assert!(added["updated_users"].is_array() && added["updated_team_memberships"].is_array());
    let carl = &ok(admin.get("/user/list?user_email=carl@example.com").await)["users"][0];
    assert!(added["members"].as_array().unwrap().contains(&carl["user_id"]));
    let single = json!({"team_id": id, "member": {"role": "admin", "user_id": "ben"}});
    assert_eq!(ok(admin.post("/team/member_add", single).await)["admins"], json!(["anna", "ben"]));
    let remove = json!({"team_id": id, "user_id": "anna"});
    assert_eq!(
        ok(admin.post("/team/member_delete", remove.clone()).await)["admins"],
        json!(["ben"])
    );
    assert_eq!(admin.post("/team/member_delete", remove).await.status, 404);
    let nobody = json!({"team_id": id, "user_email": "nobody@example.com"});
    assert_eq!(admin.post("/team/member_delete", nobody).await.status, 404);
    assert_eq!(ok(admin.get("/user/list").await)["total"], 1, "nobody is made by being taken away");

    let update = json!({"team_id": id, "tpm_limit": 9, "blocked": true});
    let updated = ok(admin.post("/team/update", update).await);
    assert_eq!((&updated["team_id"], &updated["data"]["tpm_limit"]), (&json!(id), &json!(9)));
    assert_eq!(updated["data"]["rpm_limit"], 50);
    assert_eq!(ok(admin.post("/team/unblock", json!({"team_id": id})).await)["blocked"], false);
    assert_eq!(ok(admin.post("/team/block", json!({"team_id": id})).await)["blocked"], true);
    let deleted = ok(admin.post("/team/delete", json!({"team_ids": [id]})).await);
    assert_eq!(deleted, json!({"deleted_teams": [id]}));
    assert_eq!(admin.get(&format!("/team/info?team_id={id}")).await.status, 404);
}

#[tokio::test]
async fn users_organizations_and_models_are_there_too() {
    let admin = Admin::start().await;
    let team = ok(admin.post("/team/new", json!({"team_id": "red"})).await);
    assert_eq!(team["team_id"], "red");
    let fields = json!({
        "user_id": "anna", "user_email": "anna@example.com", "user_role": "internal_user",
        "max_budget": 1e-05, "teams": ["red"],
    });
    let user = ok(admin.post("/user/new", fields.clone()).await);
    assert_eq!((&user["user_id"], &user["max_budget"]), (&json!("anna"), &json!(1e-05)));
    assert!(user["key"].as_str().unwrap().starts_with("sk-"), "a key comes with the user");
    assert_eq!(admin.post("/user/new", fields).await.status, 400, "there is one already");
    let none = json!({"user_id": "ben", "auto_create_key": false});
    assert!(ok(admin.post("/user/new", none).await).get("key").is_none());

    let info = ok(admin.get("/user/info?user_id=anna").await);
    assert_eq!(info["user_info"]["user_email"], "anna@example.com");
    assert_eq!(info["teams"][0]["team_id"], "red");
    assert_eq!(info["keys"].as_array().unwrap().len(), 1);
    let key = user["key"].as_str().unwrap();
    let own = ok(admin.as_(key, "GET", "/user/info", &nothing()).await);
    assert_eq!(own["user_id"], "anna");
    let list = ok(admin.get("/user/list?page_size=1").await);
    let counts = ["total", "page", "page_size", "total_pages"].map(|name| list[name].clone());
    assert_eq!(counts, [json!(2), json!(1), json!(1), json!(2)]);
    let update = json!({"user_email": "anna@example.com", "user_role": "proxy_admin_viewer"});
    let updated = ok(admin.post("/user/update", update).await);
    assert_eq!(updated["data"]["user_role"], "proxy_admin_viewer");
    assert_eq!(
        ok(admin.post("/user/delete", json!({"user_ids": ["anna", "ben"]})).await),
        json!(2)
    );

    let fields = json!({"organization_alias": "Acme", "max_budget": 5, "models": ["o3"]});
    let acme = ok(admin.post("/organization/new", fields).await);
    assert_eq!(acme["litellm_budget_table"]["max_budget"], 5.0);
    let id = acme["organization_id"].as_str().unwrap();
    let info = ok(admin.get(&format!("/organization/info?organization_id={id}")).await);
    assert_eq!(info["organization_alias"], "Acme");
    assert_eq!(ok(admin.get("/organization/list").await).as_array().unwrap().len(), 1);

    for path in ["/model/info", "/v1/model/info"] {
        let models = ok(admin.get(path).await);
        assert_eq!(models["data"][0]["model_name"], "gpt-4o");
        assert_eq!(models["data"][0]["litellm_params"]["model"], "openai/gpt-4o-2024");
        assert!(!models.to_string().contains("sk-provider-secret"));
        let info = &models["data"][0]["model_info"];
        assert_eq!((&info["id"], &info["db_model"]), (&json!("gpt-4o-0"), &json!(false)));
        assert!(info["price_version"].is_null() || info["input_cost_per_token"].is_number());
    }
    let narrow = ok(admin.post("/key/generate", json!({"models": ["o3"]})).await);
    let key = narrow["key"].as_str().unwrap();
    let models = ok(admin.as_(key, "GET", "/model/info", &nothing()).await);
    assert_eq!(models["data"].as_array().unwrap().len(), 1);
    assert_eq!(models["data"][0]["litellm_params"]["model"], "o3", "not where it is served");
}

#[tokio::test]
async fn what_means_nothing_here_is_ignored_and_named() {
    let admin = Admin::start().await;
    let fields = json!({
        "key_alias": "a", "guardrails": ["x"], "send_invite_email": true, "auto_rotate": false,
        "aliases": {"gpt-4": "gpt-4o"}, "permissions": {}, "config": {}, "weird\r\nname": 1,
    });
    let made = admin.post("/key/generate", fields).await;
    let ignored = made.header("x-sluicegate-ignored-fields").unwrap();
    assert_eq!(ignored, "guardrails, send_invite_email, auto_rotate, aliases");
    let made = ok(made);
    assert_eq!(made["aliases"], json!({"gpt-4": "gpt-4o"}), "kept, though it means nothing");
    let listed = admin.get("/key/list?sort_by=spend&include_team_keys=true").await;
    let ignored = listed.header("x-sluicegate-ignored-fields").unwrap();
    assert_eq!(ignored, "sort_by, include_team_keys");
    let plain = admin.post("/key/generate", json!({})).await;
    assert_eq!(plain.header("x-sluicegate-ignored-fields"), None);
}

#[tokio::test]
async fn errors_have_litellms_shape_and_name_its_fields() {
    let admin = Admin::start().await;
    admin.post("/key/generate", json!({"key_alias": "taken"})).await;
    for (path, body, status, kind, param) in [
        ("/key/generate", json!({"rpm_limit": -1}), 422, "validation_error", "rpm_limit"),
        ("/key/generate", json!({"max_budget": "x"}), 422, "validation_error", "max_budget"),
        ("/key/generate", json!({"duration": "soon"}), 422, "validation_error", "duration"),
        ("/key/generate", json!({"team_id": "x"}), 422, "validation_error", "team_id"),
        ("/key/generate", json!({"key": "sk-1"}), 422, "validation_error", "key"),
        ("/key/generate", json!({"key_type": "x"}), 422, "validation_error", "key_type"),
        ("/key/generate", json!({"key_alias": "taken"}), 400, "bad_request_error", "key_alias"),
        ("/key/update", json!({"rpm_limit": 1}), 422, "validation_error", "key"),
        ("/key/update", json!({"key": "sk-nobody-0123456789"}), 404, "not_found_error", ""),
        ("/key/delete", json!({}), 422, "validation_error", "keys"),
        ("/team/update", json!({"team_id": "x"}), 404, "not_found_error", ""),
        ("/user/new", json!({"user_role": "boss"}), 422, "validation_error", "user_role"),
        (
            "/team/new",
            json!({"soft_budget": 2, "max_budget": 1}),
            422,
            "validation_error",
            "soft_budget",
        ),
    ] {
        let answer = admin.post(path, body.clone()).await;
        let error = answer.json()["error"].clone();
        assert_eq!(answer.status, status, "{path} {body}: {error}");
        assert_eq!(error["code"], status.to_string(), "{path} {body}");
        assert_eq!(error["type"], kind, "{path} {body}");
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{path} {body}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let nobody = admin.send("POST", "/key/generate", &[], Some("{}")).await;
    assert_eq!((nobody.status, &nobody.json()["error"]["type"]), (401, &json!("auth_error")));
}

#[tokio::test]
async fn kinds_of_keys_and_chosen_texts_work() {
    let admin = Admin::start().await;
    for (kind, routes) in [
        ("default", json!([])),
        ("llm_api", json!(["llm_api_routes"])),
        ("management", json!(["management_routes"])),
        ("read_only", json!(["info_routes"])),
    ] {
        let made = ok(admin.post("/key/generate", json!({"key_type": kind})).await);
        assert_eq!(made["allowed_routes"], routes);
    }
    let text = "sk-my-own-0123456789abcdef";
    let made = ok(admin.post("/key/generate", json!({"key": text})).await);
    assert_eq!(made["key"], text);
    assert_eq!(admin.as_(text, "GET", "/key/info", &nothing()).await.status, 200);
    assert_eq!(admin.post("/key/generate", json!({"key": text})).await.status, 400);
}

#[tokio::test]
async fn one_wrong_key_of_several_costs_none_of_the_others() {
    let admin = Admin::start().await;
    let first = ok(admin.post("/key/generate", json!({"key_alias": "one"})).await);
    let keys = json!({"keys": [first["token"], "0".repeat(64)]});
    assert_eq!(admin.post("/key/delete", keys).await.status, 404);
    assert_eq!(ok(admin.get("/key/list").await)["total_count"], 1);
    let by_alias = json!({"key_aliases": ["one"]});
    assert_eq!(ok(admin.post("/key/delete", by_alias).await), json!({"deleted_keys": ["one"]}));
}

#[tokio::test]
async fn a_teams_administrator_looks_up_nobodys_address() {
    let admin = Admin::with(LOCKED, &[("anna", bearer(Some("anna"), None, &[]))]).await;
    admin.team("red", "anna").await;
    for member in
        [json!({"user_email": "x@example.com"}), json!({"user_email": "a", "role": "user"})]
    {
        let body = json!({"team_id": "red", "member": member});
        let answer = admin.as_("anna", "POST", "/team/member_add", &body).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    let body = json!({"team_id": "red", "member": {"user_id": "ben", "role": "user"}});
    assert_eq!(admin.as_("anna", "POST", "/team/member_add", &body).await.status, 200);
}

/// Money that LiteLLM's clients send as numbers stays what it is.
#[tokio::test]
async fn budgets_keep_their_digits() {
    let admin = Admin::start().await;
    let header = format!("Authorization: Bearer {MASTER_KEY}");
    for (sent, kept, shown) in [
        ("0.1", "0.1", "0.1"),
        ("0.30000000000000004", "0.3", "0.3"),
        ("1e-05", "0.00001", "0.00001"),
        ("123456.789", "123456.789", "123456.789"),
        ("10", "10", "10.0"),
        ("\"2.5\"", "2.5", "2.5"),
    ] {
        let body = format!("{{\"max_budget\": {sent}}}");
        let made = admin.send("POST", "/key/generate", &[&header], Some(&body)).await;
        let made = ok(made);
        let token = made["token"].as_str().unwrap();
        let shown: f64 = shown.parse().unwrap();
        assert_eq!(made["max_budget"], json!(shown), "{sent}");
        let list = admin.get("/admin/v1/keys?limit=1").await.json();
        assert_eq!(list["items"][0]["limits"]["budget"], kept, "{sent}");
        admin.post("/key/delete", json!({"keys": [token]})).await;
    }
}
