//! Writes the items for an upstream.

use crate::{
    ClientDialect, Dialect, Refusal,
    json::Writer,
    media::data_url,
    model::{
        Content, Document, Image, Maker, Message, Part, Request, Role, Source, Thought, ToolCall,
        ToolResult,
    },
    refusal::Losses,
};

/// Writes the fields `instructions` and `input`.
pub fn write(
    request: &Request<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    // An open turn of the model's is gone on with in Anthropic's dialect, and taken for complete in this one.
    if let Some(last) = request.messages.last()
        && last.role == Role::Assistant
        && request.dialect == ClientDialect::Anthropic
    {
        return Err(losses.content(last.origin, "end with a user's turn"));
    }
    let mut messages = &*request.messages;
    if let Some((part, rest)) = instructions(messages) {
        note_hints(part, losses);
        out.field("instructions", part.as_text().unwrap_or_default());
        messages = rest;
    }
    out.key("input").open_array();
    let own = request.dialect == ClientDialect::OpenAiResponses;
    let mut items = Items { own, losses, out };
    for message in messages {
        if message.name.is_some() {
            items.losses.parameter(message.origin.inner("name"))?;
        }
        items.message(message)?;
    }
    out.close_array();
    Ok(())
}

/// A system's message of one text that comes first is what `instructions` is.
fn instructions<'m, 'a>(messages: &'m [Message<'a>]) -> Option<(&'m Part<'a>, &'m [Message<'a>])> {
    let (first, rest) = messages.split_first()?;
    let [part] = &*first.parts else { return None };
    let fits = first.role == Role::System
        && first.name.is_none()
        && part.as_text().is_some()
        && !rest.is_empty();
    fits.then_some((part, rest))
}

fn note_hints(part: &Part<'_>, losses: &mut Losses) {
    if part.cache.is_some() {
        losses.note(format_args!("{}.cache_control", part.origin));
    }
    if part.seal.is_some() {
        losses.note(format_args!("{}.extra_content", part.origin));
    }
}

/// Whether a part is an item of its own, rather than one of a message's parts.
fn is_item(part: &Part<'_>) -> bool {
    matches!(
        part.content,
        Content::ToolResult(_)
            | Content::ToolCall(_)
            | Content::Thought(_)
            | Content::Native { .. }
    )
}

struct Items<'i, 'o> {
    /// The client speaks this dialect, too.
    own: bool,
    losses: &'i mut Losses,
    out: &'i mut Writer<'o>,
}

impl Items<'_, '_> {
    /// The items of one message, in the order of its parts.
    fn message(&mut self, message: &Message<'_>) -> Result<(), Refusal> {
        let role = match message.role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let is_silent = |part: &Part<'_>| part.as_text() == Some("");
        let together = |left: &Part<'_>, right: &Part<'_>| !is_item(left) && !is_item(right);
        for parts in message.parts.chunk_by(together) {
            match parts {
                [part] if is_item(part) => self.item(part, message.role)?,
                // Clients of other dialects send empty texts along with calls.
                parts if role == "assistant" && parts.iter().all(is_silent) => {}
                parts => self.said(role, parts)?,
            }
        }
        if message.parts.is_empty() && message.role != Role::Assistant {
            self.said(role, &[])?;
        }
        Ok(())
    }

