//! Writes an answer's items, piece by piece: of a stream as of a whole answer.
//!
//! What was written is kept, since a stream's last event repeats all of it. Texts are kept escaped, as they
//! are written again, and all of it is on one line. Whoever fills it bounds it by [`Output::size`].

use super::{seals, words::Status};
use crate::{
    Dialect,
    json::{Raw, Writer},
    model::{Annotation, Seal},
};

/// The items of one answer.
#[derive(Debug)]
pub struct Output {
    /// What the identifiers of items are made of.
    base: String,
    /// Items that are whole, with commas between.
    finished: Vec<u8>,
    /// How many items began.
    count: u64,
    /// The item that is being written.
    item: Option<Item>,
}

impl Output {
    /// None yet, of the answer of that identifier.
    pub fn new(id: &str) -> Self {
        let prefixes = ["resp_", "chatcmpl-", "msg_"];
        let base = prefixes.iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id);
        Self { base: base.to_owned(), finished: Vec::new(), count: 0, item: None }
    }

    /// Begins an item. The one before has to be finished.
    pub fn begin(&mut self, kind: Kind, id: Option<&str>) -> &mut Item {
        let index = self.count;
        self.count += 1;
        let id = match id {
            Some(id) => id.to_owned(),
            None => format!("{}_{}_{index}", kind.prefix(), self.base),
        };
        self.item.insert(Item::new(kind, id, index))
    }

    /// Whether a message is being written, which another part can join.
    pub fn in_message(&self) -> bool {
        self.item.as_ref().is_some_and(|item| item.kind == Kind::Message)
    }

    /// The item that is being written.
    pub fn item(&mut self) -> Option<&mut Item> {
        self.item.as_mut()
    }

    /// Ends the item that is being written; gives it as it is now kept.
    pub fn finish(&mut self, status: Status) -> Option<(u64, &[u8])> {
        let item = self.item.take()?;
        if !self.finished.is_empty() {
            self.finished.push(b',');
        }
        let start = self.finished.len();
        item.write(status, &mut Writer::new(&mut self.finished));
        Some((item.index, &self.finished[start..]))
    }

    /// The items that are finished: what stands between the brackets of `output`.
    pub fn finished(&self) -> &[u8] {
        &self.finished
    }

    /// How many bytes are kept.
    pub fn size(&self) -> usize {
        self.finished.len() + self.item.as_ref().map_or(0, Item::size)
    }
}

/// What an item is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Words, or a refusal.
    Message,
    /// Reasoning.
    Reasoning,
    /// A call of a function.
    Call {
        /// The identifier that the result refers to.
        call_id: String,
        /// The function's name.
        name: String,
    },
}

impl Kind {
    fn prefix(&self) -> &'static str {
        match self {
            Self::Message => "msg",
            Self::Reasoning => "rs",
            Self::Call { .. } => "fc",
        }
    }
}

/// What a part of an item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartKind {
    /// Words.
    Text,
    /// A refusal.
    Refusal,
    /// What of the reasoning is shown.
    Summary,
}

/// An item that is being written.
#[derive(Debug)]
pub struct Item {
    kind: Kind,
    id: String,
    index: u64,
    /// Parts that are whole, with commas between.
    parts: Vec<u8>,
    part_count: u64,
    /// The part that is being written.
    part: Option<PartKind>,
    /// The text of that part, or of a call's arguments, escaped.
    text: Vec<u8>,
    annotations: Vec<u8>,
    annotation_count: u64,
    logprobs: Vec<u8>,
    /// What `encrypted_content` is to hold.
    sealed: Option<String>,
}

impl Item {
    fn new(kind: Kind, id: String, index: u64) -> Self {
        Self {
            kind,
            id,
            index,
            parts: Vec::new(),
            part_count: 0,
            part: None,
            text: Vec::new(),
            annotations: Vec::new(),
            annotation_count: 0,
            logprobs: Vec::new(),
            sealed: None,
        }
    }

    fn size(&self) -> usize {
        self.parts.len() + self.text.len() + self.annotations.len() + self.logprobs.len()
    }

    /// What it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Its identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its place among the items.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The place of the part that is being written, or comes next.
    pub fn part_index(&self) -> u64 {
        self.part_count
    }

    /// The part that is being written.
    pub fn part(&self) -> Option<PartKind> {
        self.part
    }

    /// Begins a part. The one before has to be closed.
    pub fn open_part(&mut self, kind: PartKind) {
        self.part = Some(kind);
    }

