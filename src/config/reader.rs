//! Reads values of a type out of the tree, and reports what is not of that type.
//!
//! A reader that can't give a value has reported why and gives `None`; its caller goes on with a
//! default, so that one load finds every problem. Nothing comes of the defaults: with a single
//! problem reported, there is no configuration.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use secrecy::ExposeSecret;

use super::node::{Entry, Kind, Node, Scalar};
use super::report::{self, Hint, Place, Report};
use super::secrets::{self, Resolver, SecretError, SecretRef};
use super::units::{self, UnitError};
use super::valid::Secret;

/// The keys of one kind of mapping.
pub(super) struct Keys {
    /// Those that are read.
    pub(super) known: &'static [&'static str],
    /// Names used elsewhere or before, each with what it is called here.
    pub(super) renamed: &'static [(&'static str, &'static str)],
    /// Those that a later version will read.
    pub(super) later: &'static [&'static str],
}

/// A value on its way to a type.
#[derive(Clone)]
pub(super) struct Cursor<'n> {
    /// For messages.
    pub(super) path: String,
    /// Where its key stands; what is missing in it is reported there.
    pub(super) key: Place,
    node: &'n Node,
}

impl<'n> Cursor<'n> {
    /// The whole file.
    pub(super) fn root(node: &'n Node) -> Self {
        Self { path: String::new(), key: node.place, node }
    }

    /// Where the value stands.
    pub(super) fn place(&self) -> Place {
        self.node.place
    }

    /// Whether it is a list with nothing in it.
    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.node.kind, Kind::List(items) if items.is_empty())
    }

    /// Whether it is no mapping, which reading its fields has reported.
    pub(super) fn is_broken(&self) -> bool {
        !matches!(self.node.kind, Kind::Map(_) | Kind::Null)
    }

    /// The scalar, where it is one.
    pub(super) fn scalar(&self) -> Option<&'n Scalar> {
        match &self.node.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }
}

/// A mapping whose keys have been checked.
pub(super) struct Fields<'n> {
    path: String,
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// The value of `key`; `None` where it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<Cursor<'n>> {
        self.all().find(|(name, _)| *name == key).map(|(_, cursor)| cursor)
    }

    /// Every key with its value, nulls left out.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'n str, Cursor<'n>)> {
        let entries = self.entries.iter().filter(|entry| !matches!(entry.node.kind, Kind::Null));
        entries.map(|entry| {
            let path = report::join(&self.path, &entry.key);
            (entry.key.as_str(), Cursor { path, key: entry.place, node: &entry.node })
        })
    }

    /// Every key with its value, nulls too: for mappings where a name alone says something.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'n str, Cursor<'n>)> {
        self.entries.iter().map(|entry| {
            let path = report::join(&self.path, &entry.key);
            (entry.key.as_str(), Cursor { path, key: entry.place, node: &entry.node })
        })
    }
}

/// Reads values and reports.
pub(super) struct Reader<'a> {
    pub(super) report: &'a mut Report,
    pub(super) resolver: &'a dyn Resolver,
    /// Whether the strict rules hold.
    pub(super) production: bool,
    /// Whether the section is wrong that says where Vault is. What refers to it is not wrong, too.
    pub(super) vault_is_wrong: bool,
}

