//! `sluicegate jwt`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sluicegate_filters::identify::jwt::{
    Algorithm, Issuer, JwtError, KeySet, MAX_BYTES, Verified, Verifier,
};
use sluicegate_filters::{Bearer, Claim};

use super::complain;
use crate::config::{Env, load_file};
use crate::identity::jwks::{IssuerKeys, KeySets, Timing};

/// Bytes that are read for a token: more than any that is accepted.
const MAX_TOKEN: u64 = 64 * 1024;

/// What to do with a token.
#[derive(Subcommand)]
pub enum Jwt {
    /// Verify a token, and print its claims and the caller that it stands for. Exit code 1: the
    /// token is refused, and standard error says why.
    Verify(Verify),
}

/// Options of `jwt verify`. Either a configuration's issuers, or one issuer and its keys as a file.
#[derive(Args)]
pub struct Verify {
    /// Take the issuers of this configuration, and fetch their keys.
    #[arg(long, short, conflicts_with_all = ["jwks", "issuer", "audience", "algorithm"])]
    config: Option<PathBuf>,
    /// The issuer's key set.
    #[arg(long, required_unless_present = "config")]
    jwks: Option<PathBuf>,
    /// The issuer's name: the token's `iss`.
    #[arg(long, required_unless_present = "config")]
    issuer: Option<String>,
    /// What the token's `aud` must name one of.
    #[arg(long, required_unless_present = "config")]
    audience: Vec<String>,
    /// What the token may be signed with. Default: RS256, ES256, EdDSA.
    #[arg(long, value_parser = algorithm)]
    algorithm: Vec<Algorithm>,
    /// Verify as at this time, in seconds since 1970 or as in 2026-01-02T03:04:05Z. Default: now.
    #[arg(long, value_parser = time)]
    at: Option<Timestamp>,
    /// The token; `-` or nothing for standard input, where other users don't see it.
    token: Option<String>,
}

