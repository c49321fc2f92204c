//! `mcp`: the MCP servers whose tools are offered.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use http::HeaderName;
use secrecy::ExposeSecret;
use sluicegate_filters::screen::{MAX_MCP_SERVER, is_mcp_server};

use super::providers::{self, SECRET_WORDS};
use super::{access, authorities, section, value};
use crate::config::node::Scalar;
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::report;
use crate::config::secrets::{SecretRef, is_variable_name};
use crate::config::url::{self, UrlError};
use crate::config::valid::mcp::{
    self, HttpTransport, Mcp, StdioTransport, Target, Timeouts, Transport,
};
use crate::config::valid::{AuthStyle, BaseUrl, Secret};

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["targets"],
    renamed: &[
        ("servers", "targets"),
        ("mcp_servers", "targets"),
        ("mcpservers", "targets"),
        ("upstreams", "targets"),
        ("backends", "targets"),
    ],
    later: &[],
};

pub(in crate::config) const TARGET: Keys = Keys {
    known: &[
        "url",
        "api_key",
        "auth",
        "headers",
        "query",
        "ca",
        "client_certificate",
        "command",
        "environment",
        "directory",
        "tools",
        "timeouts",
        "list_ttl",
    ],
    renamed: &[
        ("endpoint", "url"),
        ("base_url", "url"),
        ("api_base", "url"),
        ("server_url", "url"),
        ("host", "url"),
        ("address", "url"),
        ("uri", "url"),
        ("token", "api_key"),
        ("key", "api_key"),
        ("apikey", "api_key"),
        ("bearer_token", "api_key"),
        ("auth_value", "api_key"),
        ("authentication_token", "api_key"),
        ("auth_type", "auth"),
        ("extra_headers", "headers"),
        ("static_headers", "headers"),
        ("default_headers", "headers"),
        ("query_params", "query"),
        ("query_parameters", "query"),
        ("params", "query"),
        ("parameters", "query"),
        ("ca_file", "ca"),
        ("ssl_verify", "ca"),
        ("client_cert", "client_certificate"),
        ("mtls", "client_certificate"),
        ("cmd", "command"),
        ("program", "command"),
        ("args", "command"),
        ("arguments", "command"),
        ("env", "environment"),
        ("environment_variables", "environment"),
        ("cwd", "directory"),
        ("workdir", "directory"),
        ("working_directory", "directory"),
        ("allowed_tools", "tools"),
        ("include_tools", "tools"),
        ("enabled_tools", "tools"),
        ("timeout", "timeouts"),
        ("ttl", "list_ttl"),
        ("cache_ttl", "list_ttl"),
    ],
    later: &[],
};

pub(in crate::config) const TIMEOUTS: Keys = Keys {
    known: &["connect", "call", "list"],
    renamed: &[
        ("connection", "connect"),
        ("handshake", "connect"),
        ("start", "connect"),
        ("startup", "connect"),
        ("total", "call"),
        ("request", "call"),
        ("tool", "call"),
        ("tools", "list"),
        ("discovery", "list"),
    ],
    later: &[],
};

/// Keys with which others say what is plain here.
const NEEDLESS: [(&str, &str); 3] = [
    ("transport", TRANSPORT),
    ("type", TRANSPORT),
    ("spec_version", "leave it out; the version of the protocol is agreed on with the server"),
];
const TRANSPORT: &str = "leave it out; `url` is streamable HTTP, `command` is standard input and output, and \
                         there is no third";

/// Keys that only say something beside `url`, with what to do about each beside `command`.
const OF_URL: [(&str, &str); 6] = [
    ("api_key", "hand it over by `environment`"),
    ("auth", "take it out"),
    ("headers", "take it out"),
    ("query", "take it out"),
    ("ca", "take it out"),
    ("client_certificate", "take it out"),
];
/// The other way round.
const OF_COMMAND: [(&str, &str); 2] =
    [("environment", "send it by `api_key` or `headers`"), ("directory", "take it out")];

const CONNECT: Duration = Duration::from_secs(10);
/// `npx` and the like download a program when they first start it.
const START: Duration = Duration::from_mins(1);
/// Clients of the TypeScript SDK give up after 60 s, and then nobody is told which server it was.
const CALL: Duration = Duration::from_secs(50);
const LIST: Duration = Duration::from_secs(20);
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);
const LIST_TTL: Duration = Duration::from_mins(5);
const LIST_TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

