//! Any text as a LiteLLM configuration: it is refused with a reason, or what becomes of it loads, and every
//! entry of the report says where something stood and what is to be done.
//!
//! Input: the text, and behind a NUL that of a file which it may include.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::config::{Env, load_str};
use sluicegate::migrate::{Holds, Outcome, Report, litellm};

fuzz_target!(|text: &str| {
    let (text, included) = text.split_once('\0').unwrap_or((text, ""));
    let mut read = |_: &str| {
        if included.is_empty() { Err("there is none".to_owned()) } else { Ok(included.to_owned()) }
    };
    match litellm("config.yaml", text, &mut read) {
        Ok(migrated) => {
            let (config, report) = (&migrated.config, &migrated.report);
            // A file with a key is not at hand.
            if !config.contains("dialect: vertex")
                && let Err(problems) = load_str("out.yaml", config, &environment(report))
            {
                panic!("it does not load: {problems}\n{config}");
            }
            for entry in &report.entries {
                assert!(entry.outcome != Outcome::NoEqual || entry.action.is_some(), "{entry:?}");
            }
            let shown = report.to_string();
            assert!(!shown.contains('\u{1b}'), "{shown:?}");
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            for problem in problems.0 {
                assert!(problem.line > 0 || problem.hint.is_some() || !problem.message.is_empty());
            }
        }
    }
});

/// An environment in which each variable holds what it has to.
fn environment(report: &Report) -> Env {
    Env::from_iter(report.variables.iter().enumerate().map(|(index, variable)| {
        let value = match variable.holds {
            Holds::Secret => format!("a-secret-{index}"),
            Holds::MasterKey => format!("sk-{}", "0123456789abcdef".repeat(4)),
            Holds::Pepper => "fedcba9876543210".repeat(4),
            Holds::Text => format!("text-{index}"),
            Holds::BaseUrl => format!("https://host-{index}.example.com"),
            Holds::PostgresUrl => "postgres://user:password@db.example.com/gateway".to_owned(),
            Holds::RedisUrl => "rediss://user:password@redis.example.com:6379/0".to_owned(),
            Holds::KeysUrl => "https://login.example.com/keys".to_owned(),
        };
        (variable.name.clone(), value)
    }))
}
