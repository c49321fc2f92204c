//! Limits and budgets in JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::input::money::Usd;
use super::super::input::time::Span;
use crate::stores::records;

/// Limits and budgets. What is absent is not limited.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Limits {
    /// Requests a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    /// Tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Requests under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u64>,
    /// What may be spent in each budget window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Usd>,
    /// From what on there are warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_budget: Option<Usd>,
    /// The budget's window. Absent: it never begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_duration: Option<Span>,
    /// Requests a minute, by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_rpm: BTreeMap<String, u64>,
    /// Tokens a minute, by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_tpm: BTreeMap<String, u64>,
}

impl From<records::Limits> for Limits {
    fn from(limits: records::Limits) -> Self {
        Self {
            rpm: limits.rpm,
            tpm: limits.tpm,
            parallel: limits.parallel,
            budget: limits.budget.map(Usd),
            soft_budget: limits.soft_budget.map(Usd),
            budget_duration: limits.budget_duration.as_deref().and_then(Span::parse),
            model_rpm: limits.model_rpm,
            model_tpm: limits.model_tpm,
        }
    }
}

impl From<Limits> for records::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            rpm: limits.rpm,
            tpm: limits.tpm,
            parallel: limits.parallel,
            budget: limits.budget.map(|usd| usd.0),
            soft_budget: limits.soft_budget.map(|usd| usd.0),
            budget_duration: limits.budget_duration.map(|span| span.as_str().to_owned()),
            model_rpm: limits.model_rpm,
            model_tpm: limits.model_tpm,
        }
    }
}
