//! `sluicegate demo`: everything in one process, nothing to configure.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sluicegate_simulator::{Behaviour, Options, Simulator};

use super::{Run, serve};
use crate::app::Source;
use crate::config::Env;
use crate::server::Addresses;

const CONFIG: &str = include_str!("../../conf/demo.yaml");

/// Options of `demo`.
#[derive(Args)]
pub struct Demo {
    /// Where callers connect.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    #[command(flatten)]
    run: Run,
}

pub fn run(args: &Demo) -> ExitCode {
    // The provider has a runtime and a thread of its own, as it would have a machine of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("simulator")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return super::complain(error),
    };
    let options = Options {
        defaults: Behaviour {
            first_token_delay: Duration::from_millis(150),
            token_delay: Duration::from_millis(40),
            ..Behaviour::default()
        },
        ..Options::default()
    };
    let simulator = match runtime.block_on(Simulator::start(options)) {
        Ok(simulator) => simulator,
        Err(error) => return super::complain(format!("the simulated provider: {error}")),
    };
    let mut env = vec![
        ("SIMULATOR_URL".to_owned(), format!("http://{}", simulator.address())),
        ("SIMULATOR_KEY".to_owned(), "simulated".to_owned()),
        ("DEMO_ADDRESS".to_owned(), args.listen.to_string()),
    ];
    if args.listen.port() == 0 {
        // Whoever leaves one port to the system wants several demonstrations side by side.
        for name in ["DEMO_ADMIN_ADDRESS", "DEMO_METRICS_ADDRESS"] {
            env.push((name.to_owned(), "127.0.0.1:0".to_owned()));
        }
    }
    let env = Env::from_iter(env);
    let source = Source::Embedded { name: "conf/demo.yaml", text: CONFIG, env };
    serve::start(source, &args.run, greet)
}

fn greet(addresses: &Addresses) {
    let Addresses { proxy, admin, metrics } = addresses;
    eprintln!(
        r#"
Sluicegate listens on http://{proxy} before a simulated provider. Try it:

  curl -N http://{proxy}/v1/chat/completions \
    -H 'content-type: application/json' \
    -d '{{"model": "gpt-4o-mini", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

Tools of MCP servers are called by the same way in:

  curl http://{proxy}/mcp -H 'content-type: application/json' \
    -d '{{"jsonrpc": "2.0", "id": 1, "method": "tools/call",
         "params": {{"name": "simulated_add", "arguments": {{"a": 40, "b": 2}}}}}}'

Any OpenAI client works with base URL http://{proxy}/v1 and any key, any Anthropic client with
http://{proxy} and model claude-sonnet-4-5. Models: http://{proxy}/v1/models
Any MCP client works with http://{proxy}/mcp. Tools: http://{proxy}/mcp/tools
Admin: http://{admin}/admin/v1/config   Metrics: http://{metrics}/metrics
Ctrl-C stops it.
"#
    );
}
