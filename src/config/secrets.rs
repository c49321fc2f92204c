//! Secrets: a reference in the configuration, a value in memory.
//!
//! A reference is written `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`. Nothing here ever shows a value: not `Debug`,
//! not `Display`, not an error.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use secrecy::{ExposeSecret, SecretString};
use sluicegate_vault::{Options, Reference, ReferenceError, VaultError};

use super::env::Env;
use super::valid::Secret;

/// What a literal secret is shown as; refused as a value, so that it can't come back as one.
pub const REDACTED: &str = "<redacted>";

/// A secret longer than this is a wrong file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What is added to a file's name, for the file that says since when its secret is what it is.
const DATE_SUFFIX: &str = ".rotated";

/// Where a secret comes from.
#[derive(Clone)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one line end at its end does not count.
    File(PathBuf),
    /// A field of a secret in Vault or OpenBao.
    Vault(Reference),
    /// Written in the configuration itself. Refused in production.
    Literal(SecretString),
    /// Written in the configuration, and no secret: a plain header, shown as it is.
    Public(String),
}

impl SecretRef {
    /// Reads a reference. Text without a known prefix is a [`Literal`](Self::Literal).
    ///
    /// # Errors
    /// A prefix with nothing usable behind it, or a store that this version does not know.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if let Some(name) = text.strip_prefix("env:") {
            let name = name.trim();
            return if is_variable_name(name) {
                Ok(Self::Env(name.to_owned()))
            } else {
                Err(SecretError::BadVariableName)
            };
        }
        if let Some(path) = text.strip_prefix("file:") {
            // `file:///run/secrets/key` is common, and means the same.
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            return if path.trim().is_empty() {
                Err(SecretError::NoPath)
            } else {
                Ok(Self::File(PathBuf::from(path)))
            };
        }
        if let Some(reference) = text.strip_prefix("vault:") {
            return reference.trim().parse().map(Self::Vault).map_err(SecretError::BadReference);
        }
        for store in ["aws", "gcp", "azure", "k8s"] {
            if text.strip_prefix(store).is_some_and(|rest| rest.starts_with(':')) {
                return Err(SecretError::UnsupportedStore(store));
            }
        }
        Ok(Self::Literal(SecretString::from(text)))
    }

    /// Whether the value stands in the configuration itself.
    pub fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }
}

impl FromStr for SecretRef {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        Self::parse(text)
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Vault(reference) => write!(f, "vault:{reference}"),
            Self::Literal(_) => f.write_str(REDACTED),
            Self::Public(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretRef({self})")
    }
}

