//! Turns away what is too much, before it costs anything.

use std::time::Instant;

use pingora_core::Error;
use pingora_proxy::Session;
use sluicegate_filters::screen::BodyLimit;
use sluicegate_filters::{Denial, DenialKind};

use super::body::NoBody;
use super::ctx::Ctx;
use crate::app::Gateway;
use crate::edge::Rate;
use crate::overload::Shed;

/// Counts a request of the client's address.
///
/// # Errors
/// `too_many_requests`: the address has sent too many.
pub fn address(gateway: &Gateway, ctx: &Ctx) -> Result<(), Denial> {
    let limit = ctx.runtime.config.limits.requests_per_ip;
    let (Some(limit), Some(client)) = (limit, ctx.client) else {
        return Ok(());
    };
    let rate = Rate::per_second(limit.rate, limit.burst);
    gateway.overload.addresses.take(client, rate, Instant::now()).map_err(|wait| {
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        Denial::new(DenialKind::TooManyRequests, "Too many requests came from this address.")
            .with_retry_after(seconds)
    })
}

/// Sets room aside for a body of a declared length, where it is worth reading at all.
///
/// # Errors
/// `overloaded`: the queue is full already, or the body does not fit.
pub fn before_body(gateway: &Gateway, ctx: &mut Ctx, limit: &BodyLimit) -> Result<(), Denial> {
    if gateway.overload.places.is_full(&ctx.runtime.config.limits.queue) {
        return Err(shed(gateway, Shed::QueueFull));
    }
    grow_to(gateway, ctx, limit.declared().unwrap_or(0))
}

/// Makes room for a body that has so many bytes by now.
///
/// # Errors
/// `overloaded`: it does not fit.
pub fn grow_to(gateway: &Gateway, ctx: &mut Ctx, bytes: u64) -> Result<(), Denial> {
    ctx.buffered.grow_to(bytes).map_err(|why| shed(gateway, why))
}

/// Takes a place, or waits for one. The body has been read: a client that sends it slowly keeps nobody
/// from being served, and one that leaves is noticed.
pub async fn place(gateway: &Gateway, session: &mut Session, ctx: &mut Ctx) -> Result<(), NoBody> {
    let places = &gateway.overload.places;
    ctx.place = places.try_take();
    if ctx.place.is_some() {
        return Ok(());
    }
    let queue = ctx.runtime.config.limits.queue;
    // In a box: few wait.
    let waits = Box::pin(async {
        tokio::select! {
            biased;
            place = places.take(&queue) => {
                place.map_err(|why| NoBody::Denied(shed(gateway, why)))
            }
            error = leaves(session) => Err(NoBody::Gone(error)),
            () = gateway.leaving.cancelled() => Err(NoBody::Denied(shutting_down())),
        }
    });
    ctx.place = Some(waits.await?);
    Ok(())
}

/// What who waits is told when the process can't.
pub fn shutting_down() -> Denial {
    Denial::new(DenialKind::ServiceShuttingDown, "The gateway is shutting down; try again.")
}

/// Returns when the client has gone.
pub async fn leaves(session: &mut Session) -> Box<Error> {
    loop {
        if let Err(error) = session.downstream_session.read_body_or_idle(true).await {
            return error;
        }
    }
}

/// Counts what is turned away, and says so.
pub fn shed(gateway: &Gateway, why: Shed) -> Denial {
    gateway.overload.shed(why);
    Denial::new(DenialKind::Overloaded, "The gateway has as much to do as it can; try again.")
        .with_detail(why.reason())
}
