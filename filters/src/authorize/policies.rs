//! Policies as they are written, checked against the schema.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    Policy, PolicyId, PolicySet, Schema, ValidationMode, ValidationWarning, Validator,
};
use sha2::{Digest, Sha256};

use super::condition::{self, Condition, Terms};
use super::decision::{Effect, PolicyInfo};
use super::problem::{MAX_PROBLEMS, Problem, problem, tidy, told};
use super::schema;
use super::scope::Scope;
use super::split::{Lines, Piece, split};
use super::uses::{self, Uses};

/// Bytes of all files together, at most.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Policies of all files together, at most.
pub const MAX_POLICIES: usize = 5000;
/// The stack on which policies are read, in bytes: without optimization Cedar needs up to 50 KiB for
/// an operator. The system gives only what is touched.
const STACK: usize = 64 << 20;
/// Characters of an `@id`, at most: it stands in answers and in every line of the audit log.
const MAX_ID: usize = 128;
/// How many entities a policy may go through, as in `principal.key.team`. What matters is that there
/// is a limit: only then does Cedar refuse to look into entities that no request leads to, and those
/// are not there when a policy is evaluated.
const MAX_STEPS: u32 = 8;
const CLAIMS_ARE_TAGS: &str = "claims are tags, each a set: principal.hasTag(\"department\") && \
                               principal.getTag(\"department\").contains(\"research\")";

/// A file of policies, or the schema.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// As it is to be shown in problems and explanations.
    pub file: &'a str,
    pub text: &'a str,
}

/// A set of policies that are valid under a schema which describes what the gateway asks.
#[derive(Clone)]
pub struct Policies {
    pub(super) rules: Arc<[Rule]>,
    /// What the conditions of the rules consist of.
    pub(super) terms: Arc<Terms>,
    pub(super) schema: Arc<Schema>,
    version: Arc<str>,
    warnings: Arc<[Problem]>,
    look_at_cost: bool,
}

/// One policy, with what is known of it before any request.
pub(super) struct Rule {
    pub(super) scope: Scope,
    /// What must hold for whoever its scope lets in; nothing, if that is all it asks.
    pub(super) condition: Option<Condition>,
    pub(super) info: Arc<PolicyInfo>,
    /// What of a request it looks at.
    pub(super) uses: Uses,
}

impl Policies {
    /// Reads policies from `files`. Without a `schema` the built-in one holds.
    ///
    /// # Errors
    ///
    /// All that is wrong, at most 200 problems, in the order of the files: a schema that does not
    /// describe what the gateway asks, text that is not Cedar, policies that are not valid under the
    /// schema, an `@id` that is used twice, too much of anything.
    pub fn parse(files: &[Source<'_>], schema: Option<Source<'_>>) -> Result<Self, Vec<Problem>> {
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().name("policies".to_owned()).stack_size(STACK);
            let reading = reader.spawn_scoped(scope, || Self::read(files, schema));
            let failure = |reason: String| {
                let file = files.first().map_or("policies", |source| source.file).to_owned();
                let message = format!("the policies could not be read: {reason}");
                vec![Problem { file, line: 1, column: 1, message, help: None }]
            };
            let reading = reading.map_err(|error| failure(error.to_string()))?;
            reading.join().unwrap_or_else(|_| Err(failure("the reader gave up".to_owned())))
        })
    }

    fn read(files: &[Source<'_>], schema: Option<Source<'_>>) -> Result<Self, Vec<Problem>> {
        let mut reading = Reading::default();
        reading.read(files);
        let text = schema.map_or(schema::BUILT_IN, |schema| schema.text);
        let schema = match schema {
            None => schema::built_in(),
            Some(schema) => match schema::custom(schema) {
                Ok(schema) => schema,
                Err(problems) => {
                    // What the policies have against a schema that can't be would only distract.
                    reading.problems.extend(problems);
                    return Err(tidy(reading.problems));
                }
            },
        };
        reading.validate(&schema);
        if !reading.problems.is_empty() {
            return Err(tidy(reading.problems));
        }
        let mut conditions = condition::Builder::default();
        let rules = reading.found.into_iter().map(|found| found.into_rule(&mut conditions));
        let rules: Arc<[Rule]> = rules.collect();
        Ok(Self {
            look_at_cost: rules.iter().any(|rule| rule.uses.contains(Uses::ESTIMATED_COST)),
            rules,
            terms: Arc::new(conditions.finish()),
            schema,
            version: version(files, text),
            warnings: tidy(reading.warnings).into(),
        })
    }

    /// A digest of the schema and of all files' names and texts, 16 hexadecimal digits: the same
    /// policies have the same version everywhere.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What is valid and yet hardly meant, such as a policy that can never apply.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Whether any of them looks at what a request may cost.
    pub fn look_at_cost(&self) -> bool {
        self.look_at_cost
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All policies, in the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = &PolicyInfo> {
        self.rules.iter().map(|rule| &*rule.info)
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies")
            .field("version", &self.version)
            .field("policies", &self.rules.len())
            .finish_non_exhaustive()
    }
}

/// The policies of one load, as far as they have been read.
#[derive(Default)]
struct Reading<'a> {
    found: Vec<Found<'a>>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// A policy and where it stands.
struct Found<'a> {
    policy: Policy,
    info: PolicyInfo,
    file: &'a str,
    lines: Arc<Lines<'a>>,
    /// Where its text begins in its file.
    offset: usize,
}