const MAX_TARGETS: usize = 64;
const MAX_TOOLS: usize = 512;
/// Bytes of a tool's name (MCP 2025-11-25, Tools, Tool Names).
const MAX_TOOL: usize = 128;
const MAX_ARGUMENTS: usize = 64;
/// Bytes of an argument. Linux takes eight times as many.
const MAX_ARGUMENT: usize = 16 * 1024;
const MAX_VARIABLES: usize = 64;
const MAX_PARAMETERS: usize = 64;
/// Bytes of a parameter's name.
const MAX_PARAMETER: usize = 64;
/// Bytes of a query as it is sent. Many servers take no longer line.
const MAX_QUERY: usize = 7 * 1024;
/// Parameters that a hint writes out, and bytes of a name in it.
const MAX_SHOWN: usize = 32;
/// Bytes of a command in one text that a hint takes apart.
const MAX_SPLIT: usize = 200;

/// Parts of a variable's name that tell of a secret in its value, besides those of headers' names.
const SECRET_VARIABLES: [&str; 7] =
    ["passwd", "passphrase", "_pass", "pwd", "private", "dsn", "database_url"];
/// What the names of options end with that have a secret behind them.
const SECRET_OPTIONS: [&str; 5] = ["api-key", "apikey", "token", "secret", "password"];

const NOT_REPLACED: &str =
    "leave the quotes out for a variable of the gateway's, on a line of its own";