impl Reader<'_> {
    /// Reports what is wrong with the value at `at`.
    pub(super) fn wrong(
        &mut self,
        at: &Cursor<'_>,
        message: impl Into<String>,
        hint: impl Into<Hint>,
    ) {
        self.report.error(at.place(), &at.path, message, hint);
    }

    /// A mapping with these keys; an empty one where it is something else.
    pub(super) fn fields<'n>(&mut self, at: &Cursor<'n>, keys: &Keys) -> Fields<'n> {
        self.fields_without(at, keys, &[])
    }

    /// As [`fields`](Self::fields). Keys that others have for what is plain here are each told of with the
    /// hint beside it.
    pub(super) fn fields_without<'n>(
        &mut self,
        at: &Cursor<'n>,
        keys: &Keys,
        needless: &[(&str, &str)],
    ) -> Fields<'n> {
        let fields = self.map(at);
        for entry in fields.entries {
            let name = entry.key.as_str();
            if let Some((_, hint)) = needless.iter().find(|(key, _)| *key == name) {
                let path = report::join(&fields.path, name);
                self.report.error(entry.place, &path, "unknown key", *hint);
            } else if !keys.known.contains(&name) {
                self.unknown(&fields.path, entry, keys);
            }
        }
        fields
    }

    /// A mapping whose keys are names.
    pub(super) fn map<'n>(&mut self, at: &Cursor<'n>) -> Fields<'n> {
        let entries = match &at.node.kind {
            Kind::Map(entries) => entries.as_slice(),
            Kind::Null | Kind::Broken => &[],
            _ => {
                let hint = "indent its keys below it, or write `{ key: value }`";
                self.expected(at, "a mapping", hint);
                &[]
            }
        };
        Fields { path: at.path.clone(), entries }
    }

    /// A list whose items `read` reads; those that it can't read are left out.
    pub(super) fn list<'n, T>(
        &mut self,
        at: &Cursor<'n>,
        mut read: impl FnMut(&mut Self, &Cursor<'n>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Kind::List(nodes) = &at.node.kind else {
            self.expected(at, "a list", "write `[a, b]`, or one `- item` a line");
            return None;
        };
        let items = nodes.iter().enumerate().filter_map(|(index, node)| {
            let path = format!("{}[{index}]", at.path);
            read(self, &Cursor { path, key: node.place, node })
        });
        Some(items.collect())
    }

    /// Text. A number or a boolean must be quoted to be meant as text.
    pub(super) fn text<'n>(&mut self, at: &Cursor<'n>) -> Option<&'n str> {
        let scalar = self.word(at)?;
        if scalar.plain && scalar.source.is_none() && looks_typed(&scalar.text) {
            let hint = format!("put it in quotes: \"{}\"", scalar.text);
            self.wrong(at, format!("expected text, found {}", scalar.shown()), hint);
            return None;
        }
        if scalar.text.is_empty() {
            self.wrong(at, "is empty", None::<&str>);
            return None;
        }
        Some(&scalar.text)
    }

    /// A scalar of whatever looks.
    fn word<'n>(&mut self, at: &Cursor<'n>) -> Option<&'n Scalar> {
        if let Kind::Scalar(scalar) = &at.node.kind {
            return Some(scalar);
        }
        self.expected(at, "a single value", None::<&str>);
        None
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, at: &Cursor<'_>) -> Option<bool> {
        let scalar = self.word(at)?;
        match scalar.text.as_str() {
            "true" | "True" | "TRUE" if scalar.plain => Some(true),
            "false" | "False" | "FALSE" if scalar.plain => Some(false),
            _ => {
                let message = format!("expected true or false, found {}", scalar.shown());
                let hint =
                    if scalar.plain { "write true or false" } else { "leave the quotes out" };
                self.wrong(at, message, hint);
                None
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer(&mut self, at: &Cursor<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let scalar = self.word(at)?;
        let digits = !scalar.text.is_empty() && scalar.text.bytes().all(|b| b.is_ascii_digit());
        if !scalar.plain || !digits {
            let hint = if scalar.plain { None } else { Some("leave the quotes out") };
            self.wrong(at, format!("expected a whole number, found {}", scalar.shown()), hint);
            return None;
        }
        // Digits that do not fit are beyond every range.
        let value = scalar.text.parse().unwrap_or(u64::MAX);
        self.within(at, scalar, value, &range, u64::to_string)
    }

    /// A number from 0 to 1.
    pub(super) fn ratio(&mut self, at: &Cursor<'_>) -> Option<f64> {
        let scalar = self.word(at)?;
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| (0.0..=1.0).contains(n));
        match number(&scalar.text).filter(|_| scalar.plain) {
            // Not the zero with a sign.
            Some(ratio) => Some(ratio.abs()),
            None => {
                let message = format!("expected a number from 0 to 1, found {}", scalar.shown());
                let hint = if scalar.plain { "write it as in 0.1" } else { "leave the quotes out" };
                self.wrong(at, message, hint);
                None
            }
        }
    }

    /// A size in bytes within `range`.
    pub(super) fn size(&mut self, at: &Cursor<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let scalar = self.word(at)?;
        match units::parse_size(&scalar.text) {
            Ok(bytes) => self.within(at, scalar, bytes, &range, |n| units::format_size(*n)),
            Err(error) => {
                let hint = "write a whole number with B, KiB, MiB, GiB, kB, MB or GB, as in 1MiB";
                self.wrong(at, format!("size {} {error}", scalar.shown()), hint);
                None
            }
        }
    }

    /// A duration within `range`.
    pub(super) fn duration(
        &mut self,
        at: &Cursor<'_>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let scalar = self.word(at)?;
        match units::parse_duration(&scalar.text) {
            Ok(value) => self.within(at, scalar, value, &range, |d| units::format_duration(*d)),
            Err(error) => {
                let hint = match error {
                    UnitError::NoUnit => format!("write `{0}s` for {0} seconds", scalar.text),
                    _ => "write a whole number with ms, s, m, h or d, as in 30s".to_owned(),
                };
                self.wrong(at, format!("duration {} {error}", scalar.shown()), hint);
                None
            }
        }
    }

    fn within<T: PartialOrd>(
        &mut self,
        at: &Cursor<'_>,
        scalar: &Scalar,
        value: T,
        range: &RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        if range.contains(&value) {
            return Some(value);
        }
        let (least, most) = (show(range.start()), show(range.end()));
        let message = format!("{} is out of range", scalar.shown());
        self.wrong(at, message, format!("it can be {least} to {most}"));
        None
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        at: &Cursor<'_>,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let scalar = self.word(at)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == scalar.text) {
            return Some(*value);
        }
        let names = || choices.iter().map(|(name, _)| *name);
        let hint = match report::nearest(&scalar.text, names()) {
            Some(near) => format!("did you mean `{near}`? It can be {}", report::list(names())),
            None => format!("it can be {}", report::list(names())),
        };
        self.wrong(at, format!("unknown value {}", scalar.shown()), hint);
        None
    }

    /// An address with a port.
    pub(super) fn address(&mut self, at: &Cursor<'_>) -> Option<SocketAddr> {
        let hint = "write an IP address with a port, as in 127.0.0.1:8080 or \"[::1]:8080\"";
        self.parsed(at, "address", hint)
    }

    /// A network; a single address is a network of one.
    pub(super) fn network(&mut self, at: &Cursor<'_>) -> Option<IpNet> {
        let address = at.scalar().and_then(|scalar| scalar.text.parse::<IpAddr>().ok());
        if let Some(address) = address {
            return Some(IpNet::from(address));
        }
        let net: IpNet = self.parsed(at, "network", "write it as in 10.0.0.0/8 or \"fd00::/8\"")?;
        if net.trunc() != net {
            let message = format!("network `{net}` has bits beyond its prefix");
            self.report.warning(at.place(), &at.path, message, format!("write {}", net.trunc()));
        }
        Some(net.trunc())
    }

    /// A header's name, in lower case.
    pub(super) fn header_name(&mut self, at: &Cursor<'_>) -> Option<HeaderName> {
        self.parsed(at, "header name", "a name has letters, digits and `-`")
    }

    fn parsed<T: FromStr>(&mut self, at: &Cursor<'_>, what: &str, hint: &str) -> Option<T> {
        let text = self.text(at)?;
        let value = text.parse().ok();
        if value.is_none() {
            let shown = at.scalar().map(Scalar::shown).unwrap_or_default();
            self.wrong(at, format!("{shown} is not a valid {what}"), hint);
        }
        value
    }

    /// The path of a file that can be read now.
    pub(super) fn file(&mut self, at: &Cursor<'_>) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(at)?);
        self.readable(at, &path, "").then_some(path)
    }

    /// Whether the file at `path`, which the value at `at` names, can be read now. `what`: what to call it
    /// where that is not plain.
    pub(super) fn readable(&mut self, at: &Cursor<'_>, path: &Path, what: &str) -> bool {
        let problem: Option<Box<dyn Display>> = match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => Some(Box::new("is not a regular file")),
            Ok(_) => std::fs::File::open(path).err().map(|error| Box::new(error) as _),
            Err(error) => Some(Box::new(error)),
        };
        if let Some(problem) = &problem {
            let message = format!("{what}{} can't be read: {problem}", report::shorten_path(path));
            let hint = "relative paths are relative to the working directory";
            self.wrong(at, message, path.is_relative().then_some(hint));
        }
        problem.is_none()
    }

    /// The path of a directory that can be read now.
    pub(super) fn directory(&mut self, at: &Cursor<'_>) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(at)?);
        if let Err(error) = std::fs::read_dir(&path) {
            let message = format!("{} can't be read: {error}", report::shorten_path(&path));
            let hint = "relative paths are relative to the working directory";
            self.wrong(at, message, path.is_relative().then_some(hint));
            return None;
        }
        Some(path)
    }

    /// A secret with its value. No message shows what was written.
    pub(super) fn secret(&mut self, at: &Cursor<'_>) -> Option<Secret> {
        const HINT: &str = SECRET_HINT;
        let Kind::Scalar(scalar) = &at.node.kind else {
            self.expected(at, "a reference to a secret", HINT);
            return None;
        };
        let reference = match self.reference(scalar) {
            Ok(reference) => reference,
            Err(error) => {
                self.wrong(at, error.to_string(), secret_hint(&error));
                return None;
            }
        };
        if reference.is_literal() {
            if scalar.source.is_some() || scalar.text.contains("${") {
                let message = "a secret is one reference, not part of a text";
                self.wrong(at, message, HINT);
                return None;
            }
            if self.production {
                self.wrong(at, "a secret in the file itself is refused in production", HINT);
                return None;
            }
            let message = "a secret in the file itself; production refuses it";
            self.report.warning(at.place(), &at.path, message, HINT);
        }
        self.resolved(at, reference)
    }

    /// A document that is a secret: as [`secret`](Self::secret), of any number of lines. It has to be a reference.
    pub(super) fn document(&mut self, at: &Cursor<'_>) -> Option<Secret> {
        let Kind::Scalar(scalar) = &at.node.kind else {
            self.expected(at, "a reference to a secret", SECRET_HINT);
            return None;
        };
        match self.reference(scalar) {
            Ok(reference) if reference.is_literal() => {
                self.wrong(at, "a document can't stand here itself", SECRET_HINT);
                None
            }
            Ok(reference) => self.read(at, reference, secrets::check_document),
            Err(error) => {
                self.wrong(at, error.to_string(), secret_hint(&error));
                None
            }
        }
    }

    /// The value behind `reference`.
    pub(super) fn resolved(&mut self, at: &Cursor<'_>, reference: SecretRef) -> Option<Secret> {
        self.read(at, reference, secrets::check)
    }

    fn read(
        &mut self,
        at: &Cursor<'_>,
        reference: SecretRef,
        check: fn(&str) -> Result<(), SecretError>,
    ) -> Option<Secret> {
        if self.vault_is_wrong && matches!(reference, SecretRef::Vault(_)) {
            return None;
        }
        let secret = self.resolver.resolve(&reference).and_then(|secret| {
            check(secret.value.expose_secret())?;
            Ok(secret)
        });
        match secret {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.wrong(at, error.to_string(), secret_hint(&error));
                None
            }
        }
    }

    /// What a scalar refers to. `${VAR}` alone means `env:VAR`, unless it holds a reference.
    fn reference(&self, scalar: &Scalar) -> Result<SecretRef, SecretError> {
        let reference = SecretRef::parse(&scalar.text)?;
        Ok(match &scalar.variable {
            Some(name) if reference.is_literal() => SecretRef::Env(name.clone()),
            _ => reference,
        })
    }

    fn expected(&mut self, at: &Cursor<'_>, what: &str, hint: impl Into<Hint>) {
        let found = match &at.node.kind {
            Kind::Broken => return,
            Kind::Null => "nothing".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping".to_owned(),
            Kind::Scalar(scalar) => scalar.shown(),
        };
        self.wrong(at, format!("expected {what}, found {found}"), hint);
    }

    fn unknown(&mut self, path: &str, entry: &Entry, keys: &Keys) {
        let name = entry.key.as_str();
        let plain = name.to_ascii_lowercase().replace('-', "_");
        let path = report::join(path, name);
        let renamed = keys.renamed.iter().find(|(old, _)| *old == plain);
        let new = renamed.map_or(plain.as_str(), |(_, new)| new);
        if keys.later.contains(&new) {
            let hint = "take it out; it would have no effect";
            self.report.error(entry.place, &path, "not available in this version", hint);
            return;
        }
        let hint = if renamed.is_some() {
            format!("it is called `{new}` here")
        } else if let Some(near) = report::nearest(name, keys.known.iter().copied()) {
            format!("did you mean `{near}`?")
        } else {
            format!("known here: {}", report::list(keys.known.iter().copied()))
        };
        self.report.error(entry.place, &path, "unknown key", hint);
    }
}