impl<'a> Reading<'a> {
    fn read(&mut self, files: &[Source<'a>]) {
        // Counted before anything is tried, as that is what takes time.
        let (mut bytes, mut count, mut all) = (0, 0, Vec::new());
        for source in files {
            let lines = Arc::new(Lines::new(source.text));
            bytes += source.text.len();
            let pieces = if bytes > MAX_BYTES { Vec::new() } else { split(source.text) };
            count += pieces.len();
            let message = if bytes > MAX_BYTES {
                "the policies are longer than 4 MiB together"
            } else if count > MAX_POLICIES {
                "there are more than 5000 policies"
            } else {
                all.push((source.file, lines, pieces));
                continue;
            };
            return self.problems.push(problem(source.file, &lines, 0, message, None));
        }
        for (file, lines, pieces) in all {
            for piece in pieces {
                if self.problems.len() >= MAX_PROBLEMS {
                    return;
                }
                match read_one(file, &lines, piece) {
                    Ok(found) => self.found.push(found),
                    Err(problems) => self.problems.extend(problems),
                }
            }
        }
    }

    fn validate(&mut self, schema: &Schema) {
        let mut set = PolicySet::new();
        let mut by_id = HashMap::new();
        for (index, found) in self.found.iter().enumerate() {
            if let Some(first) = by_id.insert(found.policy.id().clone(), index) {
                let first = &self.found[first].info;
                let message = format!("the policy id `{}` is used twice", found.info.id);
                let help = format!("it is that of {}:{}, too", first.file, first.line);
                self.problems.push(found.problem(None, message, Some(help)));
            } else if let Err(error) = set.add(found.policy.clone()) {
                self.problems.push(found.problem(None, error.to_string(), None));
            }
        }
        let validator = Validator::new(schema.clone());
        let result = validator.validate_with_level(&set, ValidationMode::Strict, MAX_STEPS);
        let of = |id: &PolicyId| by_id.get(id).map(|index| &self.found[*index]);
        for error in result.validation_errors() {
            if let Some(found) = of(error.policy_id()) {
                self.problems.push(found.told(&DetailedError::from(error)));
            }
        }
        for warning in result.validation_warnings() {
            let Some(found) = of(warning.policy_id()) else { continue };
            let told = found.told(&DetailedError::from(warning));
            match warning {
                // Text that reads otherwise than it runs has no innocent use in a policy.
                ValidationWarning::BidiCharsInString(_)
                | ValidationWarning::BidiCharsInIdentifier(_) => self.problems.push(told),
                _ => self.warnings.push(told),
            }
        }
    }
}

fn read_one<'a>(
    file: &'a str,
    lines: &Arc<Lines<'a>>,
    piece: Piece<'a>,
) -> Result<Found<'a>, Vec<Problem>> {
    let at_start = |message: &str, help: Option<&str>| {
        vec![problem(file, lines, piece.start, message, help.map(str::to_owned))]
    };
    if let Some(excess) = piece.excess {
        return Err(at_start(excess, Some("make several policies of it")));
    }
    let policy = match Policy::parse(None, piece.text) {
        Ok(policy) => policy,
        Err(errors) => {
            let told = |error| told(file, lines, piece.offset, piece.start, &error);
            return Err(errors.iter().map(|error| told(DetailedError::from(error))).collect());
        }
    };
    let (line, column) = lines.place(piece.start);
    let id = match policy.annotation("id") {
        None if column == 1 => format!("{file}:{line}"),
        None => format!("{file}:{line}:{column}"),
        Some(id) if is_id(id) => id.to_owned(),
        Some(_) => {
            let message = "an @id must be 1 to 128 characters, none of them a control character";
            return Err(at_start(message, None));
        }
    };
    let info = PolicyInfo {
        description: policy.annotation("description").map(str::to_owned),
        effect: match policy.effect() {
            cedar_policy::Effect::Permit => Effect::Permit,
            cedar_policy::Effect::Forbid => Effect::Forbid,
        },
        file: file.to_owned(),
        line,
        id,
    };
    let policy = policy.new_id(PolicyId::new(&info.id));
    Ok(Found { policy, info, file, lines: lines.clone(), offset: piece.offset })
}

