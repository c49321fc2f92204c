//! `mcp`: LiteLLM's `mcp_servers` (<https://docs.litellm.ai/docs/mcp>).

use std::collections::BTreeSet;

use http::HeaderName;

use super::at::At;
use super::providers::{names_secret, text_or_secret};
use super::variables::{self, Holds, looks_secret};
use super::yaml::{Map, Yaml};
use super::{Fate, Migration};
use crate::config;

/// What the configuration takes at most.
const MAX_SERVERS: usize = 64;
const MAX_NAME: usize = 32;
const MAX_TOOLS: usize = 512;
const MAX_TOOL: usize = 128;
const MAX_ARGUMENTS: usize = 64;
const MAX_ARGUMENT: usize = 1024;
const MAX_VARIABLES: usize = 64;
/// In milliseconds.
const MAX_TIMEOUT: u64 = 3_600_000;

/// Why a server is left out, and what to do.
type LeftOut = (&'static str, &'static str);

/// A server on its way. What became of its values is told once it is known that it is carried over.
struct Server<'n> {
    target: Map,
    fates: Vec<(At<'n>, &'static str, Fate)>,
}

/// Makes `mcp`.
pub(super) fn mcp(migration: &mut Migration<'_>) -> Map {
    let mut mcp = Map::default();
    let Some(section) = migration.root.get("mcp_servers") else { return mcp };
    if !section.is_map() {
        let action = "write `mcp.targets` (docs/configuration.md)";
        migration.accounts.no_equal(&section, "is not a mapping of servers", action);
        return mcp;
    }
    let mut targets = Map::default();
    let mut names = BTreeSet::new();
    for (key, at) in section.entries() {
        if at.is_null() {
            continue;
        }
        if names.len() == MAX_SERVERS {
            let message = "a gateway takes 64 MCP servers";
            migration.accounts.no_equal(&at, message, "give it to a gateway of its own");
            continue;
        }
        match server(migration, &at) {
            Ok(Server { target, fates }) => {
                let alias = at.get("alias");
                let wanted = alias.as_ref().and_then(At::text).unwrap_or(key);
                let name = fresh_name(wanted, &names);
                let to = format!("mcp.targets.{name}");
                let action =
                    "tell clients: tools are called `name_tool` here, and `name-tool` at LiteLLM";
                let message = if name == wanted {
                    "its tools have other names"
                } else {
                    "its tools have other names, and so has the server: up to 32 of `a` to `z`, `0` to `9` and `-`"
                };
                migration.accounts.changed(&at, &to, message, action);
                for (at, key, fate) in fates {
                    migration.settle(&at, &format!("{to}.{key}"), &fate);
                }
                targets.put(&name, Yaml::Map(target));
                names.insert(name);
            }
            Err((message, action)) => migration.accounts.no_equal(&at, message, action),
        }
    }
    mcp.some("targets", Yaml::Map(targets));
    mcp
}

/// A name that the gateway takes, as near to LiteLLM's as can be.
fn fresh_name(wanted: &str, names: &BTreeSet<String>) -> String {
    let plain = |char: char| match char.to_ascii_lowercase() {
        char if char.is_ascii_alphanumeric() => char,
        _ => '-',
    };
    let name: String = wanted.chars().take(MAX_NAME).map(plain).collect();
    let name = name.trim_matches('-');
    // `tools` is the path of the list.
    let name = if name.is_empty() || name == "tools" { "mcp" } else { name };
    let mut fresh = name.to_owned();
    for number in 2.. {
        if !names.contains(&fresh) {
            break;
        }
        let end = format!("-{number}");
        let room = name.len().min(MAX_NAME - end.len());
        fresh = format!("{}{end}", &name[..room]);
    }
    fresh
}

