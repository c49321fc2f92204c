//! What the program holds: values at once where they are in memory, and the thread that sees to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use tokio::sync::{mpsc, watch};

use crate::api::Api;
use crate::error::VaultError;
use crate::held::Held;
use crate::keeper::{Keeper, Wish};
use crate::options::Options;
use crate::reference::{Location, Reference};
use crate::status::{Figures, Status};

/// Wishes that may wait for their turn; each is somebody's who waits for it.
const WISHES: usize = 64;
/// Exchanges that may come before a wish is fulfilled: a login, a look-up and a read, each twice.
const EXCHANGES: u32 = 6;
/// How long the end of the token is waited for when the client is closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// A client of one server. Works on until dropped; then it ends the token that it had got.
pub struct Vault {
    options: Options,
    held: Arc<Held>,
    figures: Arc<Figures>,
    changes: watch::Receiver<u64>,
    wishes: mpsc::Sender<Wish>,
}

impl Vault {
    /// Starts a client. Nothing is asked for yet.
    ///
    /// # Errors
    /// The authorities can't be read, or there is no thread to be had.
    pub fn start(options: Options) -> Result<Self, VaultError> {
        let (held, figures) = (Arc::new(Held::default()), Arc::new(Figures::default()));
        let api = Api::new(&options, figures.clone())?;
        let (changed, changes) = watch::channel(0);
        let (wishes, queue) = mpsc::channel(WISHES);
        let keeper = Keeper::new(options.clone(), api, held.clone(), figures.clone(), changed);
        let failed = |error: std::io::Error| VaultError::Thread(error.to_string());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        std::thread::Builder::new()
            .name("vault".to_owned())
            .spawn(move || runtime.block_on(keeper.run(queue)))
            .map_err(failed)?;
        Ok(Self { options, held, figures, changes, wishes })
    }

    /// The options that it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The value behind `reference`, from memory if it was ever read. Else it is asked for, which
    /// blocks: not for a thread that carries requests.
    ///
    /// # Errors
    /// Why there is none. While the server is in trouble, that is told without asking again.
    pub fn get(&self, reference: &Reference) -> Result<SecretString, VaultError> {
        let at = self.locate(reference)?;
        if let Some(value) = self.held.get(&at, reference.field()) {
            return Ok(value);
        }
        let field = reference.field().to_owned();
        self.wish(|answer| Wish::Get { at, field, answer })
    }

    /// Reads all values anew, at once. Blocks.
    ///
    /// # Errors
    /// What is in the way of one of them, or of all. Those that were read before are held on to.
    pub fn refresh(&self) -> Result<(), VaultError> {
        self.wish(|answer| Wish::Refresh { answer })
    }

    /// Forgets all values but those behind `references`.
    pub fn keep_only<'r>(&self, references: impl IntoIterator<Item = &'r Reference>) {
        let mut wanted: BTreeMap<Location, Vec<String>> = BTreeMap::new();
        for reference in references {
            if let Ok(at) = self.locate(reference) {
                wanted.entry(at).or_default().push(reference.field().to_owned());
            }
        }
        self.held.keep_only(&wanted);
    }

    /// Since when the value behind `reference` is what it is: since its version was written or, for
    /// an engine without versions, since it was first read. `None` if it is not in memory.
    pub fn since(&self, reference: &Reference) -> Option<SystemTime> {
        self.held.since(&self.locate(reference).ok()?, reference.field())
    }

    /// A number that is another one after each change of a value in memory.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        self.figures.status()
    }

    /// Ends the token, if this client got it, and waits for that; not for long. Without it, a program that
    /// leaves at once would leave its token behind until that expires.
    pub fn close(&self) {
        let (answer, closed) = sync_channel(1);
        if self.wishes.try_send(Wish::Close { answer }).is_ok() {
            // Whatever comes, there is nothing more to be done.
            closed.recv_timeout(FAREWELL).ok();
        }
    }

    fn locate(&self, reference: &Reference) -> Result<Location, VaultError> {
        let at = reference.locate(&self.options.mounts);
        at.ok_or_else(|| VaultError::NoPath(reference.to_string()))
    }

    /// Waits on the calling thread alone, so that it may be within a runtime or not.
    fn wish<T>(
        &self,
        wish: impl FnOnce(SyncSender<Result<T, VaultError>>) -> Wish,
    ) -> Result<T, VaultError> {
        let (answer, answered) = sync_channel(1);
        self.wishes.try_send(wish(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => VaultError::TimedOut,
            mpsc::error::TrySendError::Closed(_) => VaultError::Stopped,
        })?;
        match answered.recv_timeout(self.options.timeout * EXCHANGES) {
            Ok(result) => result,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Err(VaultError::TimedOut),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(VaultError::Stopped),
        }
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.options.address)
    }
}
