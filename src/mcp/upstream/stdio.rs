//! A child process, over its standard input and output.
//!
//! One process serves all callers. The first request starts it; one that has ended is started anew by the
//! next, unless it does not stay: then it is left alone for a while that grows.
//!
//! | module | what it is |
//! |---|---|
//! | `program` | how it is started, and in which surroundings |
//! | `group` | what all its processes are, and how all programs end with the gateway |
//! | `process` | a child, from its start to its end |
//! | `link` | the conversation with it: requests of many callers multiplexed |
//! | `greeting` | the handshake: which era of the protocol it speaks |
//! | `inbox` | what waits for one caller |
//! | `lines` | messages on a pipe |
//! | `skim` | of a message that is too long, whose it is |
//! | `stderr` | what it says beside |
//! | `backoff` | how long it is left alone |

mod backoff;
mod greeting;
mod group;
mod inbox;
mod lines;
mod link;
mod process;
mod program;
mod skim;
mod stderr;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use self::backoff::{Backoff, Pauses};
use self::greeting::Era;
pub use self::group::Programs;
use self::inbox::Inbox;
use self::link::Ticket;
use self::process::Process;
use self::program::Program;
use super::changes::{ListChanges, begins_list};
use super::meta::Params;
use super::{Call, Event, Failure};
use crate::config::valid::mcp::{StdioTransport, Target};
use crate::overload::Held;

/// How long a server may think about whether it knows `server/discover`.
const PROBE: Duration = Duration::from_secs(2);

/// A process that has run for so long, or has answered a request, was of use.
const STABLE: Duration = Duration::from_secs(30);

/// A server that is started here. Dropped, its process ends, once the last answer from it is dropped, too.
#[derive(Debug)]
pub struct StdioUpstream(Arc<Server>);

#[derive(Debug)]
struct Server {
    plan: Arc<Plan>,
    state: Mutex<State>,
}

/// What a start takes.
#[derive(Debug)]
struct Plan {
    name: Arc<str>,
    program: Program,
    programs: Arc<Programs>,
    /// For the answer to `server/discover` alone.
    probe: Duration,
    /// For all of it.
    connect: Duration,
    list_changes: Arc<ListChanges>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// What it spoke the last time.
    era: Option<Era>,
    backoff: Backoff,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Starting { outcome: watch::Receiver<Outcome>, _task: AbortOnDropHandle<()> },
    Running(Arc<Connection>),
}

/// What came of a start, once it is over.
type Outcome = Option<Result<Arc<Connection>, Failure>>;

/// A process that has been greeted.
#[derive(Debug)]
struct Connection {
    process: Process,
    era: Era,
    started: Instant,
    /// It has answered a request.
    of_use: AtomicBool,
}

impl StdioUpstream {
    /// A server that nobody has called yet. Its program runs as one of `programs`.
    ///
    /// # Errors
    /// There is no program in its command.
    pub fn new(
        target: &Target,
        transport: &StdioTransport,
        programs: &Arc<Programs>,
    ) -> Result<Self, String> {
        let probe = PROBE.min(target.timeouts.connect / 4);
        Self::with_timing(target, transport, programs, probe, Pauses::default())
    }

    fn with_timing(
        target: &Target,
        transport: &StdioTransport,
        programs: &Arc<Programs>,
        probe: Duration,
        pauses: Pauses,
    ) -> Result<Self, String> {
        let plan = Plan {
            name: target.name.as_str().into(),
            program: Program::new(transport)?,
            programs: programs.clone(),
            probe,
            connect: target.timeouts.connect,
            list_changes: Arc::default(),
        };
        let state = State { phase: Phase::Idle, era: None, backoff: Backoff::new(pauses) };
        Ok(Self(Arc::new(Server { plan: Arc::new(plan), state: Mutex::new(state) })))
    }

    /// See [`Upstream::list_changes`](super::Upstream::list_changes).
    pub fn list_changes(&self) -> u64 {
        self.0.plan.list_changes.count()
    }

    pub(super) async fn request(&self, call: Call, held: Option<Held>) -> Result<Answer, Failure> {
        let now = Instant::now();
        // One that is beyond what the clock can say never comes.
        let deadline = now.checked_add(call.timeout).unwrap_or(now + Duration::from_hours(24));
        let sent = timeout_at(deadline, self.send(call, held, deadline)).await;
        sent.unwrap_or(Err(Failure::TimedOut))
    }

    async fn send(
        &self,
        call: Call,
        held: Option<Held>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let inbox = Arc::new(Inbox::within(held));
        let mut params = Params::of(&call.params);
        let token = params.token().map(ToOwned::to_owned);
        let for_list = begins_list(&call);
        let (connection, ticket) = loop {
            let connection = self.0.connection(for_list).await?;
            // Otherwise it has ended since, and nothing was sent.
            if let Some(ticket) = connection.process.link.register(token.clone(), inbox.clone()) {
                break (connection, ticket);
            }
        };
        match connection.era {
            Era::Sessions => params.strip(),
            Era::Stateless => params.complete(),
        }
        params.replace_token(ticket.id());
        let params = Some(&params).filter(|params| !params.is_empty());
        ticket.send(call.method, params).await;
        Ok(Answer { ticket: Some(ticket), connection, deadline })
    }
}

impl Server {
    /// The process, started where there is none.
    async fn connection(self: &Arc<Self>, for_list: bool) -> Result<Arc<Connection>, Failure> {
        let mut outcome = match self.look(for_list)? {
            Found::Running(connection) => return Ok(connection),
            Found::Starting(outcome) => outcome,
        };
        let outcome = outcome.wait_for(Option::is_some).await.ok().and_then(|it| (*it).clone());
        outcome.unwrap_or_else(|| Err(Failure::Unreachable("its start broke off".to_owned())))
    }

