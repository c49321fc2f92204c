//! LiteLLM's budgets beside `max_budget`: by model, in more windows, raised for a time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::super::error::ApiError;
use super::super::input::money::LaxUsd;
use super::super::input::patch::Field;
use super::super::input::time::Moment;
use super::fields::{money, window};
use super::rows;
use crate::stores::records::{Budget, BudgetRaise, Limits};

/// Budgets by model.
pub type ModelBudgets = BTreeMap<String, ModelBudget>;

/// By which names errors call a budget's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Model,
    Listed,
}

/// A model's budget, by either of the names that LiteLLM has had for its fields.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct ModelBudget {
    /// What may be spent.
    #[schema(value_type = Option<LaxUsd>)]
    budget_limit: Option<LaxUsd>,
    /// The same.
    #[schema(value_type = Option<LaxUsd>)]
    max_budget: Option<LaxUsd>,
    /// `1d`, `30d`. Absent: it never begins anew.
    time_period: Option<String>,
    /// The same.
    budget_duration: Option<String>,
}

/// A budget with a window of its own.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct BudgetLimit {
    /// `1d`, `30d`. Absent: it never begins anew.
    budget_duration: Option<String>,
    /// What may be spent in it.
    #[schema(value_type = Option<LaxUsd>)]
    max_budget: Option<LaxUsd>,
}

/// What a request says of them.
pub struct BudgetFields<'a> {
    pub model_max_budget: &'a Field<ModelBudgets>,
    pub budget_limits: &'a Field<Vec<BudgetLimit>>,
    pub temp_budget_increase: &'a Field<LaxUsd>,
    pub temp_budget_expiry: &'a Field<String>,
}

impl BudgetFields<'_> {
    /// Sets those that are named.
    ///
    /// # Errors
    /// 422, which names the field.
    pub fn apply(&self, limits: &mut Limits) -> Result<(), ApiError> {
        match self.model_max_budget {
            Field::Absent => {}
            Field::Null => limits.model_budgets.clear(),
            Field::Value(budgets) => {
                let budgets = budgets.iter().map(|(model, budget)| {
                    let at = format!("model_max_budget.{model}");
                    let limit = budget.budget_limit.or(budget.max_budget);
                    let duration = budget.time_period.as_ref().or(budget.budget_duration.as_ref());
                    Ok((model.clone(), read(&at, Names::Model, limit, duration)?))
                });
                limits.model_budgets = budgets.collect::<Result<_, ApiError>>()?;
            }
        }
        match self.budget_limits {
            Field::Absent => {}
            Field::Null => limits.budgets.clear(),
            Field::Value(budgets) => {
                let budgets = budgets.iter().enumerate().map(|(index, budget)| {
                    let at = format!("budget_limits[{index}]");
                    let duration = budget.budget_duration.as_ref();
                    read(&at, Names::Listed, budget.max_budget, duration)
                });
                limits.budgets = budgets.collect::<Result<_, ApiError>>()?;
            }
        }
        let before = limits.budget_raise.unwrap_or_default();
        let raise = BudgetRaise {
            by: money(self.temp_budget_increase, before.by),
            until: match self.temp_budget_expiry {
                Field::Absent => before.until,
                Field::Null => None,
                Field::Value(text) if text.is_empty() => None,
                Field::Value(text) => Some(moment(text)?),
            },
        };
        limits.budget_raise = (raise != BudgetRaise::default()).then_some(raise);
        Ok(())
    }
}

fn read(
    at: &str,
    names: Names,
    limit: Option<LaxUsd>,
    duration: Option<&String>,
) -> Result<Budget, ApiError> {
    let (limit_name, duration_name) = match names {
        Names::Model => ("budget_limit", "time_period"),
        Names::Listed => ("max_budget", "budget_duration"),
    };
    let Some(limit) = limit.and_then(|limit| limit.0) else {
        return Err(ApiError::invalid(format!("{at}.{limit_name}"), "is required"));
    };
    let field = format!("{at}.{duration_name}");
    let duration = duration.map(|duration| window(&field, duration)).transpose()?.flatten();
    Ok(Budget { limit: limit.0, duration })
}

/// A time as Python writes it: with an offset, or without one and then in UTC; or a day alone.
fn moment(text: &str) -> Result<i64, ApiError> {
    let with_offset = text.parse::<Timestamp>().ok();
    let plain = || {
        let time = text.parse::<DateTime>().ok()?;
        time.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp())
    };
    let read = with_offset.or_else(plain).map(Timestamp::as_millisecond);
    read.filter(|moment| *moment >= 0).ok_or_else(|| {
        ApiError::invalid("temp_budget_expiry", "must be a time such as 2030-01-31T12:00:00Z")
    })
}

