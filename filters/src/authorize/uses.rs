//! What of a request a policy's conditions look at, found without running them.
//!
//! A policy that looks at nothing which differs from one request to the next gives the same answer
//! each time. And a policy for which something is missing that it never looks at gives the answer
//! that it would have given with it.

use std::ops::{BitOr, BitOrAssign};

use cedar_policy::Policy;
use cedar_policy::pst::{Clause, Expr, Var};

/// A set of context attributes and of variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses(u16);

impl Uses {
    pub(super) const NONE: Self = Self(0);
    pub(super) const IP: Self = Self(1);
    pub(super) const STREAM: Self = Self(1 << 1);
    pub(super) const ESTIMATED_TOKENS: Self = Self(1 << 2);
    pub(super) const ESTIMATED_COST: Self = Self(1 << 3);
    pub(super) const TIME: Self = Self(1 << 4);
    pub(super) const HOUR: Self = Self(1 << 5);
    pub(super) const WEEKDAY: Self = Self(1 << 6);
    pub(super) const ARGUMENTS: Self = Self(1 << 7);
    /// The principal: itself, or what it leads to.
    pub(super) const PRINCIPAL: Self = Self(1 << 8);
    /// The resource or the action.
    pub(super) const OBJECT: Self = Self(1 << 9);
    /// All of the above, and whatever else there may be.
    pub(super) const ALL: Self = Self(u16::MAX);

    pub(super) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the answer is the same for every request of a principal, an action and a resource.
    pub(super) fn is_fixed(self) -> bool {
        self.0 & !(Self::PRINCIPAL.0 | Self::OBJECT.0) == 0
    }

    fn of_attribute(name: &str) -> Self {
        match name {
            // The same for every request of one configuration.
            "environment" => Self::NONE,
            "ip" => Self::IP,
            "stream" => Self::STREAM,
            "estimated_tokens" => Self::ESTIMATED_TOKENS,
            "estimated_cost" => Self::ESTIMATED_COST,
            "time" => Self::TIME,
            "hour" => Self::HOUR,
            "weekday" => Self::WEEKDAY,
            "arguments" => Self::ARGUMENTS,
            _ => Self::ALL,
        }
    }
}

impl BitOr for Uses {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Uses {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// What `policy` looks at. Where that can't be said, everything.
pub(super) fn of(policy: &Policy) -> Uses {
    let Ok(policy) = policy.to_pst() else { return Uses::ALL };
    let clauses = policy.body().clauses().iter();
    let exprs = clauses.map(|clause| match clause {
        Clause::When(expr) | Clause::Unless(expr) => expr,
    });
    exprs.map(|expr| of_expr(expr)).fold(Uses::NONE, BitOr::bitor)
}

fn of_expr(expr: &Expr) -> Uses {
    let is_context = |expr: &Expr| matches!(expr, Expr::Var(Var::Context));
    match expr {
        Expr::Var(Var::Context) => Uses::ALL,
        Expr::GetAttr { expr, attr } if is_context(expr) => Uses::of_attribute(attr),
        // `context has a.b` looks at `a`, and at `b` within it.
        Expr::HasAttr { expr, attrs } if is_context(expr) => Uses::of_attribute(&attrs.head),
        Expr::Var(Var::Principal) => Uses::PRINCIPAL,
        Expr::Var(Var::Action | Var::Resource) => Uses::OBJECT,
        Expr::Literal(_) | Expr::Slot(_) => Uses::NONE,
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. }
        | Expr::Is { expr, in_expr: None, .. } => of_expr(expr),
        Expr::BinaryOp { left, right, .. } | Expr::Is { expr: left, in_expr: Some(right), .. } => {
            of_expr(left) | of_expr(right)
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            of_expr(cond) | of_expr(then_expr) | of_expr(else_expr)
        }
        Expr::Set(exprs) => exprs.iter().map(|expr| of_expr(expr)).fold(Uses::NONE, BitOr::bitor),
        Expr::Record(fields) => {
            fields.values().map(|expr| of_expr(expr)).fold(Uses::NONE, BitOr::bitor)
        }
        _ => Uses::ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(conditions: &str) -> Uses {
        let text = format!("permit(principal, action, resource) {conditions};");
        of(&Policy::parse(None, text).expect("Cedar text"))
    }

    #[test]
    fn only_what_can_change_makes_an_answer_open() {
        for conditions in
            ["", "when { principal in resource }", "when { context.environment == \"x\" }"]
        {
            assert!(of_text(conditions).is_fixed(), "{conditions}");
        }
        for conditions in ["when { context.ip.isLoopback() }", "when { principal == context.user }"]
        {
            assert!(!of_text(conditions).is_fixed(), "{conditions}");
        }
        assert!(!Uses::ALL.is_fixed());
    }

    #[test]
    fn every_way_to_look_at_the_context_is_seen() {
        for (conditions, uses) in [
            ("", Uses::NONE),
            ("when { User::\"a\" == Team::\"b\" }", Uses::NONE),
            ("when { principal.team.context == \"context\" }", Uses::PRINCIPAL),
            ("when { action in Action::\"infer\" }", Uses::OBJECT),
            ("unless { resource.name like \"*\" }", Uses::OBJECT),
            (
                "when { resource has owner && principal in resource.owner }",
                Uses::OBJECT | Uses::PRINCIPAL,
            ),
            (
                "when { context.environment == \"x\" } unless { context has environment }",
                Uses::NONE,
            ),
            ("when { context.ip.isLoopback() }", Uses::IP),
            ("when { context[\"ip\"].isLoopback() }", Uses::IP),
            ("unless { context.stream }", Uses::STREAM),
            ("when { true } unless { context has estimated_cost.x }", Uses::ESTIMATED_COST),
            ("when { [1, context.hour, context.weekday].isEmpty() }", Uses::HOUR | Uses::WEEKDAY),
            ("when { {a: {b: context.time}}.a.b < context.time }", Uses::TIME),
            (
                "when { if true then true else 2 < context.estimated_tokens }",
                Uses::ESTIMATED_TOKENS,
            ),
            ("when { User::\"a\" in [User::\"a\", context.hour] }", Uses::HOUR),
            ("when { principal is User in context.hour }", Uses::HOUR | Uses::PRINCIPAL),
            ("when { context.hour like \"*\" }", Uses::HOUR),
            ("when { !(-context.hour < 3) }", Uses::HOUR),
            ("when { principal.getTag(context.hour) }", Uses::HOUR | Uses::PRINCIPAL),
            ("when { context.arguments.hasTag(\"a\") }", Uses::ARGUMENTS),
            ("when { context.something_new }", Uses::ALL),
            ("when { context == context }", Uses::ALL),
            ("when { {a: context}.a.environment == \"x\" }", Uses::ALL),
            ("when { (if true then context else context).environment == \"x\" }", Uses::ALL),
            ("when { [context].isEmpty() }", Uses::ALL),
        ] {
            assert_eq!(of_text(conditions), uses, "{conditions}");
        }
    }
}