    fn look(self: &Arc<Self>, for_list: bool) -> Result<Found, Failure> {
        let now = Instant::now();
        let mut state = self.state();
        match &state.phase {
            Phase::Running(connection) => match connection.ended() {
                None => return Ok(Found::Running(connection.clone())),
                Some(End::Used) => state.backoff.reset(),
                Some(End::Unused { at, why }) => state.backoff.failed(at, why),
            },
            // Without a task behind it, its runtime is gone.
            Phase::Starting { outcome, .. } if outcome.has_changed().is_ok() => {
                return Ok(Found::Starting(outcome.clone()));
            }
            Phase::Starting { .. } | Phase::Idle => {}
        }
        state.phase = Phase::Idle;
        if let Some(refusal) = state.backoff.refusal(now) {
            return Err(refusal);
        }
        let (sender, outcome) = watch::channel(None);
        // A task of its own: it goes on when who asked first asks no more.
        let start = start(self.plan.clone(), state.era, for_list, Arc::downgrade(self), sender);
        let task = AbortOnDropHandle::new(tokio::spawn(start));
        state.phase = Phase::Starting { outcome: outcome.clone(), _task: task };
        Ok(Found::Starting(outcome))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Found {
    Running(Arc<Connection>),
    Starting(watch::Receiver<Outcome>),
}

/// How a process has ended.
enum End {
    Used,
    Unused { at: Instant, why: String },
}

impl Connection {
    fn ended(&self) -> Option<End> {
        let link = &self.process.link;
        let at = link.closed()?;
        let used = self.of_use.load(Ordering::Relaxed) || at.duration_since(self.started) > STABLE;
        Some(if used { End::Used } else { End::Unused { at, why: why(link.failure()) } })
    }
}

/// What is said of a process that has ended, to whoever would have it started anew.
fn why(failure: Option<Failure>) -> String {
    match failure {
        Some(Failure::Unreachable(why) | Failure::Broken(why)) => why,
        Some(other) => format!("its program {other}"),
        None => "its program has ended".to_owned(),
    }
}

/// Starts a program and tells everybody.
async fn start(
    plan: Arc<Plan>,
    era: Option<Era>,
    for_list: bool,
    server: Weak<Server>,
    tell: watch::Sender<Outcome>,
) {
    let outcome = plan.start(era).await.map(Arc::new);
    // Nobody has a use for it any more.
    let Some(server) = server.upgrade() else { return };
    let mut state = server.state();
    let before = match &outcome {
        Ok(connection) => {
            state.era = Some(connection.era);
            plan.list_changes.greeted(for_list);
            std::mem::replace(&mut state.phase, Phase::Running(connection.clone()))
        }
        Err(failure) => {
            // It may be another program by now.
            state.era = None;
            state.backoff.failed(Instant::now(), why(Some(failure.clone())));
            std::mem::replace(&mut state.phase, Phase::Idle)
        }
    };
    drop(state);
    tell.send_replace(Some(outcome));
    // With it this task is aborted: nothing may come after.
    drop(before);
}

impl Plan {
    async fn start(&self, era: Option<Era>) -> Result<Connection, Failure> {
        let started = Instant::now();
        match timeout(self.connect, self.greeted(era)).await {
            Ok(Ok((process, era))) => {
                Ok(Connection { process, era, started, of_use: AtomicBool::new(false) })
            }
            Ok(Err(Failure::Broken(why))) => Err(Failure::Unreachable(why)),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::Unreachable(format!(
                "its program did not answer the handshake within {:?}",
                self.connect
            ))),
        }
    }

    async fn greeted(&self, era: Option<Era>) -> Result<(Process, Era), Failure> {
        let process = self.process()?;
        let era = match era {
            Some(Era::Sessions) => greeting::initialize(&process.link).await?,
            // It has shown that it answers, however slow it is to start.
            Some(Era::Stateless) => greeting::discover(&process.link, self.connect).await?,
            None => {
                match greeting::discover(&process.link, self.probe).await {
                    // There are servers that end when they are not greeted first.
                    Err(Failure::Broken(_)) => {
                        drop(process);
                        let process = self.process()?;
                        let era = greeting::initialize(&process.link).await?;
                        return Ok((process, era));
                    }
                    era => era?,
                }
            }
        };
        Ok((process, era))
    }

    fn process(&self) -> Result<Process, Failure> {
        Process::start(&self.program, &self.programs, &self.name, self.list_changes.clone())
    }
}

/// An answer on its way.
#[derive(Debug)]
pub struct Answer {
    /// Until the last event.
    ticket: Option<Ticket>,
    connection: Arc<Connection>,
    deadline: Instant,
}

impl Answer {
    pub(super) async fn next(&mut self) -> Result<Event, Failure> {
        let Some(ticket) = &self.ticket else {
            return Err(Failure::Broken("the answer is over".to_owned()));
        };
        // What waits already would be had after the deadline, too.
        let next = if Instant::now() < self.deadline {
            let next = timeout_at(self.deadline, ticket.next()).await;
            next.unwrap_or(Err(Failure::TimedOut))
        } else {
            Err(Failure::TimedOut)
        };
        if !matches!(next, Ok(Event::Notification(_))) {
            self.ticket = None;
        }
        if matches!(next, Ok(Event::Result(_) | Event::Error(_))) {
            self.connection.of_use.store(true, Ordering::Relaxed);
        }
        next
    }
}
