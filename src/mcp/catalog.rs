//! The tools of one server: asked for when somebody wants to know, and kept for a while.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::members::Members;
use super::upstream::{Call, Event, Failure, Upstream};
use crate::config::valid::mcp::Target;

/// Tools of one server, at most.
const MAX_TOOLS: usize = 2_000;
/// Pages of a list, at most.
const MAX_PAGES: usize = 200;
/// Bytes of a list, at most.
const MAX_LIST: usize = super::upstream::MAX_MESSAGE;
/// Bytes of a tool's name, at most.
pub const MAX_NAME: usize = 128;
/// How long a server is left alone that gave no list.
const REST: Duration = Duration::from_secs(1);

/// A tool.
#[derive(Clone, Debug)]
pub struct Tool {
    /// By what name its server knows it.
    pub name: String,
    /// All that its server says of it.
    pub about: Members,
}

/// The tools of a server, in its order.
#[derive(Debug, Default)]
pub struct Tools {
    list: Vec<Tool>,
    by_name: HashMap<String, usize>,
}

impl Tools {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Tool> {
        self.list.iter()
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Tool> {
        self.list.get(*self.by_name.get(name)?)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// What is known of a server's tools.
#[derive(Debug, Default)]
pub struct Catalog {
    known: Mutex<Known>,
    /// One at a time asks; the others wait for what it gets.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    tools: Option<Arc<Tools>>,
    good_until: Option<Instant>,
    failed: Option<(Instant, Failure)>,
    /// What the server had said of changes when its list was asked for.
    changes: u64,
}

impl Catalog {
    /// What is known now, old or not.
    pub fn known(&self) -> Option<Arc<Tools>> {
        self.lock().tools.clone()
    }

    /// The tools: as they are known, or asked for anew where what is known is too old. Those that
    /// are known stay so while the server gives no list. `note` is told how the server did, if it was asked.
    ///
    /// # Errors
    /// The server gives none, and never gave one.
    pub async fn tools(
        &self,
        upstream: &Upstream,
        target: &Target,
        note: impl FnOnce(Option<&Failure>),
    ) -> Result<Arc<Tools>, Failure> {
        if let Some(known) = self.fresh(upstream) {
            return known;
        }
        let _asking = self.asking.lock().await;
        if let Some(known) = self.fresh(upstream) {
            return known;
        }
        let changes = upstream.list_changes();
        let asked = tokio::time::timeout(target.timeouts.list, ask(upstream, target)).await;
        let asked = asked.unwrap_or(Err(Failure::TimedOut));
        note(asked.as_ref().err());
        let mut known = self.lock();
        match asked {
            Ok((tools, ttl)) => {
                let tools = Arc::new(tools);
                *known = Known {
                    tools: Some(tools.clone()),
                    good_until: Some(Instant::now() + ttl),
                    failed: None,
                    changes,
                };
                Ok(tools)
            }
            Err(failure) => {
                known.failed = Some((Instant::now(), failure.clone()));
                known.tools.clone().ok_or(failure)
            }
        }
    }

    /// What can be said without asking.
    fn fresh(&self, upstream: &Upstream) -> Option<Result<Arc<Tools>, Failure>> {
        let (known, now) = (self.lock(), Instant::now());
        let changed = known.changes != upstream.list_changes();
        if let (Some(tools), Some(until)) = (&known.tools, known.good_until)
            && now < until
            && !changed
        {
            return Some(Ok(tools.clone()));
        }
        let (since, failure) = known.failed.as_ref()?;
        let rests = now.duration_since(*since) < REST;
        rests.then(|| known.tools.clone().ok_or_else(|| failure.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for the list, page by page.
async fn ask(upstream: &Upstream, target: &Target) -> Result<(Tools, Duration), Failure> {
    let mut tools = Tools::default();
    let (mut ttl, mut bytes) = (target.list_ttl, 0);
    let (mut cursor, mut seen) = (None::<Box<RawValue>>, HashSet::new());
    for _ in 0..MAX_PAGES {
        let mut params = Members::default();
        if let Some(cursor) = cursor.take() {
            params.set("cursor", cursor);
        }
        let page = page(upstream, target, params).await?;
        bytes += page.get().len();
        if bytes > MAX_LIST {
            return Err(Failure::TooLong);
        }
        let malformed = |what: &str| Failure::Malformed(what.to_owned());
        let page = Members::parse(page.get().as_bytes());
        let page = page.map_err(|_| malformed("a list of tools that is no object"))?;
        let listed = page.get("tools").map(RawValue::get).unwrap_or_default();
        let listed: Vec<Box<RawValue>> =
            serde_json::from_str(listed).map_err(|_| malformed("a list without tools"))?;
        for about in listed {
            take(&mut tools, target, &about);
        }
        if let Some(said) = page.get("ttlMs").and_then(|ttl| ttl.get().parse().ok()) {
            ttl = ttl.min(Duration::from_millis(said));
        }
        cursor =
            page.get("nextCursor").filter(|cursor| cursor.get() != "null").map(ToOwned::to_owned);
        match &cursor {
            None => return Ok((tools, ttl)),
            Some(next) if tools.len() <= MAX_TOOLS && seen.insert(next.get().to_owned()) => {}
            Some(_) => return Err(malformed("a list of tools without an end")),
        }
    }
    Err(Failure::Malformed("a list of tools without an end".to_owned()))
}

async fn page(
    upstream: &Upstream,
    target: &Target,
    params: Members,
) -> Result<Box<RawValue>, Failure> {
    let call = Call {
        method: "tools/list",
        name: None,
        params,
        headers: Vec::new(),
        timeout: target.timeouts.list,
    };
    let mut answer = upstream.request(call).await?;
    loop {
        match answer.next().await? {
            Event::Notification(_) => {}
            Event::Result(result) => return Ok(result),
            Event::Error(_) => {
                return Err(Failure::Malformed("an error in place of its tools".to_owned()));
            }
        }
    }
}

/// Takes a tool into the list. What has no name by which it could be called, or is not to be offered, is left
/// out; of two with one name, the second.
fn take(tools: &mut Tools, target: &Target, about: &RawValue) {
    let Ok(about) = Members::parse(about.get().as_bytes()) else { return };
    let Some(name) = about.text("name").filter(|name| is_name(name)) else { return };
    let offered = target.tools.as_ref().is_none_or(|offered| offered.contains(&name));
    if offered && !tools.by_name.contains_key(&name) {
        tools.by_name.insert(name.clone(), tools.list.len());
        tools.list.push(Tool { name, about });
    }
}

/// Whether a tool can have the name: no space, no control character, nothing outside ASCII.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}
