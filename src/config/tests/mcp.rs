//! `mcp`: which servers there are, how they are reached, and what must not be written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::config::valid::mcp::{HttpTransport, StdioTransport, Target, Timeouts, Transport};

const URL: &str = "url: https://mcp.test/mcp";

/// A file with one server. The text of the server begins in line 3, column 8.
fn with(target: &str) -> String {
    format!("mcp:\n  targets:\n    m: {{ {target} }}")
}

fn targets(text: &str) -> BTreeMap<String, Target> {
    loaded(&format!("{text}\nauth: {{ anonymous: true }}\n")).config.mcp.targets
}

fn target(text: &str) -> Target {
    targets(&with(text)).remove("m").unwrap()
}

fn http(target: &Target) -> &HttpTransport {
    match &target.transport {
        Transport::Http(http) => http,
        Transport::Stdio(_) => panic!("{target:?}"),
    }
}

fn stdio(target: &Target) -> &StdioTransport {
    match &target.transport {
        Transport::Stdio(stdio) => stdio,
        Transport::Http(_) => panic!("{target:?}"),
    }
}

/// Asserts that a server in an otherwise good file has exactly this problem.
#[track_caller]
fn wrong(target: &str, expected: &str) {
    let text = format!("{}\nauth: {{ anonymous: true }}\n", with(target));
    refused(&text, &format!("c.yaml:{expected}"));
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = loaded(&format!("{text}\nauth: {{ anonymous: true }}\n"));
    let warnings = loaded.warnings.iter().map(ToString::to_string);
    warnings.filter(|warning| warning.contains(": mcp.")).collect()
}

#[test]
fn a_url_or_a_command_is_enough() {
    assert!(loaded("auth: { anonymous: true }\n").config.mcp.targets.is_empty());
    assert!(targets("mcp:").is_empty() && targets("mcp: { targets: }").is_empty());
    let secs = Duration::from_secs;
    // A program may first have to be downloaded.
    for (text, connect) in [(URL, 10), ("command: [serve]", 60)] {
        let timeouts = Timeouts { connect: secs(connect), call: secs(50), list: secs(20) };
        let found = target(&format!("{text}, timeouts: {{ list: 20s }}"));
        assert_eq!(found.timeouts, timeouts, "{text}");
        let found = target(text);
        assert_eq!((found.name.as_str(), &found.tools), ("m", &None), "{text}");
        assert_eq!((&found.timeouts, found.list_ttl), (&timeouts, secs(300)), "{text}");
    }
    let found = target(URL);
    let found = http(&found);
    assert_eq!((found.url.path_prefix.as_str(), &found.auth), ("/mcp", &AuthStyle::Bearer));
    assert!(found.api_key.is_none() && found.headers.is_empty() && found.query.is_empty());
    assert!(found.ca.is_none() && found.client_certificate.is_none());
    let found = target("command: [serve]");
    let found = stdio(&found);
    assert_eq!(found.command, ["serve"]);
    assert!(found.environment.is_empty() && found.directory.is_none());
}

