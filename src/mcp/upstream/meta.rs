//! What a request's `_meta` says of itself, for servers of both eras.

use serde::Serialize;
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

/// Completes the `_meta` of a request's parameters for a server of [`STATELESS`]: the protocol is ours; who
/// asks, and what who asks can do, stay the caller's where they are said. A `_meta` that is no object, or has
/// a name twice, is replaced.
pub fn complete(params: &mut Members) {
    let mut meta = params.object(META).unwrap_or_default();
    meta.put(META_PROTOCOL, &STATELESS);
    if meta.get(META_CLIENT).is_none() {
        meta.put(META_CLIENT, &Client::SELF);
    }
    if meta.get(META_CAPABILITIES).is_none() {
        meta.put(META_CAPABILITIES, &Empty {});
    }
    params.set(META, meta.to_raw());
}

/// Takes out of the `_meta` of a request's parameters what servers before [`STATELESS`] don't know, and the
/// whole where nothing is left. A `_meta` that is no object, or has a name twice, is taken out.
pub fn strip(params: &mut Members) {
    if params.get(META).is_none() {
        return;
    }
    let mut meta = params.object(META).unwrap_or_default();
    for name in [META_PROTOCOL, META_CLIENT, META_CAPABILITIES] {
        meta.remove(name);
    }
    if meta.is_empty() {
        params.remove(META);
    } else {
        params.set(META, meta.to_raw());
    }
}

/// The caller's progress token, as it is written.
pub fn token(params: &Members) -> Option<Box<RawValue>> {
    params.object(META)?.remove(TOKEN)
}

/// Puts `token` in the place of the caller's, if there is one.
pub fn replace_token(params: &mut Members, token: u64) {
    if let Some(mut meta) = params.object(META).filter(|meta| meta.get(TOKEN).is_some()) {
        meta.put(TOKEN, &token);
        params.set(META, meta.to_raw());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Members {
        Members::parse(text.as_bytes()).unwrap()
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
        for text in [r#"{"a":1}"#, r#"{"a":1,"_meta":{}}"#, r#"{"a":1,"_meta":[1]}"#] {
            let mut params = members(text);
            complete(&mut params);
            assert_eq!(params.to_raw().get(), format!(r#"{{"a":1,"_meta":{whole}}}"#), "{text}");
        }
        let mut twice = members(r#"{"a":1,"_meta":{"progressToken":1,"progressToken":2}}"#);
        complete(&mut twice);
        assert_eq!(twice.to_raw().get(), format!(r#"{{"a":1,"_meta":{whole}}}"#));
    }

    #[test]
    fn what_the_caller_says_of_itself_stays_but_not_its_protocol() {
        let mut params = members(&format!(
            r#"{{"_meta":{{"{META_CAPABILITIES}":{{"x":1.0}},"{META_PROTOCOL}":"2025-11-25","k":[ 1 ],"{META_CLIENT}":{{"name":"it"}}}}}}"#
        ));
        complete(&mut params);
        let expected = format!(
            r#"{{"_meta":{{"{META_CAPABILITIES}":{{"x":1.0}},"{META_PROTOCOL}":"{STATELESS}","k":[ 1 ],"{META_CLIENT}":{{"name":"it"}}}}}}"#
        );
        assert_eq!(params.to_raw().get(), expected);
    }

    #[test]
    fn older_servers_get_nothing_of_it() {
        let mut params = members(r#"{"a":1}"#);
        complete(&mut params);
        strip(&mut params);
        assert_eq!(params.to_raw().get(), r#"{"a":1}"#, "an empty one goes whole");
        let mut params = members(r#"{"_meta":{"progressToken":"t"},"a":1}"#);
        complete(&mut params);
        strip(&mut params);
        assert_eq!(params.to_raw().get(), r#"{"_meta":{"progressToken":"t"},"a":1}"#);
        for text in [r#"{"_meta":"x","a":1}"#, r#"{"_meta":{"a":1,"a":2},"a":1}"#, r#"{"a":1}"#] {
            let mut params = members(text);
            strip(&mut params);
            assert_eq!(params.to_raw().get(), r#"{"a":1}"#, "{text}");
        }
    }

    #[test]
    fn a_token_is_replaced_where_there_is_one() {
        let mut params = members(r#"{"_meta":{"progressToken":"t\u00e9","k":1}}"#);
        assert_eq!(token(&params).unwrap().get(), r#""t\u00e9""#);
        replace_token(&mut params, 7);
        assert_eq!(params.to_raw().get(), r#"{"_meta":{"progressToken":7,"k":1}}"#);
        for text in [r#"{"_meta":{"k":1}}"#, r#"{"a":1}"#, r#"{"_meta":1}"#] {
            let mut params = members(text);
            assert!(token(&params).is_none(), "{text}");
            replace_token(&mut params, 7);
            assert_eq!(params.to_raw().get(), text);
        }
    }
}
