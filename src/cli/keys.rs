//! `sluicegate keys`: virtual keys, by way of a running gateway's admin API.

mod client;
mod fields;
mod print;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use self::client::{Client, ClientError, Connection, encoded};
use self::fields::{Fields, Unset};
use super::complain;

/// Keys of a list that are asked for at once.
const AT_ONCE: usize = 500;

/// What to do with keys. KEY is a key's id, its alias, or `self`. The credential is taken from
/// SLUICEGATE_MASTER_KEY, or from a file: an argument could be seen by other users.
#[derive(Subcommand)]
pub enum Keys {
    /// Make a key and print it. It is shown this once.
    Create(Create),
    /// List keys, newest first.
    List(List),
    /// Show a key, without its text.
    Show(One),
    /// Change what is named of a key.
    Update(Box<Update>),
    /// Refuse a key from now on.
    Block(One),
    /// Accept a key again.
    Unblock(One),
    /// Give a key a new text and print it.
    Rotate(Rotate),
    /// Delete a key.
    Delete(One),
    /// Print a new master key: 256 random bits. Nothing is stored.
    GenerateMaster,
}

/// Options of `keys create`.
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    fields: Box<Fields>,
    /// Makes it safe to send the command again: for 24 hours the same one gives the same key.
    #[arg(long)]
    idempotency_key: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Options of `keys list`.
#[derive(Args)]
pub struct List {
    /// Only keys of this user.
    #[arg(long)]
    user: Option<String>,
    /// Only keys of this team.
    #[arg(long)]
    team: Option<String>,
    /// Only keys of this organization.
    #[arg(long)]
    organization: Option<String>,
    /// Only blocked keys, or only others.
    #[arg(long)]
    blocked: Option<bool>,
    /// Print this many at most.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    #[command(flatten)]
    connection: Connection,
}

/// A key.
#[derive(Args)]
pub struct One {
    /// Its id or alias, or `self`.
    key: String,
    #[command(flatten)]
    connection: Connection,
}

/// Options of `keys update`.
#[derive(Args)]
pub struct Update {
    /// Its id or alias.
    key: String,
    #[command(flatten)]
    fields: Fields,
    /// Take this away. May be repeated.
    #[arg(long)]
    unset: Vec<Unset>,
    #[command(flatten)]
    connection: Connection,
}

/// Options of `keys rotate`.
#[derive(Args)]
pub struct Rotate {
    /// Its id or alias.
    key: String,
    /// How long the old text stays good, such as 24h. Not at all unless given.
    #[arg(long)]
    grace: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub fn run(command: &Keys) -> ExitCode {
    let connection = match command {
        Keys::GenerateMaster => return generate_master(),
        Keys::Create(Create { connection, .. })
        | Keys::List(List { connection, .. })
        | Keys::Show(One { connection, .. })
        | Keys::Block(One { connection, .. })
        | Keys::Unblock(One { connection, .. })
        | Keys::Rotate(Rotate { connection, .. })
        | Keys::Delete(One { connection, .. }) => connection,
        Keys::Update(update) => &update.connection,
    };
    let client = match Client::new(connection) {
        Ok(client) => client,
        Err(error) => return complain(format_args!("sluicegate: {error}")),
    };
    let done = match command {
        Keys::Create(args) => create(&client, args),
        Keys::List(args) => list(&client, args),
        Keys::Show(args) => act(&client, &args.key, Act::Show),
        Keys::Update(args) => update(&client, args),
        Keys::Block(args) => act(&client, &args.key, Act::Post("/block")),
        Keys::Unblock(args) => act(&client, &args.key, Act::Post("/unblock")),
        Keys::Rotate(args) => rotate(&client, args),
        Keys::Delete(args) => act(&client, &args.key, Act::Delete),
        Keys::GenerateMaster => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ ClientError::Usage(_)) => complain(format_args!("sluicegate: {error}")),
        Err(error) => {
            eprintln!("sluicegate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn create(client: &Client, args: &Create) -> Result<(), ClientError> {
    let body = args.fields.body(&[])?;
    let key = args.idempotency_key.as_deref();
    let made = client.send("POST", "/admin/v1/keys", Some(&body), key)?;
    print::secret(&made, args.connection.json)
}

fn list(client: &Client, args: &List) -> Result<(), ClientError> {
    let mut query = String::new();
    for (name, value) in [
        ("user", args.user.clone()),
        ("team", args.team.clone()),
        ("organization", args.organization.clone()),
        ("blocked", args.blocked.map(|blocked| blocked.to_string())),
    ] {
        if let Some(value) = value {
            query += &format!("&{name}={}", encoded(&value));
        }
    }
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let limit = AT_ONCE.min(args.limit - items.len());
        if limit == 0 {
            break;
        }
        let path = format!("/admin/v1/keys?limit={limit}{query}{cursor}");
        let page = client.send("GET", &path, None, None)?;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encoded(next)),
            None => break,
        }
    }
    print::list(&items, args.connection.json)
}

fn update(client: &Client, args: &Update) -> Result<(), ClientError> {
    let body = args.fields.body(&args.unset)?;
    if body.is_empty() {
        return Err(ClientError::Usage("name something to change".to_owned()));
    }
    let path = path_of(client, &args.key)?;
    print::one(&client.send("PATCH", &path, Some(&body), None)?, args.connection.json)
}

fn rotate(client: &Client, args: &Rotate) -> Result<(), ClientError> {
    let mut body = Map::new();
    if let Some(grace) = &args.grace {
        body.insert("grace".to_owned(), json!(grace));
    }
    let path = path_of(client, &args.key)?;
    let made = client.send("POST", &format!("{path}/rotate"), Some(&body), None)?;
    print::secret(&made, args.connection.json)
}

enum Act {
    Show,
    Post(&'static str),
    Delete,
}

fn act(client: &Client, key: &str, act: Act) -> Result<(), ClientError> {
    let path = path_of(client, key)?;
    let shown = match act {
        Act::Show => client.send("GET", &path, None, None)?,
        Act::Post(what) => client.send("POST", &format!("{path}{what}"), None, None)?,
        Act::Delete => {
            client.send("DELETE", &path, None, None)?;
            return print::deleted(key, client.json());
        }
    };
    print::one(&shown, client.json())
}

/// Where the key of this id or alias is.
fn path_of(client: &Client, key: &str) -> Result<String, ClientError> {
    if key.starts_with("sk-") {
        let message = "name the key by its id or alias: its text can be seen in a command line";
        return Err(ClientError::Usage(message.to_owned()));
    }
    if key == "self" || key.parse::<uuid::Uuid>().is_ok() {
        return Ok(format!("/admin/v1/keys/{key}"));
    }
    let path = format!("/admin/v1/keys?alias={}", encoded(key));
    match client.send("GET", &path, None, None)?["items"][0]["id"].as_str() {
        Some(id) => Ok(format!("/admin/v1/keys/{id}")),
        None => Err(ClientError::Refused(format!("there is no key with the id or alias `{key}`"))),
    }
}

fn generate_master() -> ExitCode {
    let mut bits = [0; 32];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    if random.fill(&mut bits).is_err() {
        eprintln!("sluicegate: the system gives no random bits");
        return ExitCode::FAILURE;
    }
    let hex: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    match writeln!(std::io::stdout().lock(), "sk-{hex}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// An object's text, or nothing.
fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}
