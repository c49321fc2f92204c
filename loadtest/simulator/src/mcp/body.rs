//! An answer's body that comes piece by piece.

use std::{
    fmt::Write as _,
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::call::Out;
use crate::server::ResetSwitch;

/// An event stream.
#[derive(Debug)]
pub(crate) struct Body {
    first: Option<Out>,
    rest: mpsc::Receiver<Out>,
    adorned: bool,
    /// The connection is to be reset, as soon as what was written before has left.
    resets: bool,
    switch: ResetSwitch,
    /// Of the era without sessions: who leaves cancels.
    _cancel: Option<DropGuard>,
}

impl Body {
    pub(crate) fn new(
        first: Option<Out>,
        rest: mpsc::Receiver<Out>,
        adorned: bool,
        switch: ResetSwitch,
        cancel: Option<DropGuard>,
    ) -> Self {
        Self { first, rest, adorned, resets: false, switch, _cancel: cancel }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.resets {
            self.switch.set();
            return Poll::Ready(Some(Err(broken())));
        }
        let next = match self.first.take() {
            Some(first) => Some(first),
            None => ready!(self.rest.poll_recv(cx)),
        };
        match next {
            None => Poll::Ready(None),
            Some(Out::Message(text) | Out::Last { text, .. }) => {
                Poll::Ready(Some(Ok(event(&text, self.adorned))))
            }
            Some(Out::Raw(bytes)) => Poll::Ready(Some(Ok(bytes))),
            Some(Out::Reset) => {
                self.resets = true;
                // Hyper writes out its buffer when a body has nothing for it.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Out::HangUp | Out::Exit(_)) => Poll::Ready(Some(Err(broken()))),
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("broken off by a fault")
}

/// One event. Adorned, it has all that the format allows, and says the same.
fn event(text: &str, adorned: bool) -> Bytes {
    if !adorned {
        return Bytes::from(format!("event: message\ndata: {text}\n\n"));
    }
    let mut event = String::from(
        ": a comment\r\n\r\nid: 1\r\nretry: 100\r\ndata:\r\n\r\nid: 2\r\nunknown: field\r\n",
    );
    let pretty = serde_json::from_str::<Value>(text)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| text.to_owned());
    for line in pretty.lines() {
        // Writing to a text does not fail.
        let _ = write!(event, "data:{line}\r\n");
    }
    event.push_str("\r\n");
    Bytes::from(event)
}
