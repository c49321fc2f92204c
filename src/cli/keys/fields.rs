//! What the command line says of a key.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::client::ClientError;

/// What to say of a key. Lists replace what was there.
#[derive(Args, Default)]
pub struct Fields {
    /// A name, unique among all keys.
    #[arg(long)]
    alias: Option<String>,
    /// The user to whom it belongs.
    #[arg(long)]
    user: Option<String>,
    /// The team to which it belongs.
    #[arg(long)]
    team: Option<String>,
    /// The organization to which it belongs.
    #[arg(long)]
    organization: Option<String>,
    /// A model that it may call: a name, or a beginning and `*`. May be repeated; all unless given.
    #[arg(long = "model")]
    models: Vec<String>,
    /// A route that it may use. May be repeated; all unless given.
    #[arg(long = "route")]
    routes: Vec<String>,
    /// When it ends, such as 2030-01-31T12:00:00Z.
    #[arg(long, conflicts_with = "expires_in")]
    expires_at: Option<String>,
    /// In how long it ends, such as 30d.
    #[arg(long)]
    expires_in: Option<String>,
    /// A word by which its use is counted. May be repeated.
    #[arg(long = "tag")]
    tags: Vec<String>,
    /// Something to remember: NAME=VALUE. May be repeated.
    #[arg(long = "metadata", value_name = "NAME=VALUE")]
    metadata: Vec<String>,
    /// Requests a minute.
    #[arg(long)]
    rpm: Option<u64>,
    /// Tokens a minute.
    #[arg(long)]
    tpm: Option<u64>,
    /// Requests under way at once.
    #[arg(long)]
    parallel: Option<u64>,
    /// What may be spent in each budget window, in USD.
    #[arg(long)]
    budget: Option<String>,
    /// From what on there are warnings, in USD.
    #[arg(long)]
    soft_budget: Option<String>,
    /// The budget's window, such as 30d. It never begins anew unless given.
    #[arg(long)]
    budget_duration: Option<String>,
}

/// What can be taken away from a key.
#[derive(Clone, Copy, ValueEnum)]
pub enum Unset {
    Alias,
    User,
    Team,
    Organization,
    Models,
    Routes,
    Expiry,
    Tags,
    Metadata,
    Rpm,
    Tpm,
    Parallel,
    Budget,
    SoftBudget,
    BudgetDuration,
}

impl Fields {
    /// The body of a request: what is named, and `null` for what is to be taken away.
    ///
    /// # Errors
    /// Metadata without a `=`.
    pub fn body(&self, unset: &[Unset]) -> Result<Map<String, Value>, ClientError> {
        let mut body = Map::new();
        for field in unset {
            let (limits, name) = field.place();
            let below = if limits { limits_of(&mut body) } else { &mut body };
            below.insert(name.to_owned(), Value::Null);
        }
        for (name, value) in [
            ("alias", &self.alias),
            ("user", &self.user),
            ("team", &self.team),
            ("organization", &self.organization),
            ("expires_at", &self.expires_at),
            ("expires_in", &self.expires_in),
        ] {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        }
        for (name, list) in
            [("models", &self.models), ("routes", &self.routes), ("tags", &self.tags)]
        {
            if !list.is_empty() {
                body.insert(name.to_owned(), json!(list));
            }
        }
        if !self.metadata.is_empty() {
            body.insert("metadata".to_owned(), Value::Object(self.metadata()?));
        }
        for (name, value) in [
            ("rpm", self.rpm.map(|number| json!(number))),
            ("tpm", self.tpm.map(|number| json!(number))),
            ("parallel", self.parallel.map(|number| json!(number))),
            ("budget", self.budget.as_ref().map(|usd| json!(usd))),
            ("soft_budget", self.soft_budget.as_ref().map(|usd| json!(usd))),
            ("budget_duration", self.budget_duration.as_ref().map(|span| json!(span))),
        ] {
            if let Some(value) = value {
                limits_of(&mut body).insert(name.to_owned(), value);
            }
        }
        Ok(body)
    }

    fn metadata(&self) -> Result<Map<String, Value>, ClientError> {
        let pair = |text: &String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), json!(value))),
            _ => Err(ClientError::Usage(format!("--metadata {text}: must be NAME=VALUE"))),
        };
        self.metadata.iter().map(pair).collect()
    }
}

impl Unset {
    /// Whether it is one of the limits, and its name.
    const fn place(self) -> (bool, &'static str) {
        match self {
            Self::Alias => (false, "alias"),
            Self::User => (false, "user"),
            Self::Team => (false, "team"),
            Self::Organization => (false, "organization"),
            Self::Models => (false, "models"),
            Self::Routes => (false, "routes"),
            Self::Expiry => (false, "expires_at"),
            Self::Tags => (false, "tags"),
            Self::Metadata => (false, "metadata"),
            Self::Rpm => (true, "rpm"),
            Self::Tpm => (true, "tpm"),
            Self::Parallel => (true, "parallel"),
            Self::Budget => (true, "budget"),
            Self::SoftBudget => (true, "soft_budget"),
            Self::BudgetDuration => (true, "budget_duration"),
        }
    }
}

fn limits_of(body: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let limits = body.entry("limits").or_insert_with(|| json!({}));
    match limits {
        Value::Object(limits) => limits,
        _ => unreachable!("it was just made an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_said() {
        let body = |fields: Fields, unset: &[Unset]| {
            fields.body(unset).map(Value::Object).map_err(|error| error.to_string())
        };
        assert_eq!(body(Fields::default(), &[]), Ok(json!({})));
        let fields = Fields {
            models: vec!["o3".to_owned()],
            metadata: vec!["a=b=c".to_owned()],
            rpm: Some(5),
            budget: Some("1.50".to_owned()),
            ..Fields::default()
        };
        let expected = json!({
            "models": ["o3"],
            "metadata": {"a": "b=c"},
            "limits": {"rpm": 5, "budget": "1.50", "tpm": null},
            "alias": null,
        });
        assert_eq!(body(fields, &[Unset::Alias, Unset::Tpm]), Ok(expected));
        let wrong = Fields { metadata: vec!["a".to_owned()], ..Fields::default() };
        assert!(body(wrong, &[]).is_err());
    }
}
