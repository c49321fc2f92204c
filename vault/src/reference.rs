//! Which field of which secret is meant: `MOUNT/PATH#FIELD`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::options::KvVersion;

/// A path longer than this is a mistake.
const MAX_PATH: usize = 512;
/// So is such a field's name.
const MAX_FIELD: usize = 128;

/// A field of a secret, as a configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    path: String,
    field: String,
}

/// Why a reference is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing behind `#`, or no `#`.
    #[error("names no field: write MOUNT/PATH#FIELD")]
    NoField,
    /// A mount alone.
    #[error("names no secret: write MOUNT/PATH#FIELD")]
    NoPath,
    /// Something that could mean another path to the server than to us.
    #[error(
        "has a path with a character or a segment that is not allowed: letters, digits and \
         `-._~@+=,:` between single slashes"
    )]
    Path,
    /// A field's name that no secret has.
    #[error("has a field of more than 128 bytes, or with characters outside printable ASCII")]
    Field,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (path, field) = text.split_once('#').ok_or(ReferenceError::NoField)?;
        if field.is_empty() {
            return Err(ReferenceError::NoField);
        }
        if field.len() > MAX_FIELD || !field.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ReferenceError::Field);
        }
        if path.len() > MAX_PATH || !path.split('/').all(is_segment) {
            return Err(ReferenceError::Path);
        }
        if !path.contains('/') {
            return Err(ReferenceError::NoPath);
        }
        Ok(Self { path: path.to_owned(), field: field.to_owned() })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.path, self.field)
    }
}

/// Whether `text` may stand between two slashes of a path: nothing that is encoded, and nothing that
/// a server or a proxy before it resolves.
pub fn is_segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@+=,:".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(allowed)
}

impl Reference {
    /// The field's name.
    pub(crate) fn field(&self) -> &str {
        &self.field
    }

    /// Where the secret is, given the mounts that are not as usual. `None` where the path is one of
    /// those mounts and nothing more.
    ///
    /// A path of version 2 may be written as the server's API has it, with `data/` behind the mount,
    /// or as its command line has it, without.
    pub(crate) fn locate(&self, mounts: &BTreeMap<String, KvVersion>) -> Option<Location> {
        let named = mounts
            .iter()
            .filter_map(|(mount, version)| {
                let rest = self.path.strip_prefix(mount.as_str())?;
                (rest.is_empty() || rest.starts_with('/')).then_some((mount.as_str(), *version))
            })
            .max_by_key(|(mount, _)| mount.len());
        let (mount, version) =
            named.or_else(|| self.path.split_once('/').map(|(mount, _)| (mount, KvVersion::V2)))?;
        let path = self.path[mount.len()..].strip_prefix('/')?;
        let path = match version {
            KvVersion::V1 => path,
            KvVersion::V2 => path.strip_prefix("data/").unwrap_or(path),
        };
        Some(Location { mount: mount.to_owned(), version, path: path.to_owned() })
    }
}

/// A secret of the server's, with all its fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    mount: String,
    pub(crate) version: KvVersion,
    path: String,
}

impl Location {
    /// Its path in the HTTP API.
    pub(crate) fn api_path(&self) -> String {
        match self.version {
            KvVersion::V1 => format!("{}/{}", self.mount, self.path),
            KvVersion::V2 => format!("{}/data/{}", self.mount, self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn api_path(text: &str) -> Option<String> {
        let mounts = BTreeMap::from([
            ("old".to_owned(), KvVersion::V1),
            ("team/kv".to_owned(), KvVersion::V2),
        ]);
        Some(text.parse::<Reference>().unwrap().locate(&mounts)?.api_path())
    }

    #[test]
    fn both_ways_of_writing_a_path_of_version_2_mean_the_same() {
        for (text, path) in [
            ("secret/xai#key", Some("secret/data/xai")),
            ("secret/data/xai#key", Some("secret/data/xai")),
            ("secret/data/data/xai#key", Some("secret/data/data/xai")),
            ("secret/data#key", Some("secret/data/data")),
            ("secret/database/url#key", Some("secret/data/database/url")),
            ("old/brave#key", Some("old/brave")),
            ("old/data/brave#key", Some("old/data/brave")),
            ("older/brave#key", Some("older/data/brave")),
            ("team/kv/a/b#key", Some("team/kv/data/a/b")),
            ("team/kv2/b#key", Some("team/data/kv2/b")),
            ("team/kv#key", None),
        ] {
            assert_eq!(api_path(text).as_deref(), path, "{text}");
        }
    }

    #[test]
    fn a_reference_that_could_be_misread_is_refused() {
        for (text, error) in [
            ("secret/xai", ReferenceError::NoField),
            ("secret/xai#", ReferenceError::NoField),
            ("secret#key", ReferenceError::NoPath),
            ("#key", ReferenceError::Path),
            ("/secret/xai#key", ReferenceError::Path),
            ("secret//xai#key", ReferenceError::Path),
            ("secret/xai/#key", ReferenceError::Path),
            ("secret/../sys/seal#key", ReferenceError::Path),
            ("secret/%2e%2e/x#key", ReferenceError::Path),
            ("secret/x?version=1#key", ReferenceError::Path),
            ("secret/x y#key", ReferenceError::Path),
            ("secret/x#a b", ReferenceError::Field),
        ] {
            assert_eq!(text.parse::<Reference>(), Err(error), "{text}");
        }
        let long = format!("secret/{}#key", "x".repeat(MAX_PATH));
        assert_eq!(long.parse::<Reference>(), Err(ReferenceError::Path));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_shown_as_it_was_and_stays_within_its_mount(text in "\\PC{0,40}(/|#|\\.){0,4}\\PC{0,20}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text);
                let path = reference.locate(&BTreeMap::new()).unwrap().api_path();
                prop_assert!(path.split('/').all(is_segment));
                let uri: http::Uri = format!("http://vault/v1/{path}").parse().unwrap();
                prop_assert_eq!(uri.path(), format!("/v1/{path}"));
            }
        }
    }
}
