//! The tools of one server: asked for when somebody wants to know, and kept for a while.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::members::{self, Members};
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
/// How long a server is left alone that gave no list: at first, and at last.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// How long a new list is waited for by those to whom the one before can be told.
const PATIENCE: Duration = Duration::from_secs(1);

/// A tool.
#[derive(Clone, Debug)]
pub struct Tool {
    /// By what name its server knows it.
    pub name: String,
    /// All that its server says of it.
    pub about: Members,
    /// The names of its arguments, at any depth, by what is left of them without their letters' case.
    arguments: HashMap<String, HashSet<String>>,
}

impl Tool {
    /// A name in a call's arguments, at any depth, that only its letters' case tells from one that the tool
    /// has.
    pub fn misspelt<'a>(&self, arguments: &'a Value) -> Option<&'a str> {
        match arguments {
            Value::Array(elements) => elements.iter().find_map(|it| self.misspelt(it)),
            Value::Object(object) => {
                let known = |name: &str| self.arguments.get(&members::folded(name));
                let odd = |name: &&String| known(name).is_some_and(|alike| !alike.contains(*name));
                let here = object.keys().find(odd).map(String::as_str);
                here.or_else(|| object.values().find_map(|it| self.misspelt(it)))
            }
            _ => None,
        }
    }
}

