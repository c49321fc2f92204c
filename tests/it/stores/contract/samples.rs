//! Records to store.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sluicegate::stores::Page;
use sluicegate::stores::records::{
    Budget, BudgetRaise, Key, KeyHash, LimitUnit, Limits, Member, MemberRole, Organization, Team,
    User, UserRole, WindowLimit,
};
use sluicegate_filters::admit::{OnLostLease, OnOverrun, OnStoreLoss};
use uuid::Uuid;

pub const ALL: Page = Page::at(0, 1000);

/// A hash that differs from others with another number.
pub fn hash(number: u64) -> KeyHash {
    let mut hash = [0x5a; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    KeyHash(hash)
}

/// A key that refers to nothing. Keys with a higher number are newer.
pub fn key(number: u64) -> Key {
    Key {
        id: Uuid::from_u128(u128::from(number)),
        hash: hash(number),
        previous: None,
        hint: format!("sk-sg-...{number:04}"),
        alias: None,
        user: None,
        team: None,
        organization: None,
        models: vec!["gpt-4o".to_owned()],
        routes: vec!["/v1/chat/completions".to_owned()],
        expires_at: Some(1_900_000_000_000),
        blocked: false,
        tags: vec!["production".to_owned()],
        metadata: metadata(),
        limits: limits(),
        created_at: 1_700_000_000_000 + i64::try_from(number).unwrap(),
        updated_at: 1_700_000_000_001,
        created_by: "master".to_owned(),
        version: 1,
    }
}

pub fn team(id: &str) -> Team {
    Team {
        id: id.to_owned(),
        alias: Some(format!("the {id}")),
        organization: None,
        members: Vec::new(),
        models: Vec::new(),
        blocked: false,
        tags: Vec::new(),
        metadata: metadata(),
        limits: limits(),
        created_at: 1_700_000_000_000,
        updated_at: 1_700_000_000_001,
        version: 1,
    }
}

pub fn user(id: &str) -> User {
    User {
        id: id.to_owned(),
        email: Some(format!("{id}@example.com")),
        alias: None,
        role: UserRole::InternalUser,
        organization: None,
        models: vec!["claude".to_owned(), "gpt-4o".to_owned()],
        blocked: true,
        tags: Vec::new(),
        metadata: Map::new(),
        limits: Limits::default(),
        created_at: 1_700_000_000_000,
        updated_at: 1_700_000_000_001,
        version: 1,
    }
}

pub fn organization(id: &str) -> Organization {
    Organization {
        id: id.to_owned(),
        alias: None,
        models: Vec::new(),
        blocked: false,
        tags: vec!["a".to_owned(), "a".to_owned(), "b".to_owned()],
        metadata: metadata(),
        limits: limits(),
        created_at: 1_700_000_000_000,
        updated_at: 1_700_000_000_001,
        version: 1,
    }
}

pub fn member(user: &str, role: MemberRole) -> Member {
    Member { user: user.to_owned(), role }
}

pub fn metadata() -> Map<String, Value> {
    let Value::Object(map) = json!({
        "nested": {"list": [1, -2, 2.5, true, null, "text"], "empty": {}},
        "large": u64::MAX,
    }) else {
        unreachable!()
    };
    map
}

pub fn limits() -> Limits {
    Limits {
        rpm: Some(60),
        tpm: Some(u64::MAX),
        parallel: None,
        budget: Some(10_000_000_000),
        soft_budget: Some(0),
        budget_duration: Some("30d".to_owned()),
        model_rpm: BTreeMap::from([("gpt-4o".to_owned(), 10)]),
        model_tpm: BTreeMap::new(),
        budget_time_zone: Some("Europe/Berlin".to_owned()),
        budgets: vec![Budget { limit: 7, duration: Some("1d".to_owned()) }],
        model_budgets: BTreeMap::from([("gpt-4o".to_owned(), Budget { limit: 8, duration: None })]),
        budget_raise: Some(BudgetRaise { by: Some(9), until: Some(4_102_444_800_000) }),
        windows: vec![WindowLimit {
            unit: LimitUnit::Tokens,
            limit: 10,
            window: "day".to_owned(),
            soft: Some(9),
        }],
        on_store_loss: Some(OnStoreLoss::Closed),
        on_lost_lease: Some(OnLostLease::Release),
        on_overrun: Some(OnOverrun::Cut),
    }
}
