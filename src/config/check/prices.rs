//! `budgets`, `answers`, `prices` and `models.<name>.price`: what requests cost.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use sluicegate_filters::price::decimal::DecimalError;
use sluicegate_filters::price::litellm::{self, FileError};
use sluicegate_filters::price::manual::{parse_per_million, parse_per_request};
use sluicegate_filters::price::{ManualPrice, PriceFile};

use super::{required, section, value};
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::report;
use crate::config::valid::{Answers, Budgets, Prices, Unpriced};

pub(in crate::config) const BUDGETS: Keys = Keys {
    known: &["unpriced"],
    renamed: &[("unpriced_models", "unpriced"), ("no_price", "unpriced")],
    later: &[],
};

pub(in crate::config) const ANSWERS: Keys = Keys {
    known: &["cost_header", "stream_cost"],
    renamed: &[("cost", "cost_header"), ("include_cost", "stream_cost")],
    later: &[],
};

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["file", "format"],
    renamed: &[("path", "file"), ("url", "file"), ("type", "format")],
    later: &[],
};

pub(in crate::config) const PRICE: Keys = Keys {
    known: &[
        "input",
        "output",
        "cached_input",
        "cache_write",
        "cache_write_1h",
        "reasoning",
        "audio_input",
        "audio_output",
        "request",
    ],
    renamed: &[
        ("input_cost_per_token", "input"),
        ("output_cost_per_token", "output"),
        ("prompt", "input"),
        ("completion", "output"),
        ("cache_read", "cached_input"),
        ("cached", "cached_input"),
        ("cache_write_5m", "cache_write"),
        ("per_request", "request"),
    ],
    later: &[],
};

const UNPRICED: [(&str, Unpriced); 2] = [("refuse", Unpriced::Refuse), ("allow", Unpriced::Allow)];

/// The one format; a word of its own, so that another can be told from it.
const FORMATS: [(&str, ()); 1] = [("litellm", ())];

/// Reads `budgets`.
pub(super) fn budgets(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Budgets {
    let fields = section(reader, at, &BUDGETS);
    let unpriced =
        value(reader, fields.as_ref(), "unpriced", |reader, at| reader.choice(at, &UNPRICED));
    Budgets { unpriced: unpriced.unwrap_or(Unpriced::Refuse) }
}

/// Reads `answers`.
pub(super) fn answers(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Answers {
    let fields = section(reader, at, &ANSWERS);
    let mut flag = |key| value(reader, fields.as_ref(), key, |reader, at| reader.boolean(at));
    Answers {
        cost_header: flag("cost_header").unwrap_or(true),
        stream_cost: flag("stream_cost").unwrap_or(false),
    }
}

/// Reads `prices`, and the file that it names.
pub(super) fn prices(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Option<Prices> {
    let at = at?;
    let fields = reader.fields(at, &KEYS);
    value(reader, Some(&fields), "format", |reader, at| reader.choice(at, &FORMATS));
    let hint = "give the path of a file such as LiteLLM's model_prices_and_context_window.json";
    let at = required(reader, at, &fields, "file", hint)?;
    let file = reader.file(&at)?;
    let shown = report::shorten_path(&file);
    match read(&file) {
        Ok(Ok(content)) => Some(Prices { file, content: Arc::new(content) }),
        Ok(Err(error)) => {
            reader.wrong(&at, format!("{shown}: {error}"), "mend the file");
            None
        }
        Err(error) => {
            reader.wrong(&at, format!("{shown} can't be read: {error}"), None::<&str>);
            None
        }
    }
}

fn read(file: &Path) -> std::io::Result<Result<PriceFile, FileError>> {
    let mut content = Vec::new();
    // One byte more than allowed tells that there is more.
    File::open(file)?.take(litellm::MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok(PriceFile::parse(&content))
}

/// Reads a model's `price`.
pub(super) fn price(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<ManualPrice> {
    let fields = reader.fields(at, &PRICE);
    for (key, hint) in [
        ("input", "write USD per million tokens as text, as in input: \"0.15\""),
        ("output", "write USD per million tokens as text; \"0\" for a model without output"),
    ] {
        required(reader, at, &fields, key, hint);
    }
    let mut tokens = |key| amount(reader, &fields, key, parse_per_million);
    let price = ManualPrice {
        input: tokens("input").unwrap_or(0),
        output: tokens("output").unwrap_or(0),
        cached_input: tokens("cached_input"),
        cache_write: tokens("cache_write"),
        cache_write_1h: tokens("cache_write_1h"),
        reasoning: tokens("reasoning"),
        audio_input: tokens("audio_input"),
        audio_output: tokens("audio_output"),
        request: amount(reader, &fields, "request", parse_per_request),
    };
    Some(price)
}

/// An amount of money, as text: a number of YAML would pass through a float in other tools.
fn amount(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    parse: fn(&str) -> Result<u64, DecimalError>,
) -> Option<u64> {
    value(reader, Some(fields), key, |reader, at| {
        let text = reader.text(at)?;
        let read = parse(text);
        if let Err(error) = &read {
            let hint = match error {
                DecimalError::Malformed => "write a plain decimal, as in \"0.15\"",
                DecimalError::TooFine(_) => "round it up; less could not be kept exactly",
                DecimalError::TooLarge if key == "request" => "it can be 0 to 1000 USD a request",
                DecimalError::TooLarge => "it can be 0 to 1000000 USD per million tokens",
            };
            reader.wrong(at, format!("amount {} {error}", report::shorten(text)), hint);
        }
        read.ok()
    })
}