impl Found<'_> {
    fn problem(&self, at: Option<usize>, message: String, help: Option<String>) -> Problem {
        let (line, column) = match at {
            Some(at) => self.lines.place(self.offset + at),
            None => (self.info.line, 1),
        };
        Problem { file: self.file.to_owned(), line, column, message, help }
    }

    fn told(&self, error: &DetailedError) -> Problem {
        let at = error.source_locations.first().map(|label| label.loc.start);
        // Cedar names the policy; here its place does.
        let name = format!("for policy `{}`, ", self.info.id);
        let plain = |text: &str| text.strip_prefix(&name).unwrap_or(text).to_owned();
        let message = plain(&error.message);
        let help = if message.starts_with("attribute `claims`") {
            Some(CLAIMS_ARE_TAGS.to_owned())
        } else if message.starts_with("entity literals cannot be dereferenced") {
            Some("only what a request leads to can be looked into".to_owned())
        } else {
            error.help.as_deref().map(plain)
        };
        self.problem(at, message, help)
    }

    fn into_rule(self, conditions: &mut condition::Builder) -> Rule {
        let Self { policy, info, .. } = self;
        Rule {
            scope: Scope::of(&policy),
            condition: condition(&policy, conditions),
            uses: uses::of(&policy),
            info: Arc::new(info),
        }
    }
}

/// All `when` and `unless` of a policy as one expression: the very one that Cedar evaluates itself,
/// after the scope. There is no other way to it than the conversions which Cedar's documentation
/// leaves out.
fn condition(policy: &Policy, conditions: &mut condition::Builder) -> Option<Condition> {
    // What has come through this form no longer refers to its source at every step, which costs more
    // than the steps themselves.
    let bare = policy.to_pst().ok().and_then(|policy| Policy::from_pst(policy).ok());
    let policy = bare.as_ref().unwrap_or(policy);
    policy.as_ref().non_scope_constraints().map(|expr| conditions.condition(expr))
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.chars().count()) && !id.chars().any(char::is_control)
}

fn version(files: &[Source<'_>], schema: &str) -> Arc<str> {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        // With its length, so that no text can pass for two.
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    part(schema);
    for source in files {
        part(source.file);
        part(source.text);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[cfg(test)]
mod tests;