    /// Adds to the part's text, or to the arguments; gives what was added, escaped.
    pub fn add_text(&mut self, text: &str) -> &[u8] {
        let start = self.text.len();
        Writer::new(&mut self.text).fragment(text);
        &self.text[start..]
    }

    /// The part's text, or the arguments, escaped.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Adds a source to the part; gives its place and its form. `None`: it has none in this dialect.
    pub fn add_annotation(&mut self, annotation: &Annotation<'_>) -> Option<(u64, &[u8])> {
        let mut written = Vec::new();
        if !write_annotation(annotation, &mut Writer::new(&mut written)) {
            return None;
        }
        append(&mut self.annotations, &written);
        let start = self.annotations.len() - written.len();
        self.annotation_count += 1;
        Some((self.annotation_count - 1, &self.annotations[start..]))
    }

    /// Adds log probabilities to the part.
    pub fn add_logprobs(&mut self, list: &Raw<'_>) {
        let inner = list.as_str().strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let mut written = Vec::new();
        Writer::new(&mut written).raw_line(inner.unwrap_or_default().trim_ascii());
        append(&mut self.logprobs, &written);
    }

    /// The part's log probabilities: what stands between the brackets.
    pub fn logprobs(&self) -> &[u8] {
        &self.logprobs
    }

    /// Sets the seal of reasoning.
    pub fn seal(&mut self, seal: &Seal<'_>, redacted: bool) {
        self.sealed = Some(seals::of_thought(seal, redacted).into_owned());
    }

    /// Sets the seal of the part that follows.
    pub fn seal_of_next(&mut self, seal: &str) {
        self.sealed = Some(seals::of_part(seal));
    }

    /// Writes the part as it is now.
    pub fn write_part(&self, out: &mut Writer<'_>) {
        let (kind, key) = match self.part {
            Some(PartKind::Refusal) => ("refusal", "refusal"),
            Some(PartKind::Summary) => ("summary_text", "text"),
            Some(PartKind::Text) | None => ("output_text", "text"),
        };
        out.open().field("type", kind).key(key);
        quoted(&self.text, out);
        if self.part == Some(PartKind::Text) {
            list("annotations", &self.annotations, out);
            list("logprobs", &self.logprobs, out);
        }
        out.close();
    }

    /// Ends the part.
    pub fn close_part(&mut self) {
        let mut written = Vec::with_capacity(self.text.len() + 64);
        self.write_part(&mut Writer::new(&mut written));
        append(&mut self.parts, &written);
        self.part = None;
        self.part_count += 1;
        self.annotation_count = 0;
        for list in [&mut self.text, &mut self.annotations, &mut self.logprobs] {
            list.clear();
        }
    }

    /// Writes the item as it is now; a part that is open is not in it.
    pub fn write(&self, status: Status, out: &mut Writer<'_>) {
        out.open().field("id", &self.id);
        match &self.kind {
            Kind::Message => {
                out.field("type", "message").field("status", status.word());
                out.field("role", "assistant");
                list("content", &self.parts, out);
            }
            Kind::Reasoning => {
                out.field("type", "reasoning");
                list("summary", &self.parts, out);
                out.field_if("encrypted_content", self.sealed.as_deref());
            }
            Kind::Call { call_id, name } => {
                out.field("type", "function_call").field("status", status.word());
                out.field("call_id", call_id).field("name", name).key("arguments");
                quoted(&self.text, out);
            }
        }
        out.close();
    }
}

fn append(list: &mut Vec<u8>, element: &[u8]) {
    if !list.is_empty() && !element.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(element);
}

/// A string that is escaped already.
pub fn quoted(escaped: &[u8], out: &mut Writer<'_>) {
    let buffer = out.buffer();
    buffer.push(b'"');
    buffer.extend_from_slice(escaped);
    buffer.push(b'"');
}

/// A field whose value is a list that is written already.
pub fn list(key: &'static str, elements: &[u8], out: &mut Writer<'_>) {
    out.key(key).open_array();
    out.buffer().extend_from_slice(elements);
    out.close_array();
}

/// Writes a source; `false` if it has no form here.
fn write_annotation(annotation: &Annotation<'_>, out: &mut Writer<'_>) -> bool {
    match annotation {
        Annotation::Url { url, title, start, end } => {
            out.open().field("type", "url_citation").field("url", url);
            out.field("title", title.as_deref().unwrap_or_default());
            out.count_field("start_index", start.unwrap_or(0));
            out.count_field("end_index", end.unwrap_or(0)).close();
            true
        }
        Annotation::Native { dialect: Dialect::OpenAiResponses, value } => {
            out.raw_line(value.as_str());
            true
        }
        Annotation::Native { .. } => false,
    }
}
