//! What is known of a client between its requests, and the requests under way.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{
    Shared, lock,
    message::{INVALID_PARAMS, INVALID_REQUEST, Refused, Request},
};

/// A session, or a connection over standard input and output.
#[derive(Debug)]
pub(crate) struct Session {
    version: String,
    /// No id twice, ever: the rule of the era with sessions. Otherwise none that is under way.
    once: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    initialized: bool,
    used: HashSet<String>,
    under_way: HashMap<String, CancellationToken>,
    progress: HashSet<String>,
}

/// More requests than any test makes; then the ids used are forgotten.
const MAX_USED: usize = 1_000_000;

impl Session {
    pub(crate) fn new(version: &str, once: bool) -> Self {
        Self { version: version.to_owned(), once, state: Mutex::default() }
    }

    /// The version that was agreed on.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether the client must name the version with every HTTP request.
    pub(crate) fn names_version(&self) -> bool {
        self.version.as_str() >= "2025-06-18"
    }

    pub(crate) fn is_initialized(&self) -> bool {
        lock(&self.state).initialized
    }

    /// What a notification changes.
    pub(crate) fn notified(&self, method: &str, params: &Map<String, Value>) {
        match method {
            "notifications/initialized" => lock(&self.state).initialized = true,
            "notifications/cancelled" => {
                let id = params.get("requestId").map(Value::to_string).unwrap_or_default();
                if let Some(cancel) = lock(&self.state).under_way.get(&id) {
                    cancel.cancel();
                }
            }
            _ => {}
        }
    }

    fn begin(&self, request: &Request) -> Result<CancellationToken, Refused> {
        let mut state = lock(&self.state);
        let id = request.id.to_string();
        if state.under_way.contains_key(&id) || state.used.contains(&id) {
            return Err(Refused::bad(INVALID_REQUEST, format!("request id {id} was used before")));
        }
        if let Some(token) = request.progress_token().map(Value::to_string) {
            if state.progress.contains(&token) {
                let why = format!("progress token {token} is in use");
                return Err(Refused::bad(INVALID_PARAMS, why));
            }
            state.progress.insert(token);
        }
        if self.once {
            if state.used.len() == MAX_USED {
                state.used.clear();
            }
            state.used.insert(id.clone());
        }
        let cancel = CancellationToken::new();
        state.under_way.insert(id, cancel.clone());
        Ok(cancel)
    }

    fn end(&self, id: &str, progress: Option<&str>) {
        let mut state = lock(&self.state);
        state.under_way.remove(id);
        if let Some(token) = progress {
            state.progress.remove(token);
        }
    }
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    shared: Arc<Shared>,
    session: Option<Arc<Session>>,
    id: String,
    progress: Option<String>,
    /// Cancelled when the client does not want the answer any more.
    pub(crate) cancel: CancellationToken,
}

impl UnderWay {
    /// # Errors
    /// The request has an id, or a progress token, that it must not have.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        session: Option<&Arc<Session>>,
        request: &Request,
    ) -> Result<Self, Refused> {
        let cancel = match session {
            Some(session) => session.begin(request)?,
            None => CancellationToken::new(),
        };
        shared.books.begun();
        Ok(Self {
            shared: shared.clone(),
            session: session.cloned(),
            id: request.id.to_string(),
            progress: request.progress_token().map(Value::to_string),
            cancel,
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.end(&self.id, self.progress.as_deref());
        }
        self.shared.books.ended();
    }
}