fn server<'n>(migration: &mut Migration<'n>, at: &At<'n>) -> Result<Server<'n>, LeftOut> {
    if !at.is_map() {
        return Err(("is not a mapping", "write `mcp.targets` (docs/configuration.md)"));
    }
    if at.get("spec_path").is_some() {
        let action = "put an MCP server in front of that API";
        return Err(("no tools are made of an OpenAPI file here", action));
    }
    let url = at.get("url");
    let transport = at.get("transport").and_then(|at| at.text()).map(str::to_ascii_lowercase);
    let ends_with_sse = url
        .as_ref()
        .and_then(At::text)
        .is_some_and(|url| url.trim_end_matches('/').ends_with("/sse"));
    if transport.as_deref() == Some("sse") || (transport.is_none() && ends_with_sse) {
        let action = "see whether the server has an endpoint for streamable HTTP, and write \
                      `mcp.targets.<name>.url`";
        return Err((
            "the retired transport of HTTP with server-sent events is not spoken here",
            action,
        ));
    }
    let mut server = Server { target: Map::default(), fates: Vec::new() };
    match (url, at.get("command")) {
        (Some(url), None) => behind_url(migration, &mut server, at, &url)?,
        (None, Some(command)) => started(migration, &mut server, at, &command)?,
        _ => return Err(("has neither, or both, of `url` and `command`", "write one of them")),
    }
    tools(&mut server, at)?;
    timeout(migration, &mut server, at);
    rest(migration, &server, at);
    Ok(server)
}

impl<'n> Server<'n> {
    fn put(&mut self, at: At<'n>, key: &'static str, value: Yaml, fate: Fate) {
        self.target.put(key, value);
        self.fates.push((at, key, fate));
    }
}

fn behind_url<'n>(
    migration: &mut Migration<'n>,
    server: &mut Server<'n>,
    at: &At<'n>,
    url_at: &At<'n>,
) -> Result<(), LeftOut> {
    const LEFT_OUT: LeftOut = (
        "its URL is none that the gateway takes",
        "write `mcp.targets.<name>.url` without user, password, query or fragment; a query goes to \
         `query`, credentials to `api_key` or `headers`",
    );
    let text = url_at.text().ok_or(LEFT_OUT)?;
    let (url, fate) = if variables::is_reference(text) {
        let name = variables::reference(text).ok_or(LEFT_OUT)?;
        let found = migration.variables.named(name, Holds::BaseUrl, "the URL of an MCP server");
        let fate = super::renamed(name, &found);
        (Yaml::Plain(format!("${{{found}}}")), fate)
    } else if config::parse_endpoint_url(text).is_err() {
        return Err(LEFT_OUT);
    } else if text.split(['/', ':', '=']).any(looks_secret) {
        let name = migration.variables.literal(url_at, text, "MCP_URL", Holds::BaseUrl);
        let action = format!("set {name} to it, then take it out of LiteLLM's file");
        let fate = Fate::Changed("may have a secret in it".to_owned(), Some(action));
        (Yaml::Plain(format!("${{{name}}}")), fate)
    } else {
        (Yaml::Text(text.to_owned()), Fate::Carried)
    };
    server.put(url_at.clone(), "url", url, fate);
    let key_header = credential(migration, server, at);
    let mut headers = Map::default();
    let mut seen = BTreeSet::new();
    for (name, at) in ["static_headers", "headers", "extra_headers"]
        .into_iter()
        .filter_map(|key| at.get(key))
        .flat_map(|at| at.entries())
    {
        let parsed = name
            .parse::<HeaderName>()
            .ok()
            .filter(|name| !config::is_own_mcp_header(name) && key_header != Some(name.as_str()));
        let Some(name) = parsed.filter(|name| !seen.contains(name.as_str())) else {
            let action = "see `mcp.targets.<name>.headers`";
            migration.accounts.no_equal(&at, "this header can't be set on an MCP server", action);
            continue;
        };
        let meaning = "a header that an MCP server is sent";
        let secret = names_secret(name.as_str());
        if let Some((value, fate)) = text_or_secret(migration, &at, secret, "MCP_HEADER", meaning) {
            headers.text(name.as_str(), value);
            server.fates.push((at, "headers", fate));
            seen.insert(name.as_str().to_owned());
        }
    }
    server.target.some("headers", Yaml::Map(headers));
    Ok(())
}

