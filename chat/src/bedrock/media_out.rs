//! Writes pictures, files and recordings.
//!
//! All of them are in the request. An address in Amazon's storage would be read with the rights of the gateway's own
//! credential, and others can not be sent.

use crate::{
    Refusal,
    json::Writer,
    model::{Document, Image, Media, Origin, Source},
    refusal::Losses,
};

const INLINE: &str = "send the bytes inline, as a `data:` URL or as base64";

/// Writes the fields of an image block.
pub fn image(
    image: &Image<'_>,
    origin: Origin,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if image.detail.as_deref().is_some_and(|detail| detail != "auto") {
        losses.note(format_args!("{origin}.detail"));
    }
    let Source::Inline(media) = &image.source else {
        return Err(losses.content(origin, INLINE));
    };
    let format = match &*media.media_type {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return Err(losses.content(origin, "send a PNG, JPEG, GIF or WebP")),
    };
    out.key("image").open().field("format", format);
    bytes(media, out);
    out.close();
    Ok(())
}

/// Writes the fields of an audio block.
pub fn audio(
    media: &Media<'_>,
    origin: Origin,
    losses: &Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let format = match &*media.media_type {
        "audio/wav" => "wav",
        "audio/mpeg" => "mp3",
        _ => return Err(losses.content(origin, "send WAV or MP3")),
    };
    out.key("audio").open().field("format", format);
    bytes(media, out);
    out.close();
    Ok(())
}

fn bytes(media: &Media<'_>, out: &mut Writer<'_>) {
    out.key("source").open().field("bytes", &media.data).close();
}

/// The names that documents of one request have: each has to have one, and no two the same.
#[derive(Debug, Default)]
pub struct Names {
    given: Vec<String>,
}

impl Names {
    /// A name for a document of this title.
    fn give(&mut self, title: Option<&str>) -> String {
        let wanted = neutral(title.unwrap_or_default());
        let mut name = wanted.clone();
        let mut count = 1;
        while self.given.contains(&name) {
            count += 1;
            name = format!("{wanted} {count}");
        }
        self.given.push(name.clone());
        name
    }
}

/// Names are of letters, digits, hyphens, brackets and single spaces; everything else becomes a space.
fn neutral(title: &str) -> String {
    const MOST: usize = 180;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
    let spaced: String = title.chars().take(MOST).map(|c| if fits(c) { c } else { ' ' }).collect();
    let name = spaced.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() { "document".to_owned() } else { name }
}

/// Writes the fields of a document block.
pub fn document(
    document: &Document<'_>,
    origin: Origin,
    names: &mut Names,
    losses: &Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let format = match &document.source {
        Source::Text(_) => "txt",
        Source::Inline(media) => format(&media.media_type)
            .ok_or_else(|| losses.content(origin, "send a PDF, an office document or text"))?,
        Source::Url(_) | Source::FileId(_) => return Err(losses.content(origin, INLINE)),
    };
    out.key("document").open().field("format", format);
    out.field("name", &names.give(document.name.as_deref()));
    match &document.source {
        Source::Text(text) => _ = out.key("source").open().field("text", text).close(),
        Source::Inline(media) => bytes(media, out),
        Source::Url(_) | Source::FileId(_) => {}
    }
    out.field_if("context", document.context.as_deref());
    if let Some(enabled) = document.citations {
        out.key("citations").open().key("enabled").boolean(enabled).close();
    }
    out.close();
    Ok(())
}

fn format(media_type: &str) -> Option<&'static str> {
    Some(match media_type {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "text/html" => "html",
        "text/plain" => "txt",
        "text/markdown" => "md",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_have_names_of_their_own() {
        let mut names = Names::default();
        assert_eq!(names.give(Some("Q3 report_v2.pdf")), "Q3 report v2 pdf");
        assert_eq!(names.give(Some("Q3 report.v2 pdf")), "Q3 report v2 pdf 2");
        assert_eq!(names.give(None), "document");
        assert_eq!(names.give(Some("…")), "document 2");
    }

    proptest! {
        #[test]
        fn names_are_of_what_they_may_be(titles in proptest::collection::vec(".{0,300}", 1..6)) {
            let mut names = Names::default();
            let mut given: Vec<_> = titles.iter().map(|title| names.give(Some(title))).collect();
            for name in &given {
                prop_assert!(!name.is_empty() && name.len() <= 200 && !name.contains("  "), "{name}");
                let fits = |c: char| c.is_ascii_alphanumeric() || "-()[] ".contains(c);
                prop_assert!(name.chars().all(fits), "{}", name);
            }
            given.sort();
            given.dedup();
            prop_assert_eq!(given.len(), titles.len());
        }
    }
}
