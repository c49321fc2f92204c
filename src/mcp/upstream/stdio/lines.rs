//! Messages on a pipe: one a line.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::skim::Skim;

const CHUNK: usize = 64 * 1024;
/// How many times as long as is allowed a line may be, before it is taken for one without an end.
const SKIPPED: usize = 16;

/// A line.
#[derive(Debug)]
pub enum Line<'a> {
    /// Without its end.
    Whole(&'a mut Vec<u8>),
    /// One that is longer than allowed was passed over. It answers the call with this id, if it says so.
    TooLong(Option<u64>),
}

/// Why there are no more lines.
#[derive(Debug)]
pub enum LineError {
    /// The next one has no end, or as good as none.
    Endless,
    /// The pipe is broken.
    Io(io::Error),
}

/// Lines of a bounded length.
pub struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    longest: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The lines of `from`, of which those with more than `longest` bytes are passed over.
    pub fn new(from: R, longest: usize) -> Self {
        Self { from: BufReader::with_capacity(CHUNK, from), line: Vec::new(), longest }
    }

    /// The next line. Bytes after the last line end are one, too. `None`: there are no more.
    ///
    /// # Errors
    /// It has no end, or the pipe is broken.
    pub async fn next(&mut self) -> Result<Option<Line<'_>>, LineError> {
        self.line.clear();
        // A long message is the exception; its memory is not kept for the next.
        self.line.shrink_to(CHUNK);
        let mut length = 0_usize;
        let mut skim: Option<Skim> = None;
        loop {
            let chunk = self.from.fill_buf().await.map_err(LineError::Io)?;
            let end = memchr::memchr(b'\n', chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            length = length.saturating_add(part.len());
            if length > self.longest.saturating_mul(SKIPPED) {
                return Err(LineError::Endless);
            }
            if length > self.longest {
                let kept = std::mem::take(&mut self.line);
                let skim = skim.get_or_insert_default();
                skim.feed(&kept);
                skim.feed(part);
            } else {
                self.line.extend_from_slice(part);
            }
            let read = part.len() + usize::from(end.is_some());
            let over = chunk.is_empty();
            self.from.consume(read);
            if end.is_some() || (over && length > 0) {
                return Ok(Some(match skim {
                    Some(skim) => Line::TooLong(skim.answers()),
                    None => Line::Whole(&mut self.line),
                }));
            }
            if over {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8], longest: usize) -> (Vec<String>, Option<LineError>) {
        let mut lines = Lines::new(text, longest);
        let mut read = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(Line::Whole(line))) => read.push(String::from_utf8(line.clone()).unwrap()),
                Ok(Some(Line::TooLong(call))) => read.push(format!("too long: {call:?}")),
                Ok(None) => return (read, None),
                Err(error) => return (read, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn a_line_ends_with_its_end_or_with_the_pipe() {
        let (lines, error) = all(b"a\n\nbc\r\nlast", 4).await;
        assert_eq!(lines, ["a", "", "bc\r", "last"]);
        assert!(error.is_none());
        let long = "x".repeat(3 * CHUNK);
        let (lines, error) = all(format!("{long}\ny\n").as_bytes(), 3 * CHUNK).await;
        assert_eq!(lines, [long.as_str(), "y"]);
        assert!(error.is_none());
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over() {
        let (lines, error) = all(b"abc\nabcd\nef\nabcd", 3).await;
        assert_eq!(lines, ["abc", "too long: None", "ef", "too long: None"]);
        assert!(error.is_none());
        let long = "x".repeat(3 * CHUNK);
        let answer = format!("{{\"result\":{{\"text\":\"{long}\"}},\"id\":7}}\n{{}}\n");
        let (lines, error) = all(answer.as_bytes(), CHUNK).await;
        assert_eq!(lines, ["too long: Some(7)", "{}"]);
        assert!(error.is_none());
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_the_last() {
        let (lines, error) = all(&[&b"a\n"[..], &[b'x'; 3 * SKIPPED]].concat(), 3).await;
        assert_eq!(lines, ["a", "too long: None"], "as long as may be");
        assert!(error.is_none());
        let (lines, error) = all(&[b'x'; 3 * SKIPPED + 1], 3).await;
        assert!(lines.is_empty() && matches!(error, Some(LineError::Endless)));
    }
}
