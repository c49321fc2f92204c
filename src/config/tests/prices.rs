//! `budgets`, `answers`, `prices` and `models.<name>.price`.

use std::fs;

use super::*;
use crate::config::valid::Unpriced;

const HEAD: &str = "auth: { anonymous: true }\nproviders: { ollama: }\nmodels:\n  m:\n    targets: [{ provider: ollama }]\n    ";

#[test]
fn what_is_not_said_is_refused() {
    let config = loaded("auth: { anonymous: true }\n").config;
    assert_eq!(config.budgets.unpriced, Unpriced::Refuse);
    assert!(config.prices.is_none());
    let config = loaded("auth: { anonymous: true }\nbudgets: { unpriced: allow }\n").config;
    assert_eq!(config.budgets.unpriced, Unpriced::Allow);
    refused(
        "budgets: { unpriced: ignore }",
        "c.yaml:1:22: budgets.unpriced: unknown value `ignore`; it can be `refuse`, `allow`",
    );
}

#[test]
fn a_header_tells_the_cost_and_a_stream_only_where_it_is_asked() {
    let config = loaded("auth: { anonymous: true }\n").config;
    assert!(config.answers.cost_header && !config.answers.stream_cost);
    let text = "auth: { anonymous: true }\nanswers: { cost_header: false, stream_cost: true }\n";
    let first = loaded(text);
    assert!(!first.config.answers.cost_header && first.config.answers.stream_cost);
    assert_eq!(loaded(&dump(&first.config)).hash, first.hash);
    refused(
        "answers: { cost_header: maybe }",
        "c.yaml:1:25: answers.cost_header: expected true or false, found `maybe`; write true or false",
    );
}

#[test]
fn a_price_is_kept_to_the_last_digit() {
    let text = format!(
        "{HEAD}price: {{ input: \"0.15\", output: \"0.60\", cached_input: \"0.000001\", request: \"0.0125\" }}\n    max_output_tokens: 4096\n"
    );
    let first = loaded(&text);
    let model = &first.config.models["m"];
    let price = model.price.unwrap();
    assert_eq!((price.input, price.output), (150_000, 600_000));
    assert_eq!((price.cached_input, price.request), (Some(1), Some(12_500_000_000)));
    assert_eq!((price.cache_write, model.max_output_tokens), (None, Some(4_096)));
    let again = loaded(&dump(&first.config));
    assert_eq!(again.config.models["m"].price, Some(price));
    assert_eq!(again.hash, first.hash);
    let dearer = loaded(&text.replace("0.60", "0.61"));
    assert_eq!(diff(&first.config, &dearer.config)[0].path, "models.m.price.output");
}

#[test]
fn prices_that_are_none() {
    for (price, expected) in [
        ("{ input: \"1\" }", "5: models.m.price: `output` is missing"),
        ("{ input: 0.15, output: \"1\" }", "21: models.m.price.input: expected text, found `0.15`"),
        (
            "{ input: \"0.1500001\", output: \"1\" }",
            "21: models.m.price.input: amount `0.1500001` has more than 6 decimals; round it up",
        ),
        (
            "{ input: \"1e-7\", output: \"1\" }",
            "21: models.m.price.input: amount `1e-7` is not a decimal number; write a plain decimal",
        ),
        (
            "{ input: \"-1\", output: \"1\" }",
            "21: models.m.price.input: amount `-1` is not a decimal number",
        ),
        (
            "{ input: \"1\", output: \"1000001\" }",
            "34: models.m.price.output: amount `1000001` is too large; it can be 0 to 1000000 USD",
        ),
        (
            "{ input: \"1\", output: \"1\", request: \"1001\" }",
            "49: models.m.price.request: amount `1001` is too large; it can be 0 to 1000 USD",
        ),
        (
            "{ input: \"1\", output: \"1\", cache_read: \"1\" }",
            "38: models.m.price.cache_read: unknown key; it is called `cached_input` here",
        ),
        ("free", "12: models.m.price: expected a mapping, found `free`"),
    ] {
        let problems = problems(&format!("{HEAD}price: {price}\n"));
        let found = problems.iter().any(|problem| problem.contains(expected));
        assert!(found, "{expected}\n{problems:#?}");
    }
    refused(
        &format!("{HEAD}max_output_tokens: 0"),
        "c.yaml:6:24: models.m.max_output_tokens: `0` is out of range; it can be 1 to 100000000",
    );
}

#[test]
fn a_file_of_prices() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prices.json");
    let text = format!("{HEAD}\nprices: {{ file: {}, format: litellm }}\n", file.display());
    assert!(problems(&text)[0].contains("can't be read: No such file"), "{:?}", problems(&text));

    fs::write(&file, r#"{"ollama/m": {"input_cost_per_token": "free"}}"#).unwrap();
    let problem = &problems(&text)[0];
    assert!(problem.starts_with("c.yaml:7:17: prices.file: "), "{problem}");
    let expected = "`input_cost_per_token` of `ollama/m` is not a decimal number; mend the file";
    assert!(problem.ends_with(expected), "{problem}");

    fs::write(&file, r#"{"ollama/m": {"input_cost_per_token": 1e-06}}"#).unwrap();
    let first = loaded(&text);
    let prices = first.config.prices.as_ref().unwrap();
    assert!(prices.content.find(&["ollama"], "m").is_some());
    assert_eq!(diff(&first.config, &loaded(&dump(&first.config)).config), []);

    fs::write(&file, r#"{"ollama/m": {"input_cost_per_token": 2e-06}}"#).unwrap();
    let changes = diff(&first.config, &loaded(&text).config);
    assert_eq!((changes.len(), changes[0].path.as_str()), (1, "prices.file"));
    assert!(changes[0].from.as_ref().unwrap().contains("file:"), "{:?}", changes[0]);

    let wrong = problems("auth: { anonymous: true }\nprices: { format: csv }\n");
    let expected = "c.yaml:2:19: prices.format: unknown value `csv`; it can be `litellm`";
    assert!(wrong.iter().any(|problem| problem == expected), "{wrong:#?}");
    let missing = &problems("auth: { anonymous: true }\nprices: {}\n")[0];
    assert!(missing.contains("prices: `file` is missing; give the path"), "{missing}");
}
