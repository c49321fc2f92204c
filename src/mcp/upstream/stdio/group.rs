//! The process groups of children: one for each, and all of them as what must not outlive the gateway.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long all may take to leave once the gateway does, if it has the time.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// How long after that, before they are killed.
const OBEY_WITHIN: Duration = Duration::from_millis(500);
/// How long the system may take to start one that is to be killed at once.
const STARTS_WITHIN: Duration = Duration::from_millis(100);

/// The programs that run. A process that exits drops no task, and nothing else would end them.
#[derive(Debug, Default)]
pub struct Programs {
    state: Mutex<State>,
    /// One has begun to run, or has ended.
    changed: Notify,
    leaving: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// Those whose ids are not known yet.
    starting: usize,
    /// The groups whose leaders were not collected yet, so that their ids are nobody else's.
    running: HashSet<Pid>,
    killed: bool,
}

impl Programs {
    /// Ends all of them, before `deadline`: closes their input, then asks them to end, then kills them. No other
    /// is started from now on.
    pub async fn end(&self, deadline: Instant) {
        self.leaving.cancel();
        let left = deadline.saturating_duration_since(Instant::now());
        let gone = |state: &State| state.starting == 0 && state.running.is_empty();
        if self.until(gone, LEAVE_WITHIN.min(left / 2)).await {
            return;
        }
        self.signal(Signal::SIGTERM);
        if !self.until(gone, OBEY_WITHIN.min(left / 4)).await {
            self.kill().await;
        }
    }

    /// Kills all of them. No other is started from now on.
    pub async fn kill(&self) {
        self.leaving.cancel();
        self.state().killed = true;
        self.signal(Signal::SIGKILL);
        self.until(|state| state.starting == 0, STARTS_WITHIN).await;
    }

    /// Returns once they are to end.
    pub async fn leaving(&self) {
        self.leaving.cancelled().await;
    }

    /// Whether `reached` was true within `patience`.
    async fn until(&self, reached: impl Fn(&State) -> bool, patience: Duration) -> bool {
        let wait = async {
            loop {
                // Made before the look, it misses no change after it.
                let changed = self.changed.notified();
                if reached(&self.state()) {
                    return;
                }
                changed.await;
            }
        };
        timeout(patience, wait).await.is_ok()
    }

    fn signal(&self, signal: Signal) {
        // The lock keeps the leaders from being collected meanwhile.
        for &group in &self.state().running {
            send(group, signal);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that is being started.
#[derive(Debug)]
pub struct Start(Arc<Programs>);

impl Start {
    /// `None`: no other is started.
    pub fn new(programs: &Arc<Programs>) -> Option<Self> {
        let mut state = programs.state();
        if programs.leaving.is_cancelled() {
            return None;
        }
        state.starting += 1;
        drop(state);
        Some(Self(programs.clone()))
    }

    /// It runs as `child`, which leads a group of its own.
    pub fn began(self, child: &Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let mut state = self.0.state();
        state.running.extend(id);
        if let Some(id) = id.filter(|_| state.killed) {
            send(id, Signal::SIGKILL);
        }
        drop(state);
        Group { id, programs: self.0.clone() }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.0.state().starting -= 1;
        self.0.changed.notify_waiters();
    }
}

/// A child's process group. Dropped, all that is left of it is killed. It must be dropped before its child, which
/// may be collected with its own drop.
#[derive(Debug)]
pub struct Group {
    /// Until its leader is collected: after that the id may become another's.
    id: Option<Pid>,
    programs: Arc<Programs>,
}

impl Group {
    /// The programs that it is one of.
    pub fn programs(&self) -> Arc<Programs> {
        self.programs.clone()
    }

    /// Sends a signal to all of it. That nobody is left is no failure.
    pub fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            send(id, signal);
        }
    }

    /// Waits for the end of `child`, its leader, and kills what is left of it. Can be given up, and asked again.
    ///
    /// # Errors
    /// The system does not say how it ended.
    pub async fn ended(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let Self { id, programs } = self;
        let mut wait = pin!(child.wait());
        poll_fn(|context| {
            // Collected and forgotten in one: nobody sends a signal between the two.
            let mut state = programs.state();
            let status = ready!(wait.as_mut().poll(context));
            sweep(id, &mut state);
            drop(state);
            programs.changed.notify_waiters();
            Poll::Ready(status)
        })
        .await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        sweep(&mut self.id, &mut self.programs.state());
        self.programs.changed.notify_waiters();
    }
}

/// Kills what is left of a group, and forgets it.
fn sweep(id: &mut Option<Pid>, state: &mut State) {
    if let Some(id) = id.take() {
        send(id, Signal::SIGKILL);
        state.running.remove(&id);
    }
}

fn send(group: Pid, signal: Signal) {
    match killpg(group, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => {
            tracing::warn!(group = group.as_raw(), %signal, %error, "no signal could be sent");
        }
    }
}
