//! A child, from its start to its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::super::Failure;
use super::super::changes::ListChanges;
use super::group::{Group, Programs};
use super::link::{Link, Outgoing};
use super::program::{LEAVING, Program};
use super::stderr;

/// How long a child may take to leave once its input is closed, before it is asked to.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);
/// How long after that, before it is killed.
const OBEYS_WITHIN: Duration = Duration::from_secs(1);
/// How long what a child has still said, or how it ended, is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A child that runs, until this is dropped.
#[derive(Debug)]
pub struct Process {
    /// What is said with it.
    pub link: Arc<Link>,
    /// Its end is closed by the drop, which never waits, wherever it happens.
    _open: oneshot::Sender<Infallible>,
}

impl Process {
    /// Starts `program`, for the MCP server of the name `server`, as one of `programs`. Must be called within
    /// Tokio.
    ///
    /// # Errors
    /// The system does not start it, or the gateway is on its way out.
    pub fn start(
        program: &Program,
        programs: &Arc<Programs>,
        server: &Arc<str>,
        list_changes: Arc<ListChanges>,
    ) -> Result<Self, Failure> {
        let (mut child, group) = program.start(programs)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(errors)) = pipes else {
            return Err(Failure::Unreachable("the system gave no pipes".to_owned()));
        };
        let (name, secrets) = (server.clone(), program.secrets());
        let errors = tokio::spawn(async move { stderr::log(errors, &name, &secrets).await });
        let errors = AbortOnDropHandle::new(errors);
        let (link, queue) = Link::new(server.clone(), list_changes);
        let (open, dropped) = oneshot::channel();
        tracing::debug!(server = &**server, pid = child.id(), "an MCP server was started");
        let running = Running { group, child, ended: Ended(link.clone()), errors };
        tokio::spawn(running.run(stdin, stdout, queue, dropped, server.clone()));
        Ok(Self { link, _open: open })
    }
}

struct Running {
    /// Dropped first: the child may be collected with its own drop.
    group: Group,
    child: Child,
    ended: Ended,
    errors: AbortOnDropHandle<()>,
}

/// Ends the conversation when whoever carries it on is dropped, as at the end of the runtime.
struct Ended(Arc<Link>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end(&Failure::Broken(LEAVING.to_owned()));
    }
}

impl Running {
    async fn run(
        mut self,
        stdin: ChildStdin,
        stdout: ChildStdout,
        queue: mpsc::Receiver<Outgoing>,
        dropped: oneshot::Receiver<Infallible>,
        server: Arc<str>,
    ) {
        let link = self.ended.0.clone();
        let failure = self.converse(&link, stdin, stdout, queue, dropped).await;
        link.close();
        // Its pipes are closed. Where it was it that closed them, it ends.
        let failure = match failure {
            Some(failure) => failure,
            None => Failure::Broken(
                match timeout(LAST_WORDS, self.group.ended(&mut self.child)).await {
                    Ok(Ok(status)) => format!("its program ended with {status}"),
                    _ => "its program closed its output".to_owned(),
                },
            ),
        };
        link.end(&failure);
        self.leave().await;
        tracing::debug!(server = &*server, %failure, "an MCP server has ended");
    }

    /// Until one of the two has enough. `None`: the child had.
    async fn converse(
        &mut self,
        link: &Link,
        stdin: ChildStdin,
        stdout: ChildStdout,
        queue: mpsc::Receiver<Outgoing>,
        dropped: oneshot::Receiver<Infallible>,
    ) -> Option<Failure> {
        let mut read = std::pin::pin!(link.read(stdout));
        let write = link.write(stdin, queue);
        let programs = self.group.programs();
        tokio::select! {
            failure = &mut read => return failure,
            // Whoever could hear why is gone.
            _ = dropped => return Some(Failure::Broken("nobody needs it any more".to_owned())),
            () = programs.leaving() => return Some(Failure::Broken(LEAVING.to_owned())),
            // Nothing can be said to it any more, but what it has said is heard.
            _ = write => {}
            _ = self.group.ended(&mut self.child) => {}
        }
        link.close();
        timeout(LAST_WORDS, read).await.ok().flatten()
    }

    /// Sees that nothing is left of it.
    async fn leave(&mut self) {
        let Self { group, child, .. } = self;
        if timeout(LEAVES_WITHIN, group.ended(child)).await.is_err() {
            group.signal(Signal::SIGTERM);
            if timeout(OBEYS_WITHIN, group.ended(child)).await.is_err() {
                group.signal(Signal::SIGKILL);
                group.ended(child).await.ok();
            }
        }
        // One that has left the group may keep the pipe open.
        timeout(LAST_WORDS, &mut self.errors).await.ok();
    }
}
