//! `sluicegate policy`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use sluicegate_filters::authorize::Explanation;
use uuid::Uuid;

use super::{USAGE, complain};
use crate::policies::scenario::{Circumstances, Scenario, Value};
use crate::policies::{self, Loaded, expectations};

/// What to do with policies.
#[derive(Subcommand)]
pub enum Policy {
    /// Validate a directory of policies: every error as file:line:column.
    Check(Check),
    /// Say what policies decide on a request that nobody sent, and why.
    Explain(Box<Explain>),
    /// Compare what policies decide with a file of what they should.
    Test(Test),
}

/// Options of `policy check`.
#[derive(Args)]
pub struct Check {
    /// The directory of `*.cedar` files.
    directory: PathBuf,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// Options of `policy explain`.
#[derive(Args)]
pub struct Explain {
    /// The directory of `*.cedar` files.
    directory: PathBuf,
    /// Who asks: `User::"alice"`, `Key::"<uuid>"`, `User::"anonymous"` or `User::"master"`.
    #[arg(long)]
    principal: String,
    /// The id of the virtual key by which a user calls.
    #[arg(long)]
    key: Option<Uuid>,
    #[arg(long)]
    team: Option<String>,
    #[arg(long)]
    organization: Option<String>,
    /// May be repeated.
    #[arg(long = "role")]
    roles: Vec<String>,
    /// May be repeated.
    #[arg(long = "tag")]
    tags: Vec<String>,
    /// `name=value`. May be repeated; a name that is repeated has all its values.
    #[arg(long = "claim", value_parser = pair)]
    claims: Vec<(String, String)>,
    /// Such as `chat_completions`.
    #[arg(long)]
    action: String,
    /// Such as `Model::"gpt-4o"`.
    #[arg(long)]
    resource: String,
    /// A provider of the model. May be repeated.
    #[arg(long = "provider")]
    providers: Vec<String>,
    /// The dialect of the provider before it, or of all. May be repeated.
    #[arg(long = "dialect")]
    dialects: Vec<String>,
    /// The server of the tool.
    #[arg(long)]
    server: Option<String>,
    /// The arguments of a call to a tool: a JSON object.
    #[arg(long, value_parser = arguments)]
    arguments: Option<serde_json::Value>,
    /// `name=value`, with a name of `environment`, `ip`, `time`, `stream`, `estimated_tokens` and
    /// `estimated_cost`. May be repeated.
    #[arg(long = "context", value_parser = pair)]
    context: Vec<(String, String)>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// Options of `policy test`.
#[derive(Args)]
pub struct Test {
    /// The directory of `*.cedar` files.
    directory: PathBuf,
    /// The YAML file of questions with the expected answers.
    file: PathBuf,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Policy) -> ExitCode {
    match command {
        Policy::Check(args) => check(args),
        Policy::Explain(args) => explain(args),
        Policy::Test(args) => test(args),
    }
}

fn check(args: &Check) -> ExitCode {
    let (text, ok) = match policies::load(&args.directory) {
        Ok(loaded) if args.json => {
            let (count, version) = (loaded.policies.len(), loaded.policies.version());
            let shown = json!({
                "ok": true, "problems": [], "warnings": loaded.warnings,
                "policies": count, "version": version,
            });
            (format!("{shown}\n"), true)
        }
        Ok(loaded) => {
            warn(&loaded);
            let (count, version) = (loaded.policies.len(), loaded.policies.version());
            let directory = args.directory.display();
            (format!("{directory}: ok, {count} policies, version {version}\n"), true)
        }
        Err(problems) if args.json => {
            let shown = json!({"ok": false, "problems": problems, "warnings": []});
            (format!("{shown}\n"), false)
        }
        Err(problems) => return complain(problems),
    };
    print(&text, if ok { ExitCode::SUCCESS } else { ExitCode::from(USAGE) })
}

fn explain(args: &Explain) -> ExitCode {
    let loaded = match policies::load(&args.directory) {
        Ok(loaded) => loaded,
        Err(problems) => return complain(problems),
    };
    let explained = scenario(args).and_then(|scenario| {
        let explained = scenario.explain(&loaded.policies, Timestamp::now());
        explained.map_err(|error| error.to_string())
    });
    match explained {
        Ok(explanation) if args.json => {
            print(&format!("{:#}\n", json!(explanation)), ExitCode::SUCCESS)
        }
        Ok(explanation) => print(&in_lines(&explanation, &args.directory), ExitCode::SUCCESS),
        Err(message) => complain(message),
    }
}

fn test(args: &Test) -> ExitCode {
    let ready = policies::load(&args.directory).and_then(|loaded| {
        let file = args.file.display().to_string();
        let text = std::fs::read_to_string(&args.file)
            .map_err(|error| policies::unreadable(&args.file, &error))?;
        Ok((loaded, expectations::parse(&file, &text)?))
    });
    let (loaded, expectations) = match ready {
        Ok(ready) => ready,
        Err(problems) => return complain(problems),
    };
    let outcome = expectations.run(&loaded.policies);
    let failed = outcome.failures.len();
    let code = if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        return print(&format!("{}\n", json!(outcome)), code);
    }
    let mut text = String::new();
    for failure in &outcome.failures {
        text += &format!("{failure}\n");
    }
    text += &format!("{} of {} as expected\n", outcome.total - failed, outcome.total);
    print(&text, code)
}

fn scenario(args: &Explain) -> Result<Scenario, String> {
    let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &args.claims {
        claims.entry(name.clone()).or_default().push(value.clone());
    }
    Ok(Scenario {
        principal: args.principal.clone(),
        key: args.key,
        team: args.team.clone(),
        organization: args.organization.clone(),
        roles: args.roles.clone(),
        tags: args.tags.clone(),
        claims: claims.into_iter().map(|(name, values)| (name, Value::Texts(values))).collect(),
        action: args.action.clone(),
        resource: args.resource.clone(),
        providers: args.providers.clone(),
        dialects: args.dialects.clone(),
        server: args.server.clone(),
        arguments: args.arguments.clone(),
        context: circumstances(&args.context)?,
    })
}

fn circumstances(pairs: &[(String, String)]) -> Result<Circumstances, String> {
    fn value<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
        text.parse().map_err(|_| format!("`{text}` is no value for the context's `{name}`"))
    }
    let mut circumstances = Circumstances::default();
    for (name, text) in pairs {
        match name.as_str() {
            "environment" => circumstances.environment = Some(text.clone()),
            "ip" => circumstances.ip = Some(value(name, text)?),
            "time" => circumstances.time = Some(value(name, text)?),
            "stream" => circumstances.stream = value(name, text)?,
            "estimated_tokens" => circumstances.estimated_tokens = value(name, text)?,
            "estimated_cost" => circumstances.estimated_cost = Some(value(name, text)?),
            _ => return Err(format!("the context has no `{name}`")),
        }
    }
    Ok(circumstances)
}

fn in_lines(explanation: &Explanation, directory: &Path) -> String {
    let mut text = String::new();
    let outcome = if explanation.allowed { "allow" } else { "deny" };
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("decision", outcome);
    if let Some(question) = &explanation.question {
        line("principal", &question.principal);
        line("action", &question.action);
        line("resource", &question.resource);
    }
    let Some(decision) = &explanation.decision else { return text };
    for policy in &decision.policies {
        let file = directory.join(&policy.file);
        let mut shown = format!("{} ({}:{})", policy.id, file.display(), policy.line);
        if let Some(description) = &policy.description {
            shown += &format!(": {description}");
        }
        line("by", &shown);
    }
    if decision.policies.is_empty() {
        line("by", "no policy permits it");
    }
    for error in &decision.errors {
        line("failed", &format!("{}: {}", error.policy.id, error.message));
    }
    if let Some(failure) = &decision.failure {
        line("failed", failure);
    }
    if explanation.depends_on_request {
        line("note", "another request of the same caller can get another answer");
    }
    text
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
}

fn print(text: &str, code: ExitCode) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write name=value".to_owned()),
    }
}

fn arguments(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
