//! `sluicegate-simulator`: the simulated provider as a program.

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use sluicegate_simulator::{
    Behaviour, Era, McpFault, McpSettings, Options, Simulator, serve_mcp_stdio,
};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

/// A simulated model provider: OpenAI's and Anthropic's APIs, faults on demand, its own ledger.
///
/// Prints its address on one line when it is ready; stops on SIGTERM or ctrl-c.
#[derive(Debug, Parser)]
#[command(name = "sluicegate-simulator", version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// Worker threads; 1 runs everything on one.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Milliseconds before the first token.
    #[arg(long)]
    first_token_ms: Option<u64>,
    /// Milliseconds before every further token.
    #[arg(long)]
    token_ms: Option<u64>,
    /// Tokens an answer.
    #[arg(long)]
    tokens: Option<u32>,
    /// Bytes of text a token.
    #[arg(long)]
    text_bytes: Option<u32>,
    /// Any other behaviour, as in the header `x-sim`: `fault=stall,after=3,comments=true`.
    #[arg(long, default_value = "")]
    behaviour: String,
    /// The only credential that is accepted; any, if not given.
    #[arg(long)]
    require_key: Option<String>,
    /// A model that `GET /v1/models` lists; may be repeated.
    #[arg(long = "model")]
    models: Vec<String>,
    /// Keep the newest requests for `GET /requests`.
    #[arg(long)]
    record_requests: bool,
    /// The only credential that `/mcp` takes; none is wanted, if not given.
    #[arg(long)]
    mcp_key: Option<String>,
    #[command(flatten)]
    mcp: McpArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do instead.
#[derive(Debug, Subcommand)]
enum Command {
    /// Be an MCP server over standard input and output.
    McpStdio {
        #[command(flatten)]
        mcp: McpArguments,
    },
}

/// How the MCP server behaves.
#[derive(Clone, Debug, Args)]
struct McpArguments {
    /// The protocol's era: 2025, 2026, or both.
    #[arg(long, default_value = "both")]
    era: Era,
    /// Tools a page of the list; 0 for all on one.
    #[arg(long, default_value_t = 0)]
    page_size: usize,
    /// Milliseconds that the list is good for.
    #[arg(long, default_value_t = 60_000)]
    list_ttl_ms: u64,
    /// A further tool of this name; may be repeated.
    #[arg(long = "tool")]
    tools: Vec<String>,
    /// What goes wrong: `fault=status,status=503,on=tools/list,times=1`.
    #[arg(long)]
    fault: Option<McpFault>,
}

impl McpArguments {
    fn settings(self, require_key: Option<String>) -> McpSettings {
        let tool = |name| serde_json::json!({ "name": name, "inputSchema": { "type": "object" } });
        McpSettings {
            era: self.era,
            page_size: self.page_size,
            list_ttl_ms: self.list_ttl_ms,
            extra_tools: self.tools.into_iter().map(tool).collect(),
            fault: self.fault,
            require_key,
            ..McpSettings::default()
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if let Some(Command::McpStdio { mcp }) = arguments.command.take() {
        return mcp_stdio(mcp);
    }
    let defaults = match behaviour(&arguments) {
        Ok(defaults) => defaults,
        Err(error) => {
            eprintln!("sluicegate-simulator: {error}");
            return ExitCode::from(64);
        }
    };
    match runtime(arguments.threads).and_then(|runtime| runtime.block_on(run(arguments, defaults)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluicegate-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn mcp_stdio(arguments: McpArguments) -> ExitCode {
    let served = runtime(1).and_then(|runtime| {
        let settings = arguments.settings(None);
        let code =
            runtime.block_on(serve_mcp_stdio(settings, tokio::io::stdin(), tokio::io::stdout()));
        // A read of standard input that nothing can interrupt may be under way.
        runtime.shutdown_background();
        code
    });
    match served {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("sluicegate-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn behaviour(arguments: &Arguments) -> Result<Behaviour, sluicegate_simulator::DirectiveError> {
    let flags = [
        ("first_token_ms", arguments.first_token_ms),
        ("token_ms", arguments.token_ms),
        ("tokens", arguments.tokens.map(u64::from)),
        ("text_bytes", arguments.text_bytes.map(u64::from)),
    ];
    let given = flags.iter().filter_map(|(key, value)| Some(format!("{key}={}", (*value)?)));
    let directives: Vec<String> = given.chain([arguments.behaviour.clone()]).collect();
    let mut behaviour = Behaviour::default();
    behaviour.apply(&directives.join(","))?;
    Ok(behaviour)
}

fn runtime(threads: usize) -> io::Result<Runtime> {
    match threads {
        0 | 1 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}

async fn run(arguments: Arguments, defaults: Behaviour) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut options = Options {
        address: arguments.listen,
        defaults,
        record_requests: arguments.record_requests,
        require_key: arguments.require_key,
        mcp: arguments.mcp.settings(arguments.mcp_key),
        ..Options::default()
    };
    if !arguments.models.is_empty() {
        options.models = arguments.models;
    }
    let simulator = Simulator::start(options).await?;
    writeln!(io::stdout(), "listening on http://{}", simulator.address())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.shutdown().await;
    Ok(())
}
