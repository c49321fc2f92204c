//! Soft limits that are reached, written down once in a window.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sluicegate_quota::{Crossing, Engine};

use crate::audit::{Actor, AuditLog, Event, Kind, Outcome, Resource};

/// How often it is asked what was reached.
const EVERY: Duration = Duration::from_millis(500);

/// Writes down what is reached, for as long as there is the engine.
pub async fn run(engine: Weak<Engine>, audit: Arc<AuditLog>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(engine) = engine.upgrade() else { return };
        for crossing in engine.take_crossings() {
            let counter = crossing.quota.id();
            let (soft, used) = (crossing.quota.soft, crossing.used);
            tracing::warn!(%counter, soft, used, "a soft limit is reached");
            audit.record(event(&crossing));
        }
    }
}

fn event(crossing: &Crossing) -> Event {
    Event {
        outcome: Outcome::Allowed,
        actor: Actor { kind: "system".into(), ..Actor::default() },
        resource: Resource { kind: "quota".into(), id: Some(crossing.quota.id().to_string()) },
        ..Event::new(crossing.at, Kind::SoftLimit, "quota.soft_limit")
    }
}