/// The names of all properties in a schema.
fn properties(schema: &Value, found: &mut HashMap<String, HashSet<String>>) {
    match schema {
        Value::Array(elements) => elements.iter().for_each(|it| properties(it, found)),
        Value::Object(object) => {
            if let Some(Value::Object(named)) = object.get("properties") {
                for name in named.keys() {
                    found.entry(members::folded(name)).or_default().insert(name.clone());
                }
            }
            object.values().for_each(|it| properties(it, found));
        }
        _ => {}
    }
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
pub struct Catalog(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    tools: Option<Arc<Tools>>,
    good_until: Option<Instant>,
    failed: Option<Failed>,
    /// What the server had said of changes when its list was asked for.
    changes: u64,
    /// It is being asked for.
    asking: Option<Asking>,
}

#[derive(Debug)]
struct Failed {
    failure: Failure,
    until: Instant,
    /// How long it is left alone now.
    rest: Duration,
}

type Asked = Result<Arc<Tools>, Failure>;
type Asking = watch::Receiver<Option<Asked>>;

/// How somebody gets to know the tools.
#[derive(Debug)]
pub enum Look {
    /// They are known.
    Known(Arc<Tools>),
    /// They are not, and it is too early to ask again.
    Failed(Failure),
    /// They are being asked for.
    Asked {
        /// What was known before: tools that are known for too long, or that the server has said to be others
        /// now; or how it failed the last time.
        before: Option<Asked>,
        /// When this was found.
        at: Instant,
        /// What comes of it.
        asking: Asking,
    },
}

impl Catalog {
    /// What is known now, old or not.
    pub fn known(&self) -> Option<Arc<Tools>> {
        self.lock().tools.clone()
    }

    /// What can be said now. Where the tools have to be asked for and nobody does so yet, `begin` is to see to
    /// it that [`Catalog::ask`] is called, whoever goes away.
    pub fn look(
        &self,
        upstream: &Upstream,
        begin: impl FnOnce(watch::Sender<Option<Asked>>),
    ) -> Look {
        let (mut known, now) = (self.lock(), Instant::now());
        let fresh = known.good_until.is_some_and(|until| now < until)
            && known.changes == upstream.list_changes();
        if let Some(tools) = known.tools.as_ref().filter(|_| fresh) {
            return Look::Known(tools.clone());
        }
        let failure = known.failed.as_ref().map(|failed| failed.failure.clone());
        let before = known.tools.clone().map(Ok).or_else(|| failure.map(Err));
        if let Some(asking) = known.asking.as_ref().filter(|asking| asking.has_changed().is_ok()) {
            return Look::Asked { before, at: now, asking: asking.clone() };
        }
        let rests = known.failed.as_ref().is_some_and(|failed| now < failed.until);
        match before {
            Some(Ok(tools)) if rests => return Look::Known(tools),
            Some(Err(failure)) if rests => return Look::Failed(failure),
            _ => {}
        }
        let (tell, asking) = watch::channel(None);
        known.asking = Some(asking.clone());
        drop(known);
        begin(tell);
        Look::Asked { before, at: now, asking }
    }

    /// Asks for the tools, and says what came of it: to `note` how the server did, then to those who wait.
    pub async fn ask(
        &self,
        upstream: &Upstream,
        target: &Target,
        tell: watch::Sender<Option<Asked>>,
        note: impl FnOnce(Option<&Failure>),
    ) {
        let changes = upstream.list_changes();
        // A program has its start to make first.
        let within = target.timeouts.connect + target.timeouts.list;
        let asked = tokio::time::timeout(within, ask(upstream, target)).await;
        let asked = asked.unwrap_or(Err(Failure::TimedOut));
        note(asked.as_ref().err());
        let mut known = self.lock();
        known.asking = None;
        let told = match asked {
            Ok((tools, ttl)) => {
                let tools = Arc::new(tools);
                known.tools = Some(tools.clone());
                known.good_until = Some(Instant::now() + ttl);
                known.failed = None;
                known.changes = changes;
                Ok(tools)
            }
            Err(failure) => {
                let rest = known.failed.as_ref().map_or(REST, |failed| failed.rest * 2);
                let rest = rest.min(LONGEST_REST);
                let until = Instant::now() + rest;
                known.failed = Some(Failed { failure: failure.clone(), until, rest });
                Err(failure)
            }
        };
        drop(known);
        tell.send_replace(Some(told));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    /// The tools. What was known before has to do where the server says nothing new soon; a first list is
    /// waited for as long as `patience`, or as it takes.
    ///
    /// # Errors
    /// There is no list, and never was one.
    pub async fn tools(self, patience: Option<Duration>) -> Asked {
        match self {
            Self::Known(tools) => Ok(tools),
            Self::Failed(failure) => Err(failure),
            Self::Asked { before, at, mut asking } => {
                let given_up = || Err(Failure::Broken("the question was given up".to_owned()));
                let told = async {
                    let told = asking.wait_for(Option::is_some).await;
                    told.ok().and_then(|told| (*told).clone()).unwrap_or_else(given_up)
                };
                let patience = if before.is_some() { Some(PATIENCE) } else { patience };
                let Some(patience) = patience else { return told.await };
                let told = tokio::time::timeout_at((at + patience).into(), told).await;
                match (told, before) {
                    (Ok(Ok(tools)), _) => Ok(tools),
                    (_, Some(Ok(before))) => Ok(before),
                    (Ok(Err(failure)), _) | (Err(_), Some(Err(failure))) => Err(failure),
                    (Err(_), None) => Err(Failure::TimedOut),
                }
            }
        }
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
        if tools.len() > MAX_TOOLS {
            return Err(malformed("more tools than are taken"));
        }
        if let Some(said) = page.get("ttlMs").and_then(|ttl| ttl.get().parse().ok()) {
            ttl = ttl.min(Duration::from_millis(said));
        }
        cursor =
            page.get("nextCursor").filter(|cursor| cursor.get() != "null").map(ToOwned::to_owned);
        match &cursor {
            None => return Ok((tools, ttl)),
            Some(next) if seen.insert(next.get().to_owned()) => {}
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
        timeout: target.timeouts.connect + target.timeouts.list,
    };
    let mut answer = upstream.request(call, None).await?;
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
    if offered && tools.len() <= MAX_TOOLS && !tools.by_name.contains_key(&name) {
        let mut arguments = HashMap::new();
        if let Some(schema) = about.get("inputSchema").and_then(|it| members::value(it).ok()) {
            properties(&schema, &mut arguments);
        }
        tools.by_name.insert(name.clone(), tools.list.len());
        tools.list.push(Tool { name, about, arguments });
    }
}

/// Whether a tool can have the name: no space, no control character, nothing outside ASCII.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_misspelt_where_the_tool_has_it_in_other_letters() {
        let schema = json!({
            "properties": {
                "path": {"type": "string"},
                "ID": {}, "id": {},
                "options": {"type": "object", "properties": {"followLinks": {}}},
                "all": {"items": {"anyOf": [{"properties": {"k": {}}}]}},
            },
        });
        let mut arguments = HashMap::new();
        properties(&schema, &mut arguments);
        let tool = Tool { name: String::new(), about: Members::default(), arguments };
        for (given, misspelt) in [
            (json!({"path": 1, "ID": 1, "id": 2, "other": {"Other": 1}}), None),
            (json!({"Path": 1}), Some("Path")),
            (json!({"Id": 1}), Some("Id")),
            (json!({"options": {"followlinks": 1}}), Some("followlinks")),
            (json!({"all": [{"k": 1}, {"\u{212a}": 1}]}), Some("\u{212a}")),
        ] {
            assert_eq!(tool.misspelt(&given), misspelt, "{given}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_known_has_to_do_where_nothing_new_comes_soon() {
        let (_tell, asking) = watch::channel(None);
        let look = |before| Look::Asked { before, at: Instant::now(), asking: asking.clone() };
        let before = Arc::new(Tools::default());
        assert!(Arc::ptr_eq(&look(Some(Ok(before.clone()))).tools(None).await.unwrap(), &before));
        let failed = look(Some(Err(Failure::TooLong))).tools(None).await;
        assert_eq!(failed.unwrap_err(), Failure::TooLong);
        let first = look(None).tools(Some(Duration::from_secs(10))).await;
        assert_eq!(first.unwrap_err(), Failure::TimedOut);
    }

    #[tokio::test]
    async fn a_question_that_nobody_answers_any_more_is_given_up() {
        let (tell, asking) = watch::channel(None);
        drop(tell);
        let look = Look::Asked { before: None, at: Instant::now(), asking };
        assert!(matches!(look.tools(None).await, Err(Failure::Broken(_))));
    }
}
