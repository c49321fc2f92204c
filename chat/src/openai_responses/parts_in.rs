//! Reads the parts of a client's messages and of tools' results.

use std::borrow::Cow;

use super::request_in::{OWN, unless_default};
use crate::{
    Refusal, Why,
    extras::Extras,
    json::{Kind, Path, Reader},
    media::{DATA_URL, read_url},
    model::{Content, Document, Image, Media, Origin, Part, Source},
};

/// Whose parts they are: what they may be depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// Instructions: text alone.
    Instructions,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Result,
}

impl Holder {
    fn may_hold(self, content: &Content<'_>) -> bool {
        match content {
            Content::Text { .. } => true,
            Content::Refusal(_) => self == Self::Assistant,
            Content::Image(_) | Content::Document(_) => matches!(self, Self::User | Self::Result),
            _ => self == Self::User,
        }
    }
}

/// Reads a string, or an array of parts.
pub fn content<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    name: &'static str,
    holder: Holder,
    extras: &mut Extras<'a>,
) -> Result<Vec<Part<'a>>, Refusal> {
    match at.kind(reader)? {
        Kind::String => Ok(vec![Part::text(at.string(reader)?, origin.inner(name))]),
        Kind::Array => at.array(reader, |at, index, reader| {
            let part = part(at, reader, origin.item(name, index), extras)?;
            if holder.may_hold(&part.content) {
                Ok(part)
            } else {
                Err(at.invalid("of a type that can stand here"))
            }
        }),
        _ => Err(at.invalid("a string, or an array of parts")),
    }
}

/// The fields of a part, whatever its type.
#[derive(Default)]
struct Fields<'a> {
    text: Option<Cow<'a, str>>,
    refusal: Option<Cow<'a, str>>,
    address: Option<Source<'a>>,
    file_id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    detail: Option<Cow<'a, str>>,
    audio: Option<Media<'a>>,
}

fn part<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    extras: &mut Extras<'a>,
) -> Result<Part<'a>, Refusal> {
    let kind = at.look_up(reader, "type")?;
    let kind = kind.ok_or_else(|| at.key("type").refuse(Why::Missing))?;
    let mut fields = Fields::default();
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match (&*kind, &*key) {
            (_, "type") => _ = at.string(reader)?,
            ("input_text" | "output_text", "text") => fields.text = Some(at.string(reader)?),
            ("output_text", "annotations") => extras.known(&at, reader, OWN)?,
            // What the model computed, repeated by the client: nothing depends on it.
            ("output_text", "logprobs") => _ = at.raw(reader)?,
            ("refusal", "refusal") => fields.refusal = Some(at.string(reader)?),
            ("input_image", "image_url") | ("input_file", "file_url") => {
                fields.address = at.optional(reader, address)?.or(fields.address);
            }
            ("input_file", "file_data") => {
                fields.address = at.optional(reader, data)?.or(fields.address);
            }
            ("input_image" | "input_file", "file_id") => {
                fields.file_id = at.optional(reader, Path::string)?;
            }
            ("input_file", "filename") => fields.name = at.optional(reader, Path::string)?,
            ("input_image", "detail") => fields.detail = at.optional(reader, Path::string)?,
            ("input_file", "detail") => {
                unless_default("\"auto\"", &at, reader, extras)?;
            }
            ("input_audio", "input_audio") => fields.audio = Some(audio(&at, reader)?),
            _ => extras.unknown(&at, reader)?,
        }
    }
    fields.into_content(&kind, at).map(|content| Part::new(content, origin))
}

impl<'a> Fields<'a> {
    fn into_content(self, kind: &str, at: &Path<'_>) -> Result<Content<'a>, Refusal> {
        let missing = |name| at.key(name).refuse(Why::Missing);
        let source = self.address.or(self.file_id.map(Source::FileId));
        Ok(match kind {
            "input_text" | "output_text" => {
                let text = self.text.ok_or_else(|| missing("text"))?;
                Content::Text { text, annotations: Vec::new() }
            }
            "refusal" => Content::Refusal(self.refusal.ok_or_else(|| missing("refusal"))?),
            "input_image" => {
                let source = source.ok_or_else(|| missing("image_url"))?;
                Content::Image(Image { source, detail: self.detail })
            }
            "input_file" => {
                let source = source.ok_or_else(|| missing("file_data"))?;
                let name = self.name;
                Content::Document(Document { source, name, context: None, citations: None })
            }
            "input_audio" => Content::Audio(self.audio.ok_or_else(|| missing("input_audio"))?),
            _ => {
                return Err(at.key("type").invalid(
                    "`input_text`, `input_image`, `input_file`, `input_audio`, `output_text` or `refusal`",
                ));
            }
        })
    }
}

fn address<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Source<'a>, Refusal> {
    read_url(at.string(reader)?).ok_or_else(|| at.invalid(DATA_URL))
}

fn data<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Source<'a>, Refusal> {
    match read_url(at.string(reader)?) {
        Some(inline @ Source::Inline(_)) => Ok(inline),
        _ => Err(at.invalid("a `data:` URL with a media type and base64")),
    }
}

fn audio<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Media<'a>, Refusal> {
    let (mut data, mut media_type) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "data" => data = Some(at.string(reader)?),
            "format" => {
                media_type = Some(match &*at.string(reader)? {
                    "wav" => "audio/wav",
                    "mp3" => "audio/mpeg",
                    _ => return Err(at.invalid("`wav` or `mp3`")),
                });
            }
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    let data = data.ok_or_else(|| at.key("data").refuse(Why::Missing))?;
    let media_type = media_type.ok_or_else(|| at.key("format").refuse(Why::Missing))?;
    Ok(Media { media_type: media_type.into(), data })
}