/// The credential, and how calls carry it. Gives the header that does.
fn credential<'n>(
    migration: &mut Migration<'n>,
    server: &mut Server<'n>,
    at: &At<'n>,
) -> Option<&'static str> {
    let value = ["auth_value", "authentication_token"].into_iter().find_map(|key| at.get(key))?;
    let kind = at.get("auth_type");
    let (style, header) = match kind.as_ref().and_then(At::text) {
        Some("bearer_token") => (None, "authorization"),
        Some("api_key") => (Some("x-api-key"), "x-api-key"),
        Some("authorization") => (Some("authorization"), "authorization"),
        _ => {
            let action = "see `mcp.targets.<name>.api_key`, `auth` and `headers`";
            migration.accounts.no_equal(
                &value,
                "not a way in which calls carry a credential",
                action,
            );
            return None;
        }
    };
    let meaning = "the credential for an MCP server";
    let (reference, fate) = migration.secret(&value, "MCP_API_KEY", Holds::Secret, meaning)?;
    server.put(value, "api_key", Yaml::Text(reference), fate);
    if let Some(header) = style {
        let mut auth = Map::default();
        auth.text("header", header);
        server.target.put("auth", Yaml::Map(auth));
    }
    if let Some(kind) = kind {
        server.fates.push((kind, "api_key", Fate::Carried));
    }
    Some(header)
}

fn started<'n>(
    migration: &mut Migration<'n>,
    server: &mut Server<'n>,
    at: &At<'n>,
    command_at: &At<'n>,
) -> Result<(), LeftOut> {
    const LEFT_OUT: LeftOut = (
        "its command is none that the gateway takes",
        "write `mcp.targets.<name>.command`: a name on PATH or a whole path, and its arguments",
    );
    const SECRET: LeftOut = (
        "a secret may stand among its arguments, which others can see",
        "hand it over by `environment`",
    );
    let args_at = at.get("args");
    let args = args_at.as_ref().map(At::items).unwrap_or_default();
    if args.len() > MAX_ARGUMENTS || args_at.as_ref().is_some_and(|at| !at.is_list()) {
        return Err(LEFT_OUT);
    }
    let program = command_at.text().ok_or(LEFT_OUT)?;
    if program.contains('/') && !program.starts_with('/') || program.contains(char::is_whitespace) {
        return Err(LEFT_OUT);
    }
    let mut command = Vec::new();
    for item in std::iter::once(command_at).chain(&args) {
        let text = item.text().ok_or(LEFT_OUT)?;
        let refers = ["env:", "vault:"].iter().any(|prefix| text.starts_with(prefix));
        if text.len() > MAX_ARGUMENT
            || text.contains("${")
            || text.chars().any(char::is_control)
            || refers
            || variables::is_reference(text)
        {
            return Err(LEFT_OUT);
        }
        let option = text.split('=').next().unwrap_or_default();
        if text.split(['=', ':', ' ']).any(looks_secret) || config::is_secret_option(option) {
            return Err(SECRET);
        }
        command.push(Yaml::Text(text.to_owned()));
    }
    server.put(command_at.clone(), "command", Yaml::List(command), Fate::Carried);
    if let Some(args) = args_at {
        server.fates.push((args, "command", Fate::Carried));
    }
    let mut environment = Map::default();
    let mut count = 0;
    for (name, at) in at.get("env").iter().flat_map(At::entries) {
        if at.is_null() {
            continue;
        }
        count += 1;
        if count > MAX_VARIABLES || !config::secrets::is_variable_name(name) {
            let action = "see `mcp.targets.<name>.environment`";
            migration.accounts.no_equal(&at, "is no variable that a program can be given", action);
            continue;
        }
        let meaning = "a variable of a program that speaks MCP";
        let secret = config::is_secret_variable(name);
        if let Some((value, fate)) = text_or_secret(migration, &at, secret, "MCP_VARIABLE", meaning)
        {
            environment.text(name, value);
            server.fates.push((at, "environment", fate));
        }
    }
    server.target.some("environment", Yaml::Map(environment));
    Ok(())
}

