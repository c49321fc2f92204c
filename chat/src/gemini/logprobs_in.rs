//! Reads log probabilities: `logprobsResult`, into the list that OpenAI's dialects share.

use std::borrow::Cow;

use crate::{
    json::{Fault, Kind, Number, Raw, Reader, Writer},
    told,
};

/// A token and its log probability.
struct Candidate<'a> {
    token: Cow<'a, str>,
    /// `None` stands for zero, which is left out.
    logprob: Option<Number<'a>>,
}

/// Reads the value that comes next. `None` when it tells of no token.
pub fn read(reader: &mut Reader<'_>) -> Result<Option<Raw<'static>>, Fault> {
    let (mut chosen, mut top) = (Vec::new(), Vec::new());
    told::object_if(reader, |key, reader| {
        match key {
            "chosenCandidates" => chosen = candidates(reader)?,
            "topCandidates" => told::array_if(reader, |reader| {
                let mut alternatives = Vec::new();
                told::object_if(reader, |key, reader| {
                    if key != "candidates" {
                        return Ok(false);
                    }
                    alternatives = candidates(reader)?;
                    Ok::<_, Fault>(true)
                })?;
                top.push(alternatives);
                Ok::<_, Fault>(())
            })?,
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    if chosen.is_empty() {
        return Ok(None);
    }
    let mut list = Vec::new();
    let mut out = Writer::new(&mut list);
    out.open_array();
    for (at, token) in chosen.iter().enumerate() {
        open(token, out.element());
        out.key("top_logprobs").open_array();
        for alternative in top.get(at).into_iter().flatten() {
            open(alternative, out.element());
            out.close();
        }
        out.close_array().close();
    }
    out.close_array();
    Ok(String::from_utf8(list).ok().and_then(|list| Raw::parse(list.into()).ok()))
}

fn candidates<'a>(reader: &mut Reader<'a>) -> Result<Vec<Candidate<'a>>, Fault> {
    let mut list = Vec::new();
    told::array_if(reader, |reader| {
        let mut candidate = Candidate { token: "".into(), logprob: None };
        told::object_if(reader, |key, reader| {
            match key {
                "token" => candidate.token = told::text(reader)?.unwrap_or_default(),
                "logProbability" if reader.kind()? == Kind::Number => {
                    candidate.logprob = Some(reader.number()?);
                }
                _ => return Ok(false),
            }
            Ok::<_, Fault>(true)
        })?;
        list.push(candidate);
        Ok::<_, Fault>(())
    })?;
    Ok(list)
}

fn open(candidate: &Candidate<'_>, out: &mut Writer<'_>) {
    out.open().field("token", &candidate.token).key("logprob");
    out.raw(candidate.logprob.map_or("0", |number| number.as_str())).key("bytes").null();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_their_alternatives() {
        let result = r#"{"topCandidates":[{"candidates":[{"token":"Hi","tokenId":1,"logProbability":-0.1},
            {"token":"Yo","logProbability":-2.5}]}],
            "chosenCandidates":[{"token":"Hi","logProbability":-0.1},{"token":"\"!"}]}"#;
        let list = read(&mut Reader::new(result)).unwrap().unwrap();
        let expected = concat!(
            r#"[{"token":"Hi","logprob":-0.1,"bytes":null,"top_logprobs":["#,
            r#"{"token":"Hi","logprob":-0.1,"bytes":null},{"token":"Yo","logprob":-2.5,"bytes":null}]},"#,
            r#"{"token":"\"!","logprob":0,"bytes":null,"top_logprobs":[]}]"#,
        );
        assert_eq!(list.as_str(), expected);
        for nothing in ["{}", "null", "[]", r#"{"chosenCandidates":[]}"#] {
            assert_eq!(read(&mut Reader::new(nothing)).unwrap(), None);
        }
    }
}