/// What an answer says of them.
pub fn row(limits: &Limits) -> Map<String, Value> {
    let by_model: Map<String, Value> = limits
        .model_budgets
        .iter()
        .map(|(model, budget)| {
            let row = json!({
                "budget_limit": rows::money(budget.limit),
                "time_period": budget.duration,
            });
            (model.clone(), row)
        })
        .collect();
    let listed: Vec<Value> = limits
        .budgets
        .iter()
        .map(|budget| {
            json!({
                "budget_duration": budget.duration,
                "max_budget": rows::money(budget.limit),
            })
        })
        .collect();
    let raise = limits.budget_raise.unwrap_or_default();
    let mut row = Map::new();
    row.insert("model_max_budget".to_owned(), Value::Object(by_model));
    row.insert("budget_limits".to_owned(), Value::Array(listed));
    row.insert("temp_budget_increase".to_owned(), json!(raise.by.map(rows::money)));
    let expiry = raise.until.map(|until| Moment(until).python());
    row.insert("temp_budget_expiry".to_owned(), json!(expiry));
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::input::json;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        model_max_budget: Field<ModelBudgets>,
        budget_limits: Field<Vec<BudgetLimit>>,
        temp_budget_increase: Field<LaxUsd>,
        temp_budget_expiry: Field<String>,
    }

    fn apply(body: &Value, limits: &mut Limits) -> Result<(), ApiError> {
        let (body, _) = json::lenient::<Body>(body.to_string().as_bytes())?;
        BudgetFields {
            model_max_budget: &body.model_max_budget,
            budget_limits: &body.budget_limits,
            temp_budget_increase: &body.temp_budget_increase,
            temp_budget_expiry: &body.temp_budget_expiry,
        }
        .apply(limits)
    }

    #[test]
    fn what_is_set_is_given_back_under_one_name() {
        let mut limits = Limits::default();
        let body = json!({
            "model_max_budget": {
                "a": {"budget_limit": 1.5, "time_period": "daily"},
                "b": {"max_budget": "2", "budget_duration": "30d"},
                "c": {"max_budget": 3},
            },
            "budget_limits": [{"budget_duration": "7d", "max_budget": 4}],
            "temp_budget_increase": 5,
            "temp_budget_expiry": "2030-01-31T12:00:00",
        });
        apply(&body, &mut limits).unwrap();
        let expected = json!({
            "model_max_budget": {
                "a": {"budget_limit": 1.5, "time_period": "1d"},
                "b": {"budget_limit": 2.0, "time_period": "30d"},
                "c": {"budget_limit": 3.0, "time_period": null},
            },
            "budget_limits": [{"budget_duration": "7d", "max_budget": 4.0}],
            "temp_budget_increase": 5.0,
            "temp_budget_expiry": "2030-01-31T12:00:00.000000+00:00",
        });
        assert_eq!(Value::Object(row(&limits)), expected);
        apply(&json!({}), &mut limits).unwrap();
        assert_eq!(Value::Object(row(&limits)), expected, "what is not named stays");
        let nothing = json!({
            "model_max_budget": {}, "budget_limits": null,
            "temp_budget_increase": null, "temp_budget_expiry": null,
        });
        apply(&nothing, &mut limits).unwrap();
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, field) in [
            (json!({"model_max_budget": {"m": {}}}), "model_max_budget.m.budget_limit"),
            (
                json!({"model_max_budget": {"m": {"budget_limit": 1, "time_period": "x"}}}),
                "model_max_budget.m.time_period",
            ),
            (json!({"budget_limits": [{"budget_duration": "1d"}]}), "budget_limits[0].max_budget"),
            (
                json!({"budget_limits": [{"budget_duration": "x", "max_budget": 1}]}),
                "budget_limits[0].budget_duration",
            ),
            (json!({"temp_budget_expiry": "tomorrow"}), "temp_budget_expiry"),
            (json!({"temp_budget_increase": -1}), "temp_budget_increase"),
        ] {
            let error = apply(&body, &mut Limits::default()).expect_err("wrong");
            assert_eq!(error.field.as_deref(), Some(field), "{body}");
        }
        assert_eq!(moment("2030-01-31").unwrap(), moment("2030-01-31T01:00:00+01:00").unwrap());
    }
}
