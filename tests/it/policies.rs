//! `sluicegate policy`: exit codes and what a person reads.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.arg("policy").args(args).env_clear().output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn check_says_every_mistake_with_its_place() {
    let good = run(&["check", shipped().to_str().unwrap()]);
    assert_eq!((good.status.code(), text(&good.stderr)), (Some(0), String::new()));
    assert!(text(&good.stdout).contains("ok, 12 policies, version "));

    let bad = directory(&[
        ("a.cedar", "permit(principal, action, resource)\nwhen { principal.age > 3 };"),
        ("b.cedar", "// fine\n\nforbid(principal, action resource);"),
    ]);
    let path = bad.path().to_str().unwrap();
    let output = run(&["check", path]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(64), String::new()));
    let told = text(&output.stderr);
    for expected in [format!("{path}/a.cedar:2:8: "), format!("{path}/b.cedar:3:26: ")] {
        assert!(told.contains(&expected), "{expected} is not in\n{told}");
    }
    let output = run(&["check", "--json", path]);
    assert_eq!(output.status.code(), Some(64));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["problems"].as_array().unwrap().len(), 2, "{report:#}");
    assert_eq!(report["problems"][1]["line"], 3);
    assert_eq!(run(&["check", "/nowhere/policies"]).status.code(), Some(64));
}

#[test]
fn what_is_valid_and_never_applies_is_warned_of() {
    let odd = directory(&[("a.cedar", "permit(principal, action, resource) when { false };")]);
    let output = run(&["check", odd.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("warning: "), "{}", text(&output.stderr));
}

#[test]
fn explain_says_what_is_decided_and_by_what() {
    let shipped = shipped();
    let shipped = shipped.to_str().unwrap();
    let ask = |more: &[&str]| {
        let who = ["explain", shipped, "--principal", "User::\"carol\"", "--role", "member"];
        let what = ["--action", "chat_completions", "--resource", "Model::\"gpt-4o\""];
        run(&[&who[..], &what[..], more].concat())
    };
    let allowed = ask(&["--provider", "openai"]);
    assert_eq!(allowed.status.code(), Some(0));
    let told = text(&allowed.stdout);
    assert!(told.starts_with("decision   allow\nprincipal  User::\"carol\"\n"), "{told}");
    assert!(told.contains("members-use-models (") && told.contains("models.cedar:"), "{told}");

    let sunday = ["--role", "trial", "--context", "time=2026-01-04T12:00:00Z", "--json"];
    let denied: serde_json::Value = serde_json::from_slice(&ask(&sunday).stdout).unwrap();
    assert_eq!((&denied["outcome"], &denied["depends_on_request"]), (&"deny".into(), &true.into()));
    assert_eq!(denied["decision"]["policies"][0]["id"], "trials-by-day");

    let claims = ["--claim", "department=law", "--claim", "department=research"];
    let by = text(&ask(&claims).stdout);
    assert!(by.contains("research-uses-models") && by.contains("members-use-models"), "{by}");

    for wrong in [
        &["--context", "colour=red"][..],
        &["--context", "ip=localhost"],
        &["--context", "time"],
        &["--claim", "=x"],
        &["--key", "not-a-uuid"],
        &["--arguments", "{"],
    ] {
        assert_eq!(ask(wrong).status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn test_fails_where_an_expectation_does() {
    let shipped = shipped();
    let tests = shipped.join("tests.yaml");
    let (shipped, tests) = (shipped.to_str().unwrap(), tests.to_str().unwrap());
    let output = run(&["test", shipped, tests]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).ends_with("25 of 25 as expected\n"));

    let other = directory(&[("a.cedar", "permit(principal, action, resource);")]);
    let output = run(&["test", other.path().to_str().unwrap(), tests]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(told.contains(&format!("{tests}:")), "{told}");
    assert!(told.contains("allow, by `a.cedar:1`; expected deny"), "{told}");
    let output = run(&["test", "--json", other.path().to_str().unwrap(), tests]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["total"], 25);
    assert!(report["failures"][0]["line"].is_u64());

    assert_eq!(run(&["test", shipped, "/nowhere.yaml"]).status.code(), Some(64));
    let nonsense = directory(&[("tests.yaml", "cases: 3")]);
    let file = nonsense.path().join("tests.yaml");
    assert_eq!(run(&["test", shipped, file.to_str().unwrap()]).status.code(), Some(64));
}
