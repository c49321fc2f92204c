//! What a request asks for beyond a text of some length.

use super::json::Json;

/// Nothing special by default: a text.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    /// The client's own functions, in their order.
    pub(crate) tools: Vec<Tool<'a>>,
    pub(crate) choice: Choice,
    /// Several calls may be made at once.
    pub(crate) parallel: bool,
    pub(crate) form: Option<Form<'a>>,
    /// A sentence about each picture and file of the last turn.
    pub(crate) seen: Vec<String>,
    /// The last turn brings results of tools.
    pub(crate) after_results: bool,
    pub(crate) reasoning: Option<Reasoning>,
    /// What an answer of the Responses API repeats.
    pub(crate) echo: Echo,
}

impl Asked<'_> {
    /// The model has spoken: what came before is no longer the last turn.
    pub(super) fn begin_turn(&mut self) {
        self.seen.clear();
        self.after_results = false;
    }
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self {
            tools: Vec::new(),
            choice: Choice::Auto,
            parallel: true,
            form: None,
            seen: Vec::new(),
            after_results: false,
            reasoning: None,
            echo: Echo::default(),
        }
    }
}

/// A function that may be called.
#[derive(Clone, Debug)]
pub(crate) struct Tool<'a> {
    pub(crate) name: String,
    /// Of its arguments.
    pub(crate) schema: Option<Json<'a>>,
}

/// Whether a tool has to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    Auto,
    None,
    Any,
    Named(String),
}

/// The form that the text has to have.
#[derive(Clone, Debug)]
pub(crate) enum Form<'a> {
    /// Any object.
    Object,
    Schema(Json<'a>),
}

/// Reasoning is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reasoning {
    /// Its text, or a summary of it, is to be seen.
    pub(crate) shown: bool,
    /// It comes in a form that can be sent back.
    pub(crate) sealed: bool,
}

/// Members of a request as they were written.
#[derive(Clone, Debug)]
pub(crate) struct Echo {
    pub(crate) instructions: String,
    pub(crate) parallel_tool_calls: bool,
    pub(crate) reasoning: String,
    pub(crate) store: bool,
    pub(crate) text: String,
    pub(crate) tool_choice: String,
    pub(crate) tools: String,
}

impl Default for Echo {
    fn default() -> Self {
        Self {
            instructions: "null".to_owned(),
            parallel_tool_calls: true,
            reasoning: r#"{"effort":null,"summary":null}"#.to_owned(),
            store: true,
            text: r#"{"format":{"type":"text"}}"#.to_owned(),
            tool_choice: r#""auto""#.to_owned(),
            tools: "[]".to_owned(),
        }
    }
}
