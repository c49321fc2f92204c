//! `quotas`.

use sluicegate_filters::admit::{OnLostLease, OnOverrun, OnStoreLoss, ScopeKind, Unit};

use super::*;

const HEAD: &str = "auth: { anonymous: true }\nproviders: { ollama: }\nmodels:\n  m:\n    targets: [{ provider: ollama }]\n";

fn text(quotas: &str) -> String {
    format!("{HEAD}quotas:\n{quotas}")
}

#[test]
fn quotas_are_read_to_the_last_digit_and_dumped_as_they_were() {
    let first = loaded(&text(
        "- { scope: gateway, unit: requests, limit: 100, window: 1m, soft: 80 }
- { scope: end_user, unit: usd, limit: 0.000000001, window: { calendar: month, time_zone: Europe/Berlin } }
- { scope: end_user, id: eve, unit: usd, limit: \"12.5\", window: lifetime, on_store_loss: closed, on_lost_lease: release, on_overrun: cut }
- { scope: model, id: m, unit: parallel, limit: 4 }
- { scope: provider, id: ollama, model: m, unit: tokens, limit: 5, window: day }
",
    ));
    let quotas = &first.config.quotas;
    let windows: Vec<_> = quotas.iter().map(|quota| quota.window.to_string()).collect();
    let expected = ["rolling-60000ms", "month-Europe/Berlin", "lifetime", "lifetime", "day-UTC"];
    assert_eq!(windows, expected);
    let limits: Vec<_> = quotas.iter().map(|quota| quota.limit).collect();
    assert_eq!(limits, [100, 1, 12_500_000_000, 4, 5]);
    assert_eq!((quotas[0].soft, quotas[0].unit), (Some(80), Unit::Requests));
    assert_eq!((quotas[1].scope, &quotas[1].id), (ScopeKind::EndUser, &None));
    let said = (quotas[2].on_store_loss, quotas[2].on_lost_lease, quotas[2].on_overrun);
    assert_eq!(said, (OnStoreLoss::Closed, OnLostLease::Release, OnOverrun::Cut));
    let again = loaded(&dump(&first.config));
    assert_eq!((&again.config.quotas, &again.hash), (quotas, &first.hash));
    assert_eq!(diff(&first.config, &loaded(HEAD).config)[0].path, "quotas");
}

#[test]
fn a_quota_without_an_id_is_for_each_one() {
    for scope in ["model", "provider", "tag", "end_user", "team", "user", "organization", "key"] {
        let quota = format!("- {{ scope: {scope}, unit: tokens, limit: 1, window: 1m }}\n");
        let quotas = loaded(&text(&quota)).config.quotas;
        assert_eq!((quotas[0].scope.name(), &quotas[0].id), (scope, &None));
    }
}

#[test]
fn quotas_that_are_none() {
    for (quota, expected) in [
        ("{ unit: tokens, limit: 1, window: 1m }", "quotas[0]: `scope` is missing"),
        (
            "{ scope: teams, unit: tokens, limit: 1, window: 1m }",
            "quotas[0].scope: unknown value `teams`; did you mean `team`?",
        ),
        ("{ scope: gateway, id: x, unit: tokens, limit: 1, window: 1m }", "it has no id"),
        ("{ scope: gateway, unit: tokens, window: 1m }", "quotas[0]: `limit` is missing"),
        ("{ scope: gateway, unit: tokens, limit: 1 }", "quotas[0]: `window` is missing"),
        (
            "{ scope: gateway, unit: tokens, limit: 1.5, window: 1m }",
            "quotas[0].limit: limit `1.5` has more than 0 decimals; write a whole number",
        ),
        (
            "{ scope: gateway, unit: usd, limit: 0.0000000001, window: 1m }",
            "quotas[0].limit: limit `0.0000000001` has more than 9 decimals",
        ),
        ("{ scope: gateway, unit: usd, limit: -1, window: 1m }", "is not a decimal number"),
        (
            "{ scope: gateway, unit: tokens, limit: 1, soft: 2, window: 1m }",
            "quotas[0].soft: is over `limit`; it would never warn",
        ),
        (
            "{ scope: gateway, unit: tokens, limit: 1, window: often }",
            "quotas[0].window: `often` is not a window",
        ),
        (
            "{ scope: gateway, unit: tokens, limit: 1, window: { calendar: day, time_zone: Mars } }",
            "quotas[0].window.time_zone: `Mars` is not a time zone",
        ),
        (
            "{ scope: gateway, unit: parallel, limit: 1, window: 1m }",
            "quotas[0].window: what runs at once has no window; leave `window` out",
        ),
        (
            "{ scope: model, id: n, unit: tokens, limit: 1, window: 1m }",
            "quotas[0].id: no model is called `n`",
        ),
        (
            "{ scope: provider, id: olama, unit: tokens, limit: 1, window: 1m }",
            "did you mean `ollama`?",
        ),
        (
            "{ scope: key, id: sk-something, unit: tokens, limit: 1, window: 1m }",
            "write the id that the admin API gives",
        ),
        (
            "{ scope: model, model: m, unit: tokens, limit: 1, window: 1m }",
            "quotas[0].model: the scope is a model already",
        ),
        (
            "{ scope: gateway, unit: tokens, limit: 1, window: 1m, max: 1 }",
            "quotas[0].max: unknown key; it is called `limit` here",
        ),
    ] {
        let problems = problems(&text(&format!("- {quota}\n")));
        assert!(problems.len() == 1 && problems[0].contains(expected), "{expected}\n{problems:#?}");
    }
    let twice = "- { scope: tag, unit: tokens, limit: 1, window: 1m }\n".repeat(2);
    let problems = problems(&text(&twice));
    assert!(problems[0].contains("quotas[1]: a second limit on the same counter"), "{problems:?}");
}