pub fn run(command: &Jwt) -> ExitCode {
    let Jwt::Verify(args) = command;
    let outcome = read_token(args.token.as_deref()).and_then(|token| {
        let now = args.at.unwrap_or_else(Timestamp::now).as_millisecond();
        match &args.config {
            Some(path) => by_config(path, token.as_bytes(), now),
            None => by_file(args, token.as_bytes(), now),
        }
    });
    match outcome {
        Ok(Judged { result: Ok((verified, claims)), verifier, .. }) => {
            let shown = format!("{:#}\n", shown(&verified, claims, &verifier));
            match std::io::stdout().lock().write_all(shown.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Ok(Judged { result: Err(error), notes, .. }) => {
            eprintln!("{error}");
            for note in notes {
                eprintln!("note: {note}");
            }
            ExitCode::FAILURE
        }
        Err(message) => complain(message),
    }
}

/// What became of a token, and what may explain it.
struct Judged {
    result: Result<(Verified, Map<String, Value>), JwtError>,
    verifier: Verifier,
    notes: Vec<String>,
}

fn by_file(args: &Verify, token: &[u8], now: i64) -> Result<Judged, String> {
    let (Some(path), Some(issuer)) = (&args.jwks, &args.issuer) else {
        return Err("give --jwks, --issuer and --audience, or --config".to_owned());
    };
    let mut rules = Issuer::new(issuer.clone(), "");
    rules.audience.clone_from(&args.audience);
    if !args.algorithm.is_empty() {
        rules.algorithms.clone_from(&args.algorithm);
    }
    let named = |error: &dyn ToString| format!("{}: {}", path.display(), error.to_string());
    let document = read_file(path).map_err(|error| named(&error))?;
    let keys = KeySet::parse(&document, &rules.algorithms).map_err(|error| named(&error))?;
    let verifier = Verifier::new(vec![rules]).map_err(|error| error.to_string())?;
    let keys = Arc::new(keys);
    let result = verifier.inspect(token, &|_| Some(keys.clone()), now);
    let unknown = matches!(result, Err(JwtError::UnknownKey { .. }));
    let notes = if unknown { notes(&keys) } else { Vec::new() };
    Ok(Judged { result, verifier, notes })
}

fn by_config(path: &Path, token: &[u8], now: i64) -> Result<Judged, String> {
    let loaded = load_file(path, &Env::from_process()).map_err(|problems| problems.to_string())?;
    loaded.close();
    let issuers = loaded.config.auth.jwt;
    if issuers.is_empty() {
        return Err(format!("{}: there is no issuer in `auth.jwt`", path.display()));
    }
    let rules = issuers.iter().map(|issuer| issuer.rules.clone()).collect();
    let verifier = Verifier::new(rules).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let sets = KeySets::new(runtime.handle().clone(), Timing::default());
    let keys = sets.select(&issuers).map_err(|error| error.to_string())?;
    let verify = || verifier.inspect(token, &|issuer| keys.current(issuer), now);
    let mut result = verify();
    if let Some(issuer) = result.as_ref().err().and_then(JwtError::worth_refetching) {
        runtime.block_on(keys.refetch(issuer));
        result = verify();
    }
    let notes = fetch_notes(&result, &keys);
    // Other issuers may still be waited for; nobody needs their keys.
    runtime.shutdown_background();
    Ok(Judged { result, verifier, notes })
}

/// What was in the way of an issuer's keys, or is the matter with them.
fn fetch_notes<T>(result: &Result<T, JwtError>, keys: &IssuerKeys) -> Vec<String> {
    let issuer = match result {
        Err(JwtError::KeysUnavailable { issuer } | JwtError::UnknownKey { issuer, .. }) => *issuer,
        _ => return Vec::new(),
    };
    let failure = keys.status().into_iter().nth(issuer).and_then(|status| status.last_error);
    let skipped = keys.current(issuer).map(|keys| notes(&keys)).unwrap_or_default();
    failure.into_iter().chain(skipped).collect()
}

fn notes(keys: &KeySet) -> Vec<String> {
    let skipped = keys.skipped().iter().map(|key| match &key.kid {
        Some(kid) => format!("the key {kid:?} can't be used: {}", key.reason),
        None => format!("a key without `kid` can't be used: {}", key.reason),
    });
    let count = format!("keys of the issuer that can be used: {}", keys.len());
    std::iter::once(count).chain(skipped).collect()
}

fn shown(verified: &Verified, claims: Map<String, Value>, verifier: &Verifier) -> Value {
    let issuer = verifier.issuers().get(verified.issuer).map(|issuer| &issuer.issuer);
    let until = Timestamp::from_millisecond(verified.until_ms).ok();
    let Bearer { user, team, organization, roles, tags, claims: exposed, .. } = &verified.bearer;
    let exposed: Map<_, _> =
        exposed.iter().map(|(name, claim)| (name.clone(), claim_shown(claim))).collect();
    json!({
        "issuer": issuer,
        "valid_until": until.map(|until| until.to_string()),
        "caller": {
            "user": user,
            "team": team,
            "organization": organization,
            "roles": roles,
            "tags": tags,
            "claims": exposed,
        },
        "claims": claims,
    })
}

fn claim_shown(claim: &Claim) -> Value {
    match claim {
        Claim::Text(text) => json!(text),
        Claim::Number(number) => json!(number),
        Claim::Flag(flag) => json!(flag),
        Claim::Texts(texts) => json!(texts),
    }
}

fn read_token(argument: Option<&str>) -> Result<String, String> {
    let token = match argument {
        Some(token) if token != "-" => token.to_owned(),
        _ => {
            let mut token = String::new();
            let read = std::io::stdin().lock().take(MAX_TOKEN).read_to_string(&mut token);
            read.map_err(|error| format!("standard input: {error}"))?;
            token
        }
    };
    match token.trim() {
        "" => Err("no token was given".to_owned()),
        token => Ok(token.to_owned()),
    }
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut document = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut document)?;
    Ok(document)
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let names = Algorithm::NAMES.map(|(name, _)| name).join(", ");
    Algorithm::from_name(name).ok_or_else(|| format!("it can be {names}"))
}

fn time(text: &str) -> Result<Timestamp, String> {
    let parsed = match text.parse() {
        Ok(seconds) => Timestamp::from_second(seconds),
        Err(_) => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}
