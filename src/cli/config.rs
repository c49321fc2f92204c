//! `sluicegate config`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::complain;
use crate::config::{self, Effect, Env, Loaded, Problems, load_file};

/// What to show.
#[derive(Subcommand)]
pub enum Config {
    /// The JSON schema of configuration files, for editors.
    Schema,
    /// The effective configuration: defaults filled in, secrets as references.
    Dump(Dump),
    /// What reloading from one file to another would change, and when.
    Diff(Diff),
}

/// Options of `config dump`.
#[derive(Args)]
pub struct Dump {
    /// The configuration file.
    #[arg(long, short, env = "SLUICEGATE_CONFIG", default_value = "conf/sluicegate.yaml")]
    config: PathBuf,
}

/// Options of `config diff`.
#[derive(Args)]
pub struct Diff {
    /// The file in force.
    a: PathBuf,
    /// The file to come.
    b: PathBuf,
}

pub fn run(command: &Config) -> ExitCode {
    let text = match command {
        Config::Schema => Ok(format!("{:#}\n", config::schema())),
        Config::Dump(args) => load(&args.config).map(|loaded| config::dump(&loaded.config)),
        Config::Diff(args) => load(&args.a).and_then(|a| Ok(changes(&a, &load(&args.b)?))),
    };
    match text {
        Ok(text) => match std::io::stdout().lock().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(problems) => complain(problems),
    }
}

fn load(path: &Path) -> Result<Loaded, Problems> {
    let loaded = load_file(path, &Env::from_process())?;
    loaded.close();
    Ok(loaded)
}

fn changes(a: &Loaded, b: &Loaded) -> String {
    let mut text = String::new();
    for change in config::diff(&a.config, &b.config) {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "(absent)".to_owned());
        let effect = match change.effect {
            Effect::Live => "on reload",
            Effect::InPart => "on reload; HTTP/2: on restart",
            Effect::Restart => "on restart",
        };
        let (from, to) = (show(&change.from), show(&change.to));
        text += &format!("{}: {from} -> {to}  [{effect}]\n", change.path);
    }
    if text.is_empty() {
        text += "no difference\n";
    }
    text
}