impl PartialEq for SecretRef {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Env(a), Self::Env(b)) => a == b,
            (Self::File(a), Self::File(b)) => a == b,
            (Self::Vault(a), Self::Vault(b)) => a == b,
            (Self::Literal(a), Self::Literal(b)) => a.expose_secret() == b.expose_secret(),
            (Self::Public(a), Self::Public(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for SecretRef {}

/// Why a secret has no value. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// `env:` without a usable name.
    #[error("`env:` needs the name of an environment variable behind it")]
    BadVariableName,
    /// `file:` without a path.
    #[error("`file:` needs a path behind it")]
    NoPath,
    /// A secret store that this version can't ask.
    #[error("`{0}:` references are not supported in this version")]
    UnsupportedStore(&'static str),
    /// `vault:` without a usable reference.
    #[error("the `vault:` reference {0}")]
    BadReference(ReferenceError),
    /// `vault:` where no Vault is to be asked.
    #[error("vault:{0} can't be read: there is no `secrets.vault` that says from where")]
    NoVault(Reference),
    /// What Vault, or the way to it, has against it.
    #[error("vault:{reference}: {error}")]
    Vault {
        /// What was asked for.
        reference: Reference,
        /// Why there is nothing.
        error: VaultError,
    },
    /// The variable is not set.
    #[error("environment variable {0} is not set")]
    NotSet(String),
    /// The file can't be read.
    #[error("{path}: {reason}", path = super::report::shorten_path(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system, or we, have against it.
        reason: String,
    },
    /// Nothing there.
    #[error("the secret is empty")]
    Empty,
    /// A line end within, or a character outside printable ASCII.
    #[error("the secret has a line end, a space at an end, or a character outside printable ASCII")]
    Unprintable,
    /// The text that stands for a redacted literal.
    #[error("this is the mark of a secret that was left out")]
    Redacted,
}

/// Turns references into values.
pub trait Resolver {
    /// The value behind `reference`.
    ///
    /// # Errors
    /// There is none.
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError>;

    /// Says where `vault:` references lead, before the first of them.
    fn lead_to(&self, _vault: &Options) {}
}

/// Resolves what this machine has: variables and files. What Vault has is not asked for.
#[derive(Clone, Debug)]
pub struct LocalResolver {
    env: Env,
}

impl LocalResolver {
    /// A resolver that sees these variables.
    pub fn new(env: Env) -> Self {
        Self { env }
    }
}

impl Resolver for LocalResolver {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let (value, since) = match reference {
            SecretRef::Env(name) => match self.env.get(name) {
                Some(value) => (SecretString::from(value), None),
                None => return Err(SecretError::NotSet(name.clone())),
            },
            SecretRef::File(path) => read_file(path)?,
            SecretRef::Vault(reference) => return Err(SecretError::NoVault(reference.clone())),
            SecretRef::Literal(value) => (value.clone(), None),
            SecretRef::Public(text) => (SecretString::from(text.as_str()), None),
        };
        Ok(Secret { reference: reference.clone(), value, since })
    }
}

/// Whether `value` can be a document that is a secret.
pub(super) fn check_document(value: &str) -> Result<(), SecretError> {
    if value.is_empty() {
        return Err(SecretError::Empty);
    }
    if value == REDACTED {
        return Err(SecretError::Redacted);
    }
    Ok(())
}

/// Whether `value` can be a secret that stands in a header.
pub(super) fn check(value: &str) -> Result<(), SecretError> {
    check_document(value)?;
    let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !printable || value.starts_with(' ') || value.ends_with(' ') {
        return Err(SecretError::Unprintable);
    }
    Ok(())
}

/// What a file holds, and when it was written.
fn read_file(path: &Path) -> Result<(SecretString, Option<SystemTime>), SecretError> {
    let unreadable = |reason: String| SecretError::Unreadable { path: path.to_owned(), reason };
    let io = |error: std::io::Error| unreadable(error.to_string());
    // Opening a pipe that nobody writes to would wait for ever, so ask first what it is.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(unreadable("is not a regular file".to_owned()));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    let secret = SecretString::from(text.trim_end_matches(['\r', '\n']));
    secrecy::zeroize::Zeroize::zeroize(&mut text);
    Ok((secret, dated(path).or_else(|| metadata.modified().ok())))
}

/// Since when the file's secret is what it is, by the file of the same name and [`DATE_SUFFIX`]. `None`: there is
/// none. Where a volume is made with its pod, the secret's own file is only as old as that.
///
/// What is no date, or is still to come, makes the secret as old as can be: somebody will look.
fn dated(path: &Path) -> Option<SystemTime> {
    let mut name = path.as_os_str().to_owned();
    name.push(DATE_SUFFIX);
    let metadata = std::fs::metadata(&name).ok()?;
    let mut text = String::new();
    let read = metadata.is_file()
        && std::fs::File::open(&name)
            .and_then(|file| file.take(64).read_to_string(&mut text))
            .is_ok();
    let since = if read { date(text.trim()) } else { None };
    Some(since.filter(|since| *since <= SystemTime::now()).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// A day, or a time with its zone (RFC 3339).
fn date(text: &str) -> Option<SystemTime> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.into());
    }
    let day: jiff::civil::Date = text.parse().ok()?;
    Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into())
}