/// Reads `mcp`.
pub(super) fn mcp(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Mcp {
    let fields = section(reader, at, &KEYS);
    let targets = value(reader, fields.as_ref(), "targets", |r, at| Some(targets(r, at)));
    Mcp { targets: targets.unwrap_or_default() }
}

fn targets(reader: &mut Reader<'_>, at: &Cursor<'_>) -> BTreeMap<String, Target> {
    let mut targets = BTreeMap::new();
    for (index, (name, at)) in reader.map(at).named().enumerate() {
        if index == MAX_TARGETS {
            let hint = format!("there can be {MAX_TARGETS}");
            reader.report.error(at.key, &at.path, "too many MCP servers", hint);
            break;
        }
        if let Some(target) = target(reader, name, &at) {
            targets.insert(name.to_owned(), target);
        }
    }
    targets
}

fn target(reader: &mut Reader<'_>, name: &str, at: &Cursor<'_>) -> Option<Target> {
    if name == "tools" {
        let message = "the path `/mcp/tools` is the list of all tools already";
        reader.report.error(at.key, &at.path, message, "call it something else");
    } else if !is_mcp_server(name) {
        let hint = format!(
            "use up to {MAX_MCP_SERVER} of `a` to `z`, `0` to `9` and `-`; in `name_tool`, the first `_` ends it"
        );
        reader.report.error(at.key, &at.path, "not an MCP server's name", hint);
    }
    let fields = reader.fields_without(at, &TARGET, &NEEDLESS);
    let transport = transport(reader, at, &fields);
    let tools = value(reader, Some(&fields), "tools", tools);
    let connect = if fields.get("command").is_some() { START } else { CONNECT };
    let timeouts = value(reader, Some(&fields), "timeouts", |r, at| Some(timeouts(r, at, connect)));
    let list_ttl = value(reader, Some(&fields), "list_ttl", |r, at| r.duration(at, LIST_TTLS));
    Some(Target {
        name: name.to_owned(),
        transport: transport?,
        tools,
        timeouts: timeouts.unwrap_or(Timeouts { connect, call: CALL, list: LIST }),
        list_ttl: list_ttl.unwrap_or(LIST_TTL),
    })
}

fn transport(reader: &mut Reader<'_>, at: &Cursor<'_>, fields: &Fields<'_>) -> Option<Transport> {
    match (fields.get("url"), fields.get("command")) {
        (Some(url_at), None) => {
            refuse(reader, fields, &OF_COMMAND, "of a `command`, not of a `url`");
            http(reader, fields, &url_at).map(|http| Transport::Http(Box::new(http)))
        }
        (None, Some(command_at)) => {
            refuse(reader, fields, &OF_URL, "of a `url`, not of a `command`");
            stdio(reader, fields, &command_at).map(Transport::Stdio)
        }
        (Some(url_at), Some(command_at)) => {
            let second = if follows(&url_at, &command_at) { url_at } else { command_at };
            let message = "`url` and `command` at once";
            reader.report.error(second.key, &second.path, message, "keep one of them");
            None
        }
        (None, None) => {
            if !at.is_broken() {
                let hint = "write `url: https://mcp.example.com/mcp`, or `command: [program, \
                            argument]`";
                reader.report.error(at.key, &at.path, "neither `url` nor `command`", hint);
            }
            None
        }
    }
}

/// Whether `one` stands behind `other` in the file.
fn follows(one: &Cursor<'_>, other: &Cursor<'_>) -> bool {
    (one.key.line, one.key.column) > (other.key.line, other.key.column)
}

/// Says of each of `keys` that it has no meaning here.
fn refuse(reader: &mut Reader<'_>, fields: &Fields<'_>, keys: &[(&str, &str)], whose: &str) {
    for (key, hint) in keys {
        if let Some(at) = fields.get(key) {
            reader.report.error(at.key, &at.path, format!("`{key}` is {whose}"), *hint);
        }
    }
}

fn http(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    url_at: &Cursor<'_>,
) -> Option<HttpTransport> {
    let url = endpoint(reader, url_at);
    let auth =
        value(reader, Some(fields), "auth", |reader, at| providers::auth_style(reader, at, is_own));
    let auth = auth.unwrap_or(AuthStyle::Bearer);
    let key_at = fields.get("api_key");
    let api_key = key_at.as_ref().and_then(|at| reader.secret(at));
    let headers = value(reader, Some(fields), "headers", |reader, at| {
        providers::headers(reader, at, key_at.is_some().then_some(&auth), is_own)
    });
    let query = value(reader, Some(fields), "query", |reader, at| Some(query(reader, at)));
    let without_tls = url.as_ref().is_some_and(|url| !url.tls);
    let ca = value(reader, Some(fields), "ca", |reader, at| {
        if without_tls {
            reader.wrong(at, "`ca` without TLS", "use an https:// `url`, or take it out");
        }
        authorities(reader, at)
    });
    let client_certificate = value(reader, Some(fields), "client_certificate", |reader, at| {
        if without_tls {
            let hint = "use an https:// `url`, or take it out";
            reader.wrong(at, "`client_certificate` without TLS", hint);
        }
        providers::client_certificate(reader, at)
    });
    Some(HttpTransport {
        url: url?,
        api_key,
        auth,
        headers: headers.unwrap_or_default(),
        query: query.unwrap_or_default(),
        ca,
        client_certificate,
    })
}

/// Whether a header is the gateway's or the protocol's to set.
pub(crate) fn is_own(name: &HeaderName) -> bool {
    access::is_own(name)
        || ["accept", "last-event-id", "traceparent", "tracestate"].contains(&name.as_str())
        || name.as_str().starts_with("mcp-")
}

fn endpoint(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<BaseUrl> {
    let text = reader.text(at)?;
    match url::parse_endpoint(text) {
        Ok(url) => {
            if reader.production && !url.tls && !url::is_loopback(&url.host) {
                let message = "plain http to another host is refused in production";
                reader.wrong(at, message, "use https://");
            }
            Some(url)
        }
        Err(error) => {
            // A password in it must not get into a log.
            let shown = match &error {
                UrlError::UserInfo | UrlError::Query => "the URL".to_owned(),
                _ => at.scalar().map(Scalar::shown).unwrap_or_default(),
            };
            let hint = match &error {
                UrlError::Scheme => "write it as in https://mcp.example.com/mcp".to_owned(),
                UrlError::Path => {
                    "write it as in /mcp, without `..`, `//`, `%` or spaces".to_owned()
                }
                UrlError::Query => {
                    let written = at.scalar().filter(|scalar| scalar.source.is_none());
                    query_to_write(written.map_or("", |scalar| &scalar.text))
                }
                other => other.hint().to_owned(),
            };
            reader.wrong(at, format!("{shown} {error}"), hint);
            None
        }
    }
}

/// What to write for the query of `url`. Of its values only those are shown that can't be secrets.
fn query_to_write(url: &str) -> String {
    const PLAIN: &str = "leave out what begins with `?` or `#`; what a query says goes to `query`, \
                         credentials to `api_key` or `headers`";
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = Vec::new();
    let mut names = BTreeSet::new();
    for pair in query.split('&') {
        let simple = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let parts = pair.split_once('=').filter(|(name, _)| {
            (1..=MAX_SHOWN).contains(&name.len()) && name.bytes().all(simple) && names.insert(*name)
        });
        let Some((name, value)) = parts.filter(|_| pairs.len() < MAX_SHOWN && !url.contains('#'))
        else {
            return PLAIN.to_owned();
        };
        let is_number = value.len() <= 4 && value.bytes().all(|byte| byte.is_ascii_digit());
        let value = if is_secret_parameter(name) {
            format!("env:{}", name.to_ascii_uppercase().replace('-', "_"))
        } else if ["true", "false"].contains(&value) || is_number && !value.is_empty() {
            value.to_owned()
        } else {
            "..".to_owned()
        };
        pairs.push(format!("{}: \"{value}\"", item(name)));
    }
    format!("leave it out, and write `query: {{ {} }}` beside `url`", pairs.join(", "))
}

/// Whether a parameter's name tells of a secret in its value.
fn is_secret_parameter(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn query(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Vec<(String, Secret)> {
    let mut query = Vec::new();
    for (index, (name, at)) in reader.map(at).all().enumerate() {
        if index == MAX_PARAMETERS {
            let hint = format!("there can be {MAX_PARAMETERS}");
            reader.report.error(at.key, &at.path, "too many parameters", hint);
            break;
        }
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || !(1..=MAX_PARAMETER).contains(&name.len()) {
            let hint = format!(
                "use up to {MAX_PARAMETER} printable ASCII characters, no spaces; not encoded"
            );
            reader.report.error(at.key, &at.path, "not a parameter's name", hint);
        } else if let Some(value) = text_or_secret(reader, &at, is_secret_parameter(name)) {
            query.push((name.to_owned(), value));
        }
    }
    if mcp::encoded(&query).expose_secret().len() > MAX_QUERY {
        let hint = format!("there can be {MAX_QUERY} bytes, encoded");
        reader.wrong(at, "a longer query than there can be", hint);
    }
    query.sort_by(|(a, _), (b, _)| a.cmp(b));
    query
}

fn stdio(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    command_at: &Cursor<'_>,
) -> Option<StdioTransport> {
    let command = command(reader, fields, command_at);
    let environment = value(reader, Some(fields), "environment", |r, at| Some(environment(r, at)));
    let directory = value(reader, Some(fields), "directory", |r, at| r.directory(at));
    Some(StdioTransport {
        command: command?,
        environment: environment.unwrap_or_default(),
        directory,
    })
}

fn command(reader: &mut Reader<'_>, fields: &Fields<'_>, at: &Cursor<'_>) -> Option<Vec<String>> {
    if let Some(scalar) = at.scalar() {
        let message = format!("expected a list, found {}", scalar.shown());
        reader.wrong(at, message, list_to_write(scalar, fields.get("args").as_ref()));
        return None;
    }
    let mut index = 0;
    let items = reader.list(at, |reader, at| {
        index += 1;
        if index > 1 + MAX_ARGUMENTS {
            if index == 2 + MAX_ARGUMENTS {
                reader.wrong(at, "too many arguments", format!("there can be {MAX_ARGUMENTS}"));
            }
            return None;
        }
        let text = argument(reader, at)?;
        if index == 1 && !Path::new(text).is_absolute() && text.contains('/') {
            let message = "a program's path that is relative";
            reader.wrong(at, message, "write the whole path, or a name that is on `PATH`");
        }
        Some((at.clone(), text))
    })?;
    if index == 0 {
        reader.wrong(at, "no program", "write the program, then its arguments");
        return None;
    }
    secret_arguments(reader, &items);
    let command: Vec<_> = items.into_iter().map(|(_, text)| text.to_owned()).collect();
    (!command.is_empty()).then_some(command)
}

/// A program, or an argument of it.
fn argument<'n>(reader: &mut Reader<'_>, at: &Cursor<'n>) -> Option<&'n str> {
    let text = reader.text(at)?;
    if text.len() > MAX_ARGUMENT {
        reader.wrong(at, "a longer argument than there can be", "put it into a file");
        return None;
    }
    if text.contains('\0') {
        reader.wrong(at, "a zero byte, which no argument can have", "take it out");
        return None;
    }
    if text.contains("${") {
        // It would read back as something else, and no shell would have replaced it.
        reader.wrong(at, "`${` in an argument, which nothing replaces", NOT_REPLACED);
        return None;
    }
    if matches!(SecretRef::parse(text), Ok(SecretRef::Env(_) | SecretRef::Vault(_))) {
        let hint = "others can see arguments; hand it over by `environment`";
        reader.wrong(at, "a reference to a secret, which no argument can be", hint);
        return None;
    }
    Some(text)
}

/// Warns of arguments that look as if they were secrets: whoever may list processes can read them.
fn secret_arguments(reader: &mut Reader<'_>, items: &[(Cursor<'_>, &str)]) {
    let mut before = "";
    for (at, text) in items {
        let written = match text.split_once('=') {
            Some((option, value)) => is_secret_option(option) && !value.is_empty(),
            None => is_secret_option(before) && !text.starts_with('-'),
        };
        if written {
            let message = "an argument that may be a secret, which others can see";
            let hint = "hand it over by `environment`";
            reader.report.warning(at.place(), &at.path, message, hint);
        }
        before = text;
    }
}

/// Whether there is a secret behind a program's `option`.
pub(crate) fn is_secret_option(option: &str) -> bool {
    let name = option.to_ascii_lowercase().replace('_', "-");
    name.starts_with('-') && SECRET_OPTIONS.iter().any(|secret| name.ends_with(secret))
}

/// Whether a variable's name tells of a secret in its value.
pub(crate) fn is_secret_variable(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().chain(&SECRET_VARIABLES).any(|word| name.contains(word))
}

/// How a command that is one text is written as a list. `args`: where others have the arguments.
fn list_to_write(scalar: &Scalar, args: Option<&Cursor<'_>>) -> String {
    const PLAIN: &str = "write the program and each of its arguments as an item of one list";
    let text = &scalar.text;
    // What a shell would have made of these can't be told.
    let of_shell =
        |byte: u8| !(b' '..=b'~').contains(&byte) || b"'\"\\$`|&;<>(){}*?!".contains(&byte);
    if scalar.source.is_some() || text.len() > MAX_SPLIT || text.bytes().any(of_shell) {
        return PLAIN.to_owned();
    }
    let mut items: Vec<String> =
        text.split(' ').filter(|item| !item.is_empty()).map(item).collect();
    if items.is_empty() {
        return PLAIN.to_owned();
    }
    if args.is_some() {
        items.push("..".to_owned());
        let list = items.join(", ");
        return format!("write the program and what is in `args` as one list, `[{list}]`");
    }
    format!("write `[{}]`", items.join(", "))
}

/// An item of a list in one line of YAML.
fn item(text: &str) -> String {
    let simple = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=+~".contains(&byte);
    let typed = text.starts_with("0x")
        || text.starts_with("0o")
        || text.parse::<f64>().is_ok()
        || matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null" | "~" | "-");
    if text.bytes().all(simple) && !typed { text.to_owned() } else { format!("\"{text}\"") }
}

fn environment(reader: &mut Reader<'_>, at: &Cursor<'_>) -> BTreeMap<String, Secret> {
    let mut environment = BTreeMap::new();
    for (index, (name, at)) in reader.map(at).all().enumerate() {
        if index == MAX_VARIABLES {
            let hint = format!("there can be {MAX_VARIABLES}");
            reader.report.error(at.key, &at.path, "too many variables", hint);
            break;
        }
        if !is_variable_name(name) {
            let hint = "use letters, digits and `_`, and no digit first";
            reader.report.error(at.key, &at.path, "not the name of a variable", hint);
        } else if let Some(value) = text_or_secret(reader, &at, is_secret_variable(name)) {
            environment.insert(name.to_owned(), value);
        }
    }
    environment
}

/// A reference, or text. Text where a secret is to be expected counts as one.
fn text_or_secret(reader: &mut Reader<'_>, at: &Cursor<'_>, is_secret: bool) -> Option<Secret> {
    match providers::literal(at).filter(|_| !is_secret) {
        Some(text) if text.contains("${") => {
            reader.wrong(at, "`${` in a value, which nothing replaces", NOT_REPLACED);
            None
        }
        Some(text) => reader.resolved(at, SecretRef::Public(text.to_owned())),
        None => reader.secret(at),
    }
}

fn tools(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<BTreeSet<String>> {
    if at.is_empty_list() {
        reader.wrong(at, "no tools", "name at least one, or take it out for all of them");
        return None;
    }
    let mut tools = BTreeSet::new();
    let mut index = 0;
    reader.list(at, |reader, at| {
        index += 1;
        if index > MAX_TOOLS {
            if index == MAX_TOOLS + 1 {
                reader.wrong(at, "too many tools", format!("there can be {MAX_TOOLS}"));
            }
            return None;
        }
        let text = reader.text(at)?;
        if text.len() > MAX_TOOL || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let hint = format!(
                "write its name at the server: up to {MAX_TOOL} printable ASCII characters, no spaces"
            );
            reader.wrong(at, "not a tool's name", hint);
        } else if !tools.insert(text.to_owned()) {
            let message = format!("{} is there already", report::shorten(text));
            reader.wrong(at, message, "take it out");
        }
        Some(())
    })?;
    Some(tools)
}

/// `start`: how long a connection may take, where it is not said.
fn timeouts(reader: &mut Reader<'_>, at: &Cursor<'_>, start: Duration) -> Timeouts {
    let fields = reader.fields(at, &TIMEOUTS);
    let mut wait = |key| value(reader, Some(&fields), key, |reader, at| reader.duration(at, WAITS));
    Timeouts {
        connect: wait("connect").unwrap_or(start),
        call: wait("call").unwrap_or(CALL),
        list: wait("list").unwrap_or(LIST),
    }
}