    fn said(&mut self, role: &'static str, parts: &[Part<'_>]) -> Result<(), Refusal> {
        self.out.element().open().field("role", role).key("content");
        if role == "assistant" {
            self.answered(parts)?;
        } else {
            self.content(parts)?;
        }
        self.out.close();
        Ok(())
    }

    /// A string for one text, otherwise parts.
    fn content(&mut self, parts: &[Part<'_>]) -> Result<(), Refusal> {
        match parts {
            [] => _ = self.out.string(""),
            [part] if part.as_text().is_some() => {
                note_hints(part, self.losses);
                self.out.string(part.as_text().unwrap_or_default());
            }
            _ => {
                self.out.open_array();
                for part in parts {
                    note_hints(part, self.losses);
                    self.part(part)?;
                }
                self.out.close_array();
            }
        }
        Ok(())
    }

    /// What the model said, in the parts of an answer.
    fn answered(&mut self, parts: &[Part<'_>]) -> Result<(), Refusal> {
        if let [part] = parts
            && part.as_text().is_some()
        {
            return self.content(parts);
        }
        self.out.open_array();
        for part in parts {
            note_hints(part, self.losses);
            self.out.element().open();
            match &part.content {
                Content::Text { text, .. } => {
                    self.out.field("type", "output_text").field("text", text);
                    self.out.key("annotations").open_array().close_array();
                }
                Content::Refusal(text) => {
                    self.out.field("type", "refusal").field("refusal", text);
                }
                _ => return Err(self.losses.content(part.origin, "leave this part out")),
            }
            self.out.close();
        }
        self.out.close_array();
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>) -> Result<(), Refusal> {
        match &part.content {
            Content::Text { text, .. } => self.text(text),
            Content::Image(image) => self.image(part, image)?,
            Content::Document(document) => self.document(part, document)?,
            Content::Audio(media) => {
                let format = match &*media.media_type {
                    "audio/wav" | "audio/x-wav" => "wav",
                    "audio/mpeg" | "audio/mp3" => "mp3",
                    _ => return Err(self.losses.content(part.origin, "send it as WAV or MP3")),
                };
                self.out.element().open().field("type", "input_audio").key("input_audio").open();
                self.out.field("data", &media.data).field("format", format).close().close();
            }
            Content::Refusal(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_)
            | Content::Thought(_)
            | Content::Native { .. } => {
                return Err(self.losses.content(part.origin, "leave this part out"));
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.element().open().field("type", "input_text").field("text", text).close();
    }

    fn image(&mut self, part: &Part<'_>, image: &Image<'_>) -> Result<(), Refusal> {
        self.out.element().open().field("type", "input_image");
        match &image.source {
            Source::Url(url) => _ = self.out.field("image_url", url),
            Source::Inline(media) => _ = self.out.field("image_url", &data_url(media)),
            Source::FileId(id) if self.own => _ = self.out.field("file_id", id),
            Source::FileId(_) | Source::Text(_) => {
                let hint = "send the picture by address or inline";
                return Err(self.losses.content(part.origin, hint));
            }
        }
        self.out.field_if("detail", image.detail.as_deref()).close();
        Ok(())
    }

    fn document(&mut self, part: &Part<'_>, document: &Document<'_>) -> Result<(), Refusal> {
        if document.citations == Some(true) {
            self.losses.parameter(format_args!("{}.citations", part.origin))?;
        }
        if let Some(context) = &document.context {
            self.text(context);
        }
        let name = document.name.as_deref();
        if let Source::Text(text) = &document.source {
            // The text is what counts; its title stands above it.
            match name {
                Some(name) => self.text(&format!("{name}\n\n{text}")),
                None => self.text(text),
            }
            return Ok(());
        }
        self.out.element().open().field("type", "input_file");
        match &document.source {
            Source::Inline(media) => {
                self.out.field("filename", name.unwrap_or("document.pdf"));
                self.out.field("file_data", &data_url(media));
            }
            // A name beside an address is refused.
            Source::Url(url) => _ = self.out.field("file_url", url),
            Source::FileId(id) if self.own => _ = self.out.field("file_id", id),
            Source::FileId(_) | Source::Text(_) => {
                return Err(self.losses.content(part.origin, "send the file inline"));
            }
        }
        self.out.close();
        Ok(())
    }

    fn item(&mut self, part: &Part<'_>, role: Role) -> Result<(), Refusal> {
        note_hints(part, self.losses);
        match (&part.content, role) {
            (Content::ToolCall(call), Role::Assistant) => self.call(call),
            (Content::ToolResult(result), Role::User) => self.result(part, result)?,
            (Content::Thought(thought), Role::Assistant) => self.thought(part, thought),
            (Content::Native { dialect: Dialect::OpenAiResponses, value, .. }, _) => {
                self.out.element().raw(value.as_str());
            }
            _ => return Err(self.losses.content(part.origin, "leave this part out")),
        }
        Ok(())
    }

    fn call(&mut self, call: &ToolCall<'_>) {
        self.out.element().open().field("type", "function_call").field("call_id", &call.id);
        self.out.field("name", &call.name).field("arguments", call.arguments.as_text()).close();
    }

    fn result(&mut self, part: &Part<'_>, result: &ToolResult<'_>) -> Result<(), Refusal> {
        if result.is_error {
            self.losses.note(format_args!("{}.is_error", part.origin));
        }
        self.out.element().open().field("type", "function_call_output");
        self.out.field("call_id", &result.call_id).key("output");
        self.content(&result.parts)?;
        self.out.close();
        Ok(())
    }

    /// Reasoning goes back to its maker alone. An identifier without a seal is of use where the provider keeps its answers,
    /// and is known to clients of this dialect only.
    fn thought(&mut self, part: &Part<'_>, thought: &Thought<'_>) {
        let kept = self.own && thought.seal.is_none() && thought.id.is_some();
        if !thought.is_sealed_by(Maker::OpenAi) && !kept {
            self.losses.note(part.origin);
            return;
        }
        self.out.element().open().field("type", "reasoning");
        self.out.field_if("id", thought.id.as_deref()).key("summary").open_array();
        if !thought.text.is_empty() {
            self.out.element().open().field("type", "summary_text");
            self.out.field("text", &thought.text).close();
        }
        self.out.close_array();
        let seal = thought.seal.as_ref().map(|seal| &*seal.data);
        self.out.field_if("encrypted_content", seal).close();
    }
}