fn tools<'n>(server: &mut Server<'n>, at: &At<'n>) -> Result<(), LeftOut> {
    let Some(at) = at.get("allowed_tools") else { return Ok(()) };
    let items = at.items();
    if at.is_list() && items.is_empty() {
        return Ok(());
    }
    let good = |text: &&str| text.len() <= MAX_TOOL && text.bytes().all(|b| b.is_ascii_graphic());
    let names: BTreeSet<&str> = items.iter().filter_map(At::text).filter(good).collect();
    let all = items.iter().all(|item| item.text().as_ref().is_some_and(good));
    if !all || names.is_empty() || names.len() > MAX_TOOLS {
        // Without the list, more would be offered than before.
        return Err((
            "its tools are named as the gateway does not",
            "write `mcp.targets.<name>.tools`",
        ));
    }
    let tools = names.into_iter().map(|name| Yaml::Text(name.to_owned())).collect();
    let message = "names are those that the server gives its tools, without its own before them";
    let fate = Fate::Changed(message.to_owned(), Some("see that they are".to_owned()));
    server.put(at, "tools", Yaml::List(tools), fate);
    Ok(())
}

fn timeout<'n>(migration: &mut Migration<'n>, server: &mut Server<'n>, at: &At<'n>) {
    let Some(at) = at.get("timeout") else { return };
    match at.seconds().filter(|millis| (1..=MAX_TIMEOUT).contains(millis)) {
        Some(millis) => {
            let mut timeouts = Map::default();
            timeouts.plain("call", format!("{millis}ms"));
            server.target.put("timeouts", Yaml::Map(timeouts));
            server.fates.push((at, "timeouts.call", Fate::Carried));
        }
        None => {
            let message = "is no number of seconds up to an hour";
            migration.accounts.no_equal(&at, message, "write `mcp.targets.<name>.timeouts.call`");
        }
    }
}

/// The keys that nothing is made of.
fn rest(migration: &mut Migration<'_>, server: &Server<'_>, at: &At<'_>) {
    let is_carried = |id: usize| server.fates.iter().any(|(at, ..)| at.node.id == id);
    for (key, at) in at.entries() {
        let headers = ["static_headers", "headers", "extra_headers"].contains(&key) && at.is_map();
        if is_carried(at.node.id) || migration.accounts.is_decided(&at) || at.is_null() {
            continue;
        }
        let accounts = &mut migration.accounts;
        match key {
            "env" | "timeout" if at.is_map() || key == "timeout" => {}
            _ if headers => {}
            "transport" => accounts.not_needed(&at, "`url` and `command` say it"),
            "alias" if at.text().is_some() => accounts.not_needed(&at, "the server is called by it"),
            "description" | "mcp_info" | "server_name" | "server_id" | "instructions" => {
                accounts.not_needed(&at, "for LiteLLM's own pages");
            }
            "allowed_tools" => accounts.not_needed(&at, "without a value"),
            "disallowed_tools" => accounts.no_equal(
                &at,
                "tools are offered by name, or all of them: these are, too",
                "name those that are offered in `mcp.targets.<name>.tools`, or forbid these by a policy \
                 (docs/policies.md)",
            ),
            "extra_headers" => accounts.no_equal(
                &at,
                "callers' headers do not go on to MCP servers",
                "set those of yours in `mcp.targets.<name>.headers`",
            ),
            "access_groups" | "mcp_access_groups" | "allow_all_keys" | "allowed_params"
            | "available_on_public_internet" => accounts.no_equal(
                &at,
                "who may call which tool is said elsewhere",
                "see docs/policies.md and docs/access.md",
            ),
            "auth_type" if at.text() == Some("none") => accounts.not_needed(&at, "there is none"),
            "auth_type" | "client_id" | "client_secret" | "scopes" | "authorization_url"
            | "token_url" | "registration_url" | "oauth2_flow" => accounts.no_equal(
                &at,
                "the gateway calls MCP servers with a credential that it is given",
                "set `mcp.targets.<name>.api_key`, or `headers`",
            ),
            _ => accounts.no_equal(
                &at,
                "nothing here corresponds to it",
                "see whether anything depends on it",
            ),
        }
    }
}