/// Whether YAML's core schema takes plain `text` for a number or a boolean (YAML 1.2.2, 10.3.2).
fn looks_typed(text: &str) -> bool {
    let boolean = matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE");
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && (unsigned.parse::<f64>().is_ok()
            || unsigned.strip_prefix("0x").is_some_and(|hex| u64::from_str_radix(hex, 16).is_ok())
            || unsigned.strip_prefix("0o").is_some_and(|oct| u64::from_str_radix(oct, 8).is_ok()));
    boolean || number
}

/// How a secret is written.
const SECRET_HINT: &str = "write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`";

fn secret_hint(error: &SecretError) -> Option<&'static str> {
    match error {
        SecretError::UnsupportedStore(_) | SecretError::Redacted => Some(SECRET_HINT),
        SecretError::NoVault(_) => Some("add `secrets.vault`; docs/vault.md tells how"),
        SecretError::Vault { .. } => Some("docs/vault.md tells what to do about each of these"),
        SecretError::NotSet(_) => Some("set it before the start"),
        SecretError::Unprintable => Some("a secret is one line of printable ASCII"),
        SecretError::Empty => Some("put the secret there"),
        SecretError::BadVariableName
        | SecretError::NoPath
        | SecretError::BadReference(_)
        | SecretError::Unreadable { .. } => None,
    }
}
