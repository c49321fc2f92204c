//! What a request's `_meta` says of itself, for servers of both eras.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{META_CAPABILITIES, META_CLIENT, META_PROTOCOL, Members, STATELESS};

const META: &str = "_meta";
const TOKEN: &str = "progressToken";

/// An empty object, as JSON.
#[derive(Serialize)]
pub struct Empty {}

/// Who asks, where nobody else is named: this gateway.
#[derive(Serialize)]
pub struct Client {
    name: &'static str,
    version: &'static str,
}

impl Client {
    /// This gateway.
    pub const SELF: Self = Self { name: "sluicegate", version: env!("CARGO_PKG_VERSION") };
}

/// A request's parameters with the `_meta` that a server gets, which comes last.
#[derive(Debug)]
pub struct Params<'a> {
    all: &'a Members,
    meta: Members,
}

impl<'a> Params<'a> {
    /// Those of a caller. A `_meta` that is no object, or has a name twice, is left out.
    pub fn of(all: &'a Members) -> Self {
        Self { all, meta: all.object(META).unwrap_or_default() }
    }

    /// Completes `_meta` for a server of [`STATELESS`]: the protocol is ours; who asks, and what who asks can
    /// do, stay the caller's where they are said.
    pub fn complete(&mut self) {
        self.meta.put(META_PROTOCOL, &STATELESS);
        if self.meta.get(META_CLIENT).is_none() {
            self.meta.put(META_CLIENT, &Client::SELF);
        }
        if self.meta.get(META_CAPABILITIES).is_none() {
            self.meta.put(META_CAPABILITIES, &Empty {});
        }
    }

    /// Takes out of `_meta` what servers before [`STATELESS`] don't know. Where nothing is left in it, there
    /// is none.
    pub fn strip(&mut self) {
        for name in [META_PROTOCOL, META_CLIENT, META_CAPABILITIES] {
            self.meta.remove(name);
        }
    }

    /// The progress token, as it is written.
    pub fn token(&self) -> Option<&RawValue> {
        self.meta.get(TOKEN)
    }

    /// Puts `token` in the place of the caller's, if there is one.
    pub fn replace_token(&mut self, token: u64) {
        if self.token().is_some() {
            self.meta.put(TOKEN, &token);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty() && self.others().next().is_none()
    }

    fn others(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.all.iter().filter(|(name, _)| *name != META)
    }
}

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.others() {
            map.serialize_entry(name, value)?;
        }
        if !self.meta.is_empty() {
            map.serialize_entry(META, &self.meta)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent of parameters, once this was done with them.
    fn sent(text: &str, does: impl Fn(&mut Params<'_>)) -> String {
        let all = Members::parse(text.as_bytes()).unwrap();
        let mut params = Params::of(&all);
        does(&mut params);
        let sent = serde_json::to_string(&params).unwrap();
        assert_eq!(params.is_empty(), sent == "{}", "{text}");
        sent
    }

    fn ours() -> String {
        format!(r#"{{"name":"sluicegate","version":"{}"}}"#, env!("CARGO_PKG_VERSION"))
    }

    #[test]
    fn what_the_caller_does_not_say_is_said_for_it() {
        let whole = format!(
            r#"{{"{META_PROTOCOL}":"{STATELESS}","{META_CLIENT}":{},"{META_CAPABILITIES}":{{}}}}"#,
            ours()
        );
        for text in [
            r#"{"a":1}"#,
            r#"{"a":1,"_meta":{}}"#,
            r#"{"_meta":[1],"a":1}"#,
            r#"{"a":1,"_meta":{"progressToken":1,"progressToken":2}}"#,
        ] {
            let expected = format!(r#"{{"a":1,"_meta":{whole}}}"#);
            assert_eq!(sent(text, |it| it.complete()), expected, "{text}");
        }
        assert_eq!(sent("{}", |it| it.complete()), format!(r#"{{"_meta":{whole}}}"#));
    }

    #[test]
    fn what_the_caller_says_of_itself_stays_but_not_its_protocol() {
        let text = format!(
            r#"{{"_meta":{{"{META_CAPABILITIES}":{{"x":1.0}},"{META_PROTOCOL}":"2025-11-25","k":[ 1 ],"{META_CLIENT}":{{"name":"it"}}}}}}"#
        );
        let expected = format!(
            r#"{{"_meta":{{"{META_CAPABILITIES}":{{"x":1.0}},"{META_PROTOCOL}":"{STATELESS}","k":[ 1 ],"{META_CLIENT}":{{"name":"it"}}}}}}"#
        );
        assert_eq!(sent(&text, |it| it.complete()), expected);
    }

    #[test]
    fn older_servers_get_nothing_of_it() {
        let both = |params: &mut Params<'_>| {
            params.complete();
            params.strip();
        };
        for (text, expected) in [
            (r#"{"a":1}"#, r#"{"a":1}"#),
            (r#"{}"#, r#"{}"#),
            (r#"{"_meta":{}}"#, r#"{}"#),
            (
                r#"{"_meta":{"progressToken":"t"},"a":1}"#,
                r#"{"a":1,"_meta":{"progressToken":"t"}}"#,
            ),
            (r#"{"_meta":"x","a":1}"#, r#"{"a":1}"#),
            (r#"{"_meta":{"a":1,"a":2},"a":1}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(sent(text, both), expected, "{text}");
            assert_eq!(sent(text, |it| it.strip()), expected, "{text}");
        }
    }

    #[test]
    fn a_token_is_replaced_where_there_is_one() {
        let with_token = r#"{"_meta":{"progressToken":"t\u00e9","k":1}}"#;
        let replaced = sent(with_token, |params| {
            assert_eq!(params.token().unwrap().get(), r#""t\u00e9""#);
            params.replace_token(7);
        });
        assert_eq!(replaced, r#"{"_meta":{"progressToken":7,"k":1}}"#);
        for text in [r#"{"_meta":{"k":1}}"#, r#"{"a":1}"#] {
            let same = sent(text, |params| {
                assert!(params.token().is_none(), "{text}");
                params.replace_token(7);
            });
            assert_eq!(same, text);
        }
    }
}