#[test]
fn everything_of_a_server_can_be_said_and_comes_through_a_dump() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "
auth: {{ anonymous: true }}
mcp:
  targets:
    github:
      url: https://API.mcp.test:8443/mcp/
      api_key: env:GITHUB_TOKEN
      auth: {{ header: x-api-key }}
      headers: {{ X-MCP-Toolsets: \"repos,issues\", x-other-key: \"env:OPENAI_API_KEY\" }}
      query: {{ read_only: true, \"a.b[]\": \"x y&z\", Token: \"env:XAI_API_KEY\" }}
      ca: Cargo.toml
      client_certificate: {{ certificate: Cargo.toml, key: Cargo.lock }}
      tools: [search_code, get_file_contents]
      timeouts: {{ connect: 1s, call: 1h, list: 1ms }}
      list_ttl: 24h
    brave-2:
      command: [npx, -y, \"@brave/brave-search-mcp-server\", --port, \"8080\", \"a b\"]
      environment: {{ BRAVE_API_KEY: \"env:BRAVE_API_KEY\", LEVEL: debug, PORT: 8080 }}
      directory: {}
",
        directory.path().display()
    );
    let first = loaded(&text);
    let github = &first.config.mcp.targets["github"];
    let found = http(github);
    assert_eq!(found.url.to_string(), "https://api.mcp.test:8443/mcp/");
    assert_eq!(found.auth, AuthStyle::Header(http::HeaderName::from_static("x-api-key")));
    let headers: Vec<_> = found
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.value.expose_secret()))
        .collect();
    assert_eq!(headers, [("x-mcp-toolsets", "repos,issues"), ("x-other-key", "sk-hidden-openai")]);
    let query: Vec<_> =
        found.query.iter().map(|(name, value)| (&name[..], value.value.expose_secret())).collect();
    assert_eq!(query, [("Token", "sk-hidden-xai"), ("a.b[]", "x y&z"), ("read_only", "true")]);
    assert_eq!(
        found.encoded_query().unwrap().expose_secret(),
        "Token=sk-hidden-xai&a.b%5B%5D=x+y%26z&read_only=true"
    );
    assert_eq!(found.ca, Some(PathBuf::from("Cargo.toml")));
    let pair = found.client_certificate.as_ref().unwrap();
    assert_eq!(
        (pair.certificate.to_str(), pair.key.to_str()),
        (Some("Cargo.toml"), Some("Cargo.lock"))
    );
    let tools = github.tools.clone().unwrap();
    assert_eq!(tools.into_iter().collect::<Vec<_>>(), ["get_file_contents", "search_code"]);
    assert_eq!(github.timeouts.call, Duration::from_secs(3600));
    // Their content is looked at like that of all others: `Cargo.toml` would not pass.
    assert_eq!(first.certificates.len(), 2);

    let brave = &first.config.mcp.targets["brave-2"];
    let found = stdio(brave);
    assert_eq!(found.command[2..], ["@brave/brave-search-mcp-server", "--port", "8080", "a b"]);
    assert_eq!(found.environment["BRAVE_API_KEY"].value.expose_secret(), "hidden-brave-key");
    assert_eq!(found.environment["PORT"].value.expose_secret(), "8080");
    assert_eq!(found.directory.as_deref(), Some(directory.path()));

    let dumped = dump(&first.config);
    let again = loaded(&dumped);
    assert_eq!(again.hash, first.hash, "{dumped}");
    assert_eq!(diff(&first.config, &again.config), []);
    let mirrored: raw::Config = serde_saphyr::from_str(&dumped).unwrap();
    assert_eq!(mirrored, effective::raw(&first.config));
    for shown in [
        "api_key: env:GITHUB_TOKEN",
        "Token: env:XAI_API_KEY",
        "BRAVE_API_KEY: env:BRAVE_API_KEY",
        "LEVEL: debug",
    ] {
        assert!(dumped.contains(shown), "{shown}\n{dumped}");
    }
    assert!(!shows_a_secret(&format!("{dumped}{first:?}")));
}

#[test]
fn names_end_before_the_first_underscore() {
    let longest = "a".repeat(32);
    for name in ["github", "a", "0", "my-server-2", &longest] {
        let text = format!("mcp: {{ targets: {{ \"{name}\": {{ {URL} }} }} }}");
        assert_eq!(targets(&text).keys().collect::<Vec<_>>(), [name]);
    }
    const HINT: &str = "not an MCP server's name; use up to 32 of `a` to `z`, `0` to `9` and `-`; in `name_tool`, the first `_` ends it";
    let too_long = "a".repeat(33);
    for (name, shown) in [
        ("GitHub", "GitHub"),
        ("git_hub", "git_hub"),
        ("git hub", "\"git hub\""),
        ("", "\"\""),
        (&too_long, &too_long),
    ] {
        refused(
            &format!("mcp: {{ targets: {{ \"{name}\": {{ {URL} }} }} }}"),
            &format!("c.yaml:1:19: mcp.targets.{shown}: {HINT}"),
        );
    }
    refused(
        &format!("mcp: {{ targets: {{ tools: {{ {URL} }} }} }}"),
        "c.yaml:1:19: mcp.targets.tools: the path `/mcp/tools` is the list of all tools already; call it something else",
    );
}

#[test]
fn a_server_is_reached_in_one_way() {
    for (text, expected) in [
        (
            "tools: [a]",
            "3:5: mcp.targets.m: neither `url` nor `command`; write `url: https://mcp.example.com/mcp`, or `command: [program, argument]`",
        ),
        (
            "url: https://a, command: [b]",
            "3:26: mcp.targets.m.command: `url` and `command` at once; keep one of them",
        ),
        (
            "command: [b], url: https://a",
            "3:24: mcp.targets.m.url: `url` and `command` at once; keep one of them",
        ),
        (
            "url: https://a, environment: { A: b }",
            "3:26: mcp.targets.m.environment: `environment` is of a `command`, not of a `url`; send it by `api_key` or `headers`",
        ),
        (
            "url: https://a, directory: /",
            "3:26: mcp.targets.m.directory: `directory` is of a `command`, not of a `url`; take it out",
        ),
        (
            "command: [a], api_key: \"env:GITHUB_TOKEN\"",
            "3:24: mcp.targets.m.api_key: `api_key` is of a `url`, not of a `command`; hand it over by `environment`",
        ),
        (
            "command: [a], auth: bearer",
            "3:24: mcp.targets.m.auth: `auth` is of a `url`, not of a `command`; take it out",
        ),
        (
            "command: [a], headers: { a: b }",
            "3:24: mcp.targets.m.headers: `headers` is of a `url`, not of a `command`; take it out",
        ),
        (
            "command: [a], query: { a: b }",
            "3:24: mcp.targets.m.query: `query` is of a `url`, not of a `command`; take it out",
        ),
        (
            "command: [a], ca: Cargo.toml",
            "3:24: mcp.targets.m.ca: `ca` is of a `url`, not of a `command`; take it out",
        ),
        (
            "command: [a], client_certificate: {}",
            "3:24: mcp.targets.m.client_certificate: `client_certificate` is of a `url`, not of a `command`; take it out",
        ),
        (
            "url: https://a, transport: sse",
            "3:26: mcp.targets.m.transport: unknown key; leave it out; `url` is streamable HTTP, `command` is standard input and output, and there is no third",
        ),
        (
            "command: [a], type: stdio",
            "3:24: mcp.targets.m.type: unknown key; leave it out; `url` is streamable HTTP, `command` is standard input and output, and there is no third",
        ),
    ] {
        wrong(text, expected);
    }
    refused(
        "mcp: { targets: { m: } }",
        "c.yaml:1:19: mcp.targets.m: neither `url` nor `command`; write `url: https://mcp.example.com/mcp`, or `command: [program, argument]`",
    );
    refused(
        "mcp: { targets: { m: npx } }",
        "c.yaml:1:22: mcp.targets.m: expected a mapping, found `npx`; indent its keys below it, or write `{ key: value }`",
    );
}

#[test]
fn what_others_call_the_keys() {
    for (old, new) in [
        ("endpoint", "url"),
        ("base_url", "url"),
        ("host", "url"),
        ("cmd", "command"),
        ("args", "command"),
        ("env", "environment"),
        ("cwd", "directory"),
        ("token", "api_key"),
        ("authentication_token", "api_key"),
        ("auth_type", "auth"),
        ("static_headers", "headers"),
        ("query_params", "query"),
        ("allowed_tools", "tools"),
        ("include-tools", "tools"),
        ("timeout", "timeouts"),
    ] {
        refused(
            &with(&format!("{URL}, {old}: x")),
            &format!("c.yaml:3:37: mcp.targets.m.{old}: unknown key; it is called `{new}` here"),
        );
    }
    refused(
        "mcp: { servers: {} }",
        "c.yaml:1:8: mcp.servers: unknown key; it is called `targets` here",
    );
    refused(
        &with(&format!("{URL}, timeouts: {{ total: 1s }}")),
        "c.yaml:3:49: mcp.targets.m.timeouts.total: unknown key; it is called `call` here",
    );
}

#[test]
fn a_url_is_an_endpoint_and_headers_are_the_configurations() {
    for (text, expected) in [
        (
            "url: mcp.test",
            "3:15: mcp.targets.m.url: `mcp.test` does not begin with http:// or https://; write it as in https://mcp.example.com/mcp",
        ),
        (
            "url: \"https://me:hidden@mcp.test\"",
            "3:15: mcp.targets.m.url: the URL has a user name or password in it; leave them out; credentials go to `api_key`",
        ),
        (
            "url: \"https://mcp.test/?key=hidden\"",
            "3:15: mcp.targets.m.url: the URL has a query or a fragment; leave it out, and write `query: { key: \"env:KEY\" }` beside `url`",
        ),
        (
            "url: \"https://mcp.test/mcp?project_ref=hidden&read_only=true&n=12&tavilyApiKey=hidden\"",
            "3:15: mcp.targets.m.url: the URL has a query or a fragment; leave it out, and write `query: { project_ref: \"..\", read_only: \"true\", n: \"12\", tavilyApiKey: \"env:TAVILYAPIKEY\" }` beside `url`",
        ),
        (
            "url: https://mcp.test/a//",
            "3:15: mcp.targets.m.url: `https://mcp.test/a//` has a path with characters or segments that a URL's path can't have; write it as in /mcp, without `..`, `//`, `%` or spaces",
        ),
        (
            "url: https://a, auth: { header: mcp-session-id }",
            "3:42: mcp.targets.m.auth.header: `mcp-session-id` is set by the gateway; name another header",
        ),
        (
            "url: https://a, headers: { Mcp-Protocol-Version: x }",
            "3:37: mcp.targets.m.headers.Mcp-Protocol-Version: `mcp-protocol-version` is set by the gateway; take it out",
        ),
        (
            "url: https://a, headers: { Accept: x }",
            "3:37: mcp.targets.m.headers.Accept: `accept` is set by the gateway; take it out",
        ),
        (
            "url: https://a, api_key: \"env:GITHUB_TOKEN\", headers: { Authorization: \"env:GITHUB_TOKEN\" }",
            "3:66: mcp.targets.m.headers.Authorization: `authorization` carries `api_key` already; take it out",
        ),
        (
            "url: https://a, api_key: \"env:NONE\"",
            "3:35: mcp.targets.m.api_key: environment variable NONE is not set; set it before the start",
        ),
        (
            "url: http://a, ca: Cargo.toml",
            "3:29: mcp.targets.m.ca: `ca` without TLS; use an https:// `url`, or take it out",
        ),
        (
            "url: http://a, client_certificate: { certificate: Cargo.toml, key: Cargo.toml }",
            "3:45: mcp.targets.m.client_certificate: `client_certificate` without TLS; use an https:// `url`, or take it out",
        ),
    ] {
        wrong(text, expected);
    }
    let own = target("url: https://a, headers: { Authorization: \"env:GITHUB_TOKEN\" }");
    assert_eq!(http(&own).headers[0].0, "authorization");
}

#[test]
fn a_query_that_can_t_be_written_out_is_not_shown() {
    for query in
        ["hidden", "a=1&hidden", "a=1&a=2", "hidden%20=1", "#hidden", "a=1#hidden", "=1", ""]
    {
        let expected = "3:15: mcp.targets.m.url: the URL has a query or a fragment; leave out what begins with `?` or `#`; what a query says goes to `query`, credentials to `api_key` or `headers`";
        wrong(&format!("url: \"https://mcp.test/?{query}\""), expected);
    }
}

#[test]
fn a_query_has_parameters_whose_secrets_are_references() {
    const NAME: &str =
        "not a parameter's name; use up to 64 printable ASCII characters, no spaces; not encoded";
    let longest = "a".repeat(64);
    let too_long = "a".repeat(65);
    assert_eq!(http(&target(&format!("{URL}, query: {{ {longest}: b }}"))).query[0].0, longest);
    for (query, column, expected) in [
        ("\"\": b", 46, format!(".\"\": {NAME}")),
        ("\"a b\": c", 46, format!(".\"a b\": {NAME}")),
        (&format!("{too_long}: b"), 46, format!(".{too_long}: {NAME}")),
        (
            "a: \"env:NONE\"",
            49,
            ".a: environment variable NONE is not set; set it before the start".to_owned(),
        ),
        (
            "a: \"${B}\"",
            49,
            ".a: `${` in a value, which nothing replaces; leave the quotes out for a variable of the gateway's, on a line of its own".to_owned(),
        ),
        (
            &format!("a: {}", "x".repeat(7 * 1024 - 1)),
            44,
            ": a longer query than there can be; there can be 7168 bytes, encoded".to_owned(),
        ),
    ] {
        refused(
            &with(&format!("{URL}, query: {{ {query} }}")),
            &format!("c.yaml:3:{column}: mcp.targets.m.query{expected}"),
        );
    }
    let full = format!("{URL}, query: {{ a: {} }}", "x".repeat(7 * 1024 - 2));
    assert!(http(&target(&full)).encoded_query().is_some());
    let written = |name: &str| with(&format!("{URL}, query: {{ {name}: hidden }}"));
    for name in ["exaApiKey", "TOKEN", "client_secret"] {
        let place = format!("c.yaml:3:{}: mcp.targets.m.query.{name}", 48 + name.len());
        refused_in_production(
            &written(name),
            &format!(
                "{place}: a secret in the file itself is refused in production; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`"
            ),
        );
        let config = loaded(&format!("{}\nauth: {{ anonymous: true }}\n", written(name))).config;
        assert!(!shows_a_secret(&format!("{}{config:?}", dump(&config))), "{name}");
    }
    assert_eq!(warnings(&with(&format!("{URL}, query: {{ read_only: true, n: 1 }}"))), [""; 0]);
}

#[test]
fn a_command_is_a_list_that_no_shell_reads() {
    let one_text = |text: &str, hint: &str| {
        let shown = text.trim_matches('"');
        refused(
            &with(&format!("command: {text}")),
            &format!(
                "c.yaml:3:19: mcp.targets.m.command: expected a list, found `{shown}`; {hint}"
            ),
        );
    };
    one_text("npx -y @x/y --port 80 true", "write `[npx, -y, \"@x/y\", --port, \"80\", \"true\"]`");
    one_text("npx", "write `[npx]`");
    const PLAIN: &str = "write the program and each of its arguments as an item of one list";
    one_text("sh -c 'a b'", PLAIN);
    one_text("a|b", PLAIN);
    let both = problems(&format!(
        "{}\nauth: {{ anonymous: true }}\n",
        with("command: npx, args: [-y, x]")
    ));
    assert_eq!(
        both,
        [
            "c.yaml:3:19: mcp.targets.m.command: expected a list, found `npx`; write the program and what is in `args` as one list, `[npx, ..]`",
            "c.yaml:3:24: mcp.targets.m.args: unknown key; it is called `command` here",
        ]
    );
    for (text, column, expected) in [
        ("[]", 19, ": no program; write the program, then its arguments"),
        ("[\"\"]", 20, "[0]: is empty"),
        (
            "[bin/serve]",
            20,
            "[0]: a program's path that is relative; write the whole path, or a name that is on `PATH`",
        ),
        ("[a, 80]", 23, "[1]: expected text, found `80`; put it in quotes: \"80\""),
        ("[a, \"b\\0\"]", 23, "[1]: a zero byte, which no argument can have; take it out"),
        (
            "[a, \"${B}\"]",
            23,
            "[1]: `${` in an argument, which nothing replaces; leave the quotes out for a variable of the gateway's, on a line of its own",
        ),
        (
            "[a, --key, \"env:BRAVE_API_KEY\"]",
            30,
            "[2]: a reference to a secret, which no argument can be; others can see arguments; hand it over by `environment`",
        ),
    ] {
        refused(
            &with(&format!("command: {text}")),
            &format!("c.yaml:3:{column}: mcp.targets.m.command{expected}"),
        );
    }
    refused(
        &with("command: [a], directory: /nowhere"),
        "c.yaml:3:35: mcp.targets.m.directory: `/nowhere` can't be read: No such file or directory (os error 2)",
    );
    assert_eq!(stdio(&target("command: [/usr/bin/serve, ./data]")).command.len(), 2);
}

#[test]
fn a_secret_among_the_arguments_is_told_of_and_not_shown() {
    for (arguments, place) in [
        ("--brave-api-key, hidden", "3:40: mcp.targets.m.command[2]"),
        ("--token=hidden", "3:23: mcp.targets.m.command[1]"),
    ] {
        assert_eq!(
            warnings(&with(&format!("command: [a, {arguments}]"))),
            [format!(
                "c.yaml:{place}: an argument that may be a secret, which others can see; hand it over by `environment`"
            )]
        );
    }
    for arguments in ["--max-tokens, \"5\"", "--token, --verbose", "--token-file, /a", "token, b"] {
        assert_eq!(warnings(&with(&format!("command: [a, {arguments}]"))), [""; 0], "{arguments}");
    }
}

#[test]
fn variables_have_names_and_their_secrets_are_references() {
    for (variables, column, expected) in [
        (
            "1A: b",
            39,
            ".1A: not the name of a variable; use letters, digits and `_`, and no digit first",
        ),
        (
            "A-B: c",
            39,
            ".A-B: not the name of a variable; use letters, digits and `_`, and no digit first",
        ),
        (
            "A: \"env:NONE\"",
            42,
            ".A: environment variable NONE is not set; set it before the start",
        ),
        (
            "A: \"${B}\"",
            42,
            ".A: `${` in a value, which nothing replaces; leave the quotes out for a variable of the gateway's, on a line of its own",
        ),
    ] {
        refused(
            &with(&format!("command: [a], environment: {{ {variables} }}")),
            &format!("c.yaml:3:{column}: mcp.targets.m.environment{expected}"),
        );
    }
    let written = |name: &str| with(&format!("command: [a], environment: {{ {name}: hidden }}"));
    for name in ["BRAVE_API_KEY", "GITHUB_TOKEN", "DB_PASS", "PGPASSWORD", "DATABASE_URL", "auth"] {
        let column = 41 + name.len();
        let place = format!("c.yaml:3:{column}: mcp.targets.m.environment.{name}");
        refused_in_production(
            &written(name),
            &format!(
                "{place}: a secret in the file itself is refused in production; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`"
            ),
        );
        assert_eq!(
            warnings(&written(name)),
            [format!(
                "{place}: a secret in the file itself; production refuses it; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`"
            )]
        );
        let config = loaded(&format!("{}\nauth: {{ anonymous: true }}\n", written(name))).config;
        assert!(!shows_a_secret(&format!("{}{config:?}", dump(&config))), "{name}");
    }
    assert_eq!(warnings(&with("command: [a], environment: { LEVEL: debug, PORT: 1 }")), [""; 0]);
}

#[test]
fn production_refuses_plain_http_and_written_secrets_and_takes_commands() {
    refused_in_production(
        &with("url: http://mcp.test/mcp"),
        "c.yaml:3:15: mcp.targets.m.url: plain http to another host is refused in production; use https://",
    );
    refused_in_production(
        &with(&format!("{URL}, api_key: hidden")),
        "c.yaml:3:46: mcp.targets.m.api_key: a secret in the file itself is refused in production; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`",
    );
    refused_in_production(
        &with(&format!("{URL}, headers: {{ x-my-token: hidden }}")),
        "c.yaml:3:60: mcp.targets.m.headers.x-my-token: a secret in the file itself is refused in production; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`",
    );
    let strict = "environment: production\nadmin: { master_key: \"env:SLUICEGATE_MASTER_KEY\" }\n";
    for text in [
        "url: http://127.0.0.1:1/mcp",
        "command: [serve], environment: { LEVEL: debug, A_KEY: \"env:BRAVE_API_KEY\" }",
    ] {
        assert_eq!(problems(&format!("{strict}{}", with(text))), [""; 0], "{text}");
    }
}

#[test]
fn tools_and_times_have_bounds() {
    for (text, expected) in [
        (
            "tools: []",
            "3:44: mcp.targets.m.tools: no tools; name at least one, or take it out for all of them",
        ),
        ("tools: [a, b, a]", "3:51: mcp.targets.m.tools[2]: `a` is there already; take it out"),
        (
            "tools: [\"a b\"]",
            "3:45: mcp.targets.m.tools[0]: not a tool's name; write its name at the server: up to 128 printable ASCII characters, no spaces",
        ),
        ("list_ttl: 2d", "3:47: mcp.targets.m.list_ttl: `2d` is out of range; it can be 1s to 24h"),
        (
            "list_ttl: 999ms",
            "3:47: mcp.targets.m.list_ttl: `999ms` is out of range; it can be 1s to 24h",
        ),
        (
            "timeouts: { call: 61m }",
            "3:55: mcp.targets.m.timeouts.call: `61m` is out of range; it can be 1ms to 1h",
        ),
        (
            "timeouts: { connect: 0s }",
            "3:58: mcp.targets.m.timeouts.connect: `0s` is out of range; it can be 1ms to 1h",
        ),
        (
            "timeouts: { list: 0s }",
            "3:55: mcp.targets.m.timeouts.list: `0s` is out of range; it can be 1ms to 1h",
        ),
    ] {
        refused(&with(&format!("{URL}, {text}")), &format!("c.yaml:{expected}"));
    }
}

#[test]
fn there_are_so_many_and_no_more() {
    let list = |count: usize| (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>();
    let tools = |count: usize| with(&format!("{URL}, tools: [{}]", list(count).join(", ")));
    let arguments = |count: usize| with(&format!("command: [{}]", list(1 + count).join(", ")));
    let variables = |count| {
        let all: Vec<_> = list(count).iter().map(|name| format!("{name}: x")).collect();
        with(&format!("command: [a], environment: {{ {} }}", all.join(", ")))
    };
    let parameters = |count| {
        let all: Vec<_> = list(count).iter().map(|name| format!("{name}: x")).collect();
        with(&format!("{URL}, query: {{ {} }}", all.join(", ")))
    };
    let servers = |count| {
        let all: Vec<_> = list(count).iter().map(|name| format!("{name}: {{ {URL} }}")).collect();
        format!("mcp: {{ targets: {{ {} }} }}", all.join(", "))
    };
    let longest = |bytes: usize| with(&format!("command: [a, {}]", "x".repeat(bytes)));
    for text in
        [tools(512), arguments(64), variables(64), parameters(64), servers(64), longest(16_384)]
    {
        assert_eq!(problems(&format!("{text}\nauth: {{ anonymous: true }}\n")), [""; 0]);
    }
    for (text, expected) in [
        (tools(514), "mcp.targets.m.tools[512]: too many tools; there can be 512"),
        (arguments(66), "mcp.targets.m.command[65]: too many arguments; there can be 64"),
        (variables(66), "mcp.targets.m.environment.t64: too many variables; there can be 64"),
        (parameters(66), "mcp.targets.m.query.t64: too many parameters; there can be 64"),
        (servers(66), "mcp.targets.t64: too many MCP servers; there can be 64"),
        (
            longest(16_385),
            "mcp.targets.m.command[1]: a longer argument than there can be; put it into a file",
        ),
    ] {
        let found = problems(&format!("{text}\nauth: {{ anonymous: true }}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with(expected), "{found:?}");
    }
}

#[test]
fn every_change_is_live_and_another_value_of_a_secret_is_one() {
    let text = format!(
        "auth: {{ anonymous: true }}\nmcp:\n  targets:\n    git: {{ {URL}, api_key: \"env:GITHUB_TOKEN\", headers: {{ x-k: \"env:XAI_API_KEY\" }}, query: {{ k: \"env:OPENAI_API_KEY\" }} }}\n    \
         brave: {{ command: [a], environment: {{ BRAVE_API_KEY: \"env:BRAVE_API_KEY\" }} }}\n"
    );
    let a = loaded(&text).config;
    for (variable, path) in [
        ("GITHUB_TOKEN", "mcp.targets.git.api_key"),
        ("XAI_API_KEY", "mcp.targets.git.headers.x-k"),
        ("OPENAI_API_KEY", "mcp.targets.git.query.k"),
        ("BRAVE_API_KEY", "mcp.targets.brave.environment.BRAVE_API_KEY"),
    ] {
        let b = load_with(&text, &env_with(variable, "hidden-other")).unwrap().config;
        let changes = diff(&a, &b);
        let expected = format!("{path}: \"env:{variable}\" -> \"env:{variable}\" (another value)");
        assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
    let b = loaded(&text.replace("https://mcp.test/mcp", "https://mcp.test/mcp/")).config;
    assert_eq!(
        diff(&a, &b)[0].to_string(),
        "mcp.targets.git.url: \"https://mcp.test/mcp\" -> \"https://mcp.test/mcp/\""
    );
    let without = loaded("auth: { anonymous: true }\n").config;
    let changes = diff(&a, &without);
    assert_eq!(
        (changes.len(), changes[0].path.as_str(), changes[0].effect),
        (1, "mcp", Effect::Live)
    );
    let paths: Vec<_> = secrets_of(&a).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        [
            "mcp.targets.brave.environment.BRAVE_API_KEY",
            "mcp.targets.git.api_key",
            "mcp.targets.git.headers.x-k",
            "mcp.targets.git.query.k"
        ]
    );
}

#[test]
fn the_example_has_a_server_of_each_kind() {
    for text in [MCP, PRODUCTION] {
        let targets = loaded(text).config.mcp.targets;
        assert_eq!(targets.keys().collect::<Vec<_>>(), ["brave", "github"]);
        let github = http(&targets["github"]);
        assert_eq!(github.url.to_string(), "https://api.githubcopilot.com/mcp/");
        assert!(github.api_key.is_some());
        let brave = stdio(&targets["brave"]);
        assert!(!brave.environment["BRAVE_API_KEY"].reference.is_literal());
    }
}

#[test]
fn the_endpoint_of_tools_can_have_a_limit_of_its_own() {
    let text = "limits: { routes: { /mcp: { request_size: 2MiB } } }\nauth: { anonymous: true }\n";
    assert_eq!(loaded(text).config.limits.routes["/mcp"].request_size, 2 << 20);
}

proptest! {
    #[test]
    fn what_loads_of_a_server_comes_through_a_dump(
        name in "[a-z0-9-]{1,8}",
        arguments in proptest::collection::vec("\\PC{1,12}", 0..4),
        value in "\\PC{0,12}",
        path in "(/[a-z]{1,3}){0,2}/{0,2}",
        parameter in "[!-~]{1,8}",
    ) {
        let quoted = |text: &String| serde_json::to_string(text).unwrap();
        let list: Vec<_> = arguments.iter().map(quoted).collect();
        for target in [
            format!("{{ command: [serve, {}], environment: {{ A: {} }} }}", list.join(", "), quoted(&value)),
            format!("{{ url: \"https://a{path}\", headers: {{ x-a: {} }} }}", quoted(&value.replace("${", ""))),
            format!("{{ url: \"https://a{path}\", query: {{ {}: {} }} }}", quoted(&parameter), quoted(&value)),
        ] {
            let text = format!("auth: {{ anonymous: true }}\nmcp: {{ targets: {{ \"{name}\": {target} }} }}\n");
            if let Ok(first) = load_with(&text, &env()) {
                let dumped = dump(&first.config);
                let again = load_with(&dumped, &env());
                prop_assert_eq!(again.map(|again| again.hash), Ok(first.hash), "{}", dumped);
            }
        }
    }
}