/// Whether `name` can name an environment variable in a shell (POSIX, 8.1).
pub(crate) fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<String, SecretError> {
        let env = Env::from_iter([("KEY", "from-env"), ("EMPTY", ""), ("LINES", "a\nb")]);
        let secret = LocalResolver::new(env).resolve(&SecretRef::parse(text)?)?;
        check(secret.value.expose_secret())?;
        Ok(secret.value.expose_secret().to_owned())
    }

    #[test]
    fn variables_resolve() {
        assert_eq!(resolve("env:KEY").unwrap(), "from-env");
        assert_eq!(resolve("env:NONE"), Err(SecretError::NotSet("NONE".to_owned())));
        assert_eq!(resolve("env:EMPTY"), Err(SecretError::Empty));
        assert_eq!(resolve("env:LINES"), Err(SecretError::Unprintable));
        assert_eq!(resolve("env:"), Err(SecretError::BadVariableName));
        assert_eq!(resolve("env:A-B"), Err(SecretError::BadVariableName));
    }

    #[test]
    fn files_resolve_without_their_last_line_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let reference = format!("file:{}", path.display());
        assert!(matches!(resolve(&reference), Err(SecretError::Unreadable { .. })));
        for (content, expected) in [
            ("sk-1\n", Ok("sk-1".to_owned())),
            ("sk-1\r\n", Ok("sk-1".to_owned())),
            ("sk-1", Ok("sk-1".to_owned())),
            ("\n", Err(SecretError::Empty)),
            ("sk\n1\n", Err(SecretError::Unprintable)),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(resolve(&reference), expected, "{content:?}");
        }
        std::fs::write(&path, "sk-1").unwrap();
        assert_eq!(resolve(&format!("file://{}", path.display())).unwrap(), "sk-1");
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(matches!(resolve(&reference), Err(SecretError::Unreadable { .. })));
        let directory = format!("file:{}", directory.path().display());
        assert!(matches!(resolve(&directory), Err(SecretError::Unreadable { .. })));
    }

    #[test]
    fn stores_of_later_versions_are_refused_by_name() {
        let error = resolve("aws:secretsmanager/xai").unwrap_err();
        assert_eq!(error.to_string(), "`aws:` references are not supported in this version");
    }

    #[test]
    fn a_reference_into_a_vault_is_read_and_nothing_is_asked() {
        let text = "vault:secret/data/xai#api_key";
        assert_eq!(SecretRef::parse(text).unwrap().to_string(), text);
        let message =
            format!("{text} can't be read: there is no `secrets.vault` that says from where");
        assert_eq!(resolve(text).unwrap_err().to_string(), message);
        let error = resolve("vault:secret/data/xai").unwrap_err();
        assert_eq!(error, SecretError::BadReference(ReferenceError::NoField));
    }

    #[test]
    fn a_file_s_secret_is_as_old_as_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "sk-1").unwrap();
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        let secret = LocalResolver::new(Env::default()).resolve(&SecretRef::File(path)).unwrap();
        assert_eq!(secret.since, Some(written));
    }

    #[test]
    fn a_date_beside_a_file_says_how_old_its_secret_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "sk-1").unwrap();
        let since = |date: &str| {
            std::fs::write(directory.path().join("key.rotated"), date).unwrap();
            let file = SecretRef::File(path.clone());
            let secret = LocalResolver::new(Env::default()).resolve(&file).unwrap();
            secret.since.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        assert_eq!(since("2026-01-31\n"), 1_769_817_600);
        assert_eq!(since("2026-01-31T12:00:00Z"), 1_769_860_800);
        for unknown in ["", "yesterday", "31.01.2026", "9999-01-01", "2026-01-31\n2026-02-01"] {
            assert_eq!(since(unknown), 0, "{unknown:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_beside_a_file_panics(text in ".{0,80}") {
            date(&text);
        }
    }

    #[test]
    fn nothing_shows_a_literal() {
        let reference = SecretRef::parse("sk-hidden-1").unwrap();
        assert!(reference.is_literal());
        assert_eq!(resolve("sk-hidden-1").unwrap(), "sk-hidden-1");
        assert!(!format!("{reference} {reference:?}").contains("hidden"));
        assert_eq!(resolve(REDACTED), Err(SecretError::Redacted));
    }
}
