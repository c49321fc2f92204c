//! Messages on a pipe: one a line.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

const CHUNK: usize = 64 * 1024;

/// Why there are no more lines.
#[derive(Debug)]
pub enum LineError {
    /// The next one is longer than allowed.
    TooLong,
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
    /// The lines of `from`, none with more than `longest` bytes.
    pub fn new(from: R, longest: usize) -> Self {
        Self { from: BufReader::with_capacity(CHUNK, from), line: Vec::new(), longest }
    }

    /// The next line, without its end. Bytes after the last line end are one, too. `None`: there are no more.
    ///
    /// # Errors
    /// It is too long, or the pipe is broken.
    pub async fn next(&mut self) -> Result<Option<&mut Vec<u8>>, LineError> {
        self.line.clear();
        // A long message is the exception; its memory is not kept for the next.
        self.line.shrink_to(CHUNK);
        loop {
            let chunk = self.from.fill_buf().await.map_err(LineError::Io)?;
            let end = memchr::memchr(b'\n', chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if self.line.len() + part.len() > self.longest {
                return Err(LineError::TooLong);
            }
            self.line.extend_from_slice(part);
            let read = part.len() + usize::from(end.is_some());
            let over = chunk.is_empty();
            self.from.consume(read);
            if end.is_some() || (over && !self.line.is_empty()) {
                return Ok(Some(&mut self.line));
            }
            if over {
                return Ok(None);
            }
        }
    }
}

/// Makes one line of a JSON text. Within strings line ends are escaped, so what is replaced is space between
/// tokens.
pub fn one_line(text: &mut [u8]) {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        rest[at] = b' ';
        rest = &mut rest[at + 1..];
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
                Ok(Some(line)) => read.push(String::from_utf8(line.clone()).unwrap()),
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
    async fn a_line_that_is_too_long_is_the_last() {
        let (lines, error) = all(b"abc\nabcd\n", 3).await;
        assert_eq!(lines, ["abc"]);
        assert!(matches!(error, Some(LineError::TooLong)));
        let (lines, error) = all(&vec![b'x'; 3 * CHUNK], 2 * CHUNK).await;
        assert!(lines.is_empty() && matches!(error, Some(LineError::TooLong)), "without an end");
    }

    #[test]
    fn line_ends_between_tokens_become_spaces() {
        let mut text = b"{\r\n\"a\":\"\\n\"\n}".to_vec();
        one_line(&mut text);
        assert_eq!(text, b"{  \"a\":\"\\n\" }");
    }
}
