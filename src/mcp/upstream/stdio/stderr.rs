//! What a child says on its standard error: for whoever looks into why a server does not work.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// The longest line that is told. What is over is left out.
const LONGEST: usize = 1024;
/// As much of a line is looked through for secrets, so that none is cut in two by [`LONGEST`].
const KEPT: usize = 8 * 1024;
/// Lines that are told in a [`SPELL`].
const LINES: u32 = 50;
const SPELL: Duration = Duration::from_secs(1);

/// Reads all of it, so that the child never waits, and logs some of it.
pub async fn log(from: impl AsyncRead + Unpin, server: &str, secrets: &[SecretString]) {
    let tell = |line: &str| tracing::debug!(server, line, "an MCP server's standard error");
    let left_out = |lines| tracing::debug!(server, lines, "lines of it were left out");
    read(from, secrets, tell, left_out).await;
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    secrets: &[SecretString],
    tell: impl Fn(&str),
    left_out: impl Fn(u32),
) {
    let mut chunk = vec![0; 8 * 1024];
    let mut line = Vec::new();
    let mut spell = Spell { begun: Instant::now(), told: 0, left_out: 0 };
    let mut end = |line: &mut Vec<u8>| {
        if spell.admits(Instant::now(), &left_out) {
            tell(&readable(line, secrets));
        }
        line.clear();
    };
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let mut rest = &chunk[..read];
        while let Some(at) = memchr::memchr(b'\n', rest) {
            keep(&mut line, &rest[..at]);
            end(&mut line);
            rest = &rest[at + 1..];
        }
        keep(&mut line, rest);
    }
    if !line.is_empty() {
        end(&mut line);
    }
    if spell.left_out > 0 {
        left_out(spell.left_out);
    }
}

fn keep(line: &mut Vec<u8>, part: &[u8]) {
    let room = KEPT - line.len();
    line.extend_from_slice(&part[..part.len().min(room)]);
}

/// A line without secrets, and without what a terminal might take for an order.
fn readable(line: &[u8], secrets: &[SecretString]) -> String {
    let mut text = String::from_utf8_lossy(line).into_owned();
    for secret in secrets.iter().map(ExposeSecret::expose_secret).filter(|s| !s.is_empty()) {
        text = text.replace(secret, "[secret]");
    }
    text.trim_end().chars().take(LONGEST).flat_map(char::escape_debug).collect()
}

struct Spell {
    begun: Instant,
    told: u32,
    left_out: u32,
}

impl Spell {
    fn admits(&mut self, now: Instant, left_out: impl Fn(u32)) -> bool {
        if now.duration_since(self.begun) >= SPELL {
            if self.left_out > 0 {
                left_out(self.left_out);
            }
            *self = Self { begun: now, told: 0, left_out: 0 };
        }
        let admitted = self.told < LINES;
        let count = if admitted { &mut self.told } else { &mut self.left_out };
        *count = count.saturating_add(1);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    async fn told(text: &[u8], secrets: &[&str]) -> (Vec<String>, u32) {
        let secrets: Vec<_> = secrets.iter().map(|&s| SecretString::from(s)).collect();
        let (lines, left_out) = (RefCell::new(Vec::new()), Cell::new(0));
        let tell = |line: &str| lines.borrow_mut().push(line.to_owned());
        read(text, &secrets, tell, |more| left_out.set(left_out.get() + more)).await;
        (lines.into_inner(), left_out.get())
    }

    #[tokio::test]
    async fn lines_are_told_without_secrets_and_control_characters() {
        let text = b"key=s3cret!\r\n\x1b[31mred\xff\ns3cret";
        let (lines, left_out) = told(text, &["s3cret!", "s3cret"]).await;
        assert_eq!(lines, ["key=[secret]", "\\u{1b}[31mred\u{fffd}", "[secret]"]);
        assert_eq!(left_out, 0);
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_no_secret_with_it() {
        let text = format!("{}token\n{}", "x".repeat(LONGEST - 2), "y".repeat(20 * KEPT));
        let (lines, _) = told(text.as_bytes(), &["token"]).await;
        assert_eq!(lines, [format!("{}[s", "x".repeat(LONGEST - 2)), "y".repeat(LONGEST)]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_lines_some_are_told_and_the_others_counted() {
        let (lines, left_out) = told(&b"again\n".repeat(1000), &[]).await;
        assert_eq!((lines.len(), left_out), (LINES as usize, 1000 - LINES));
    }

    #[test]
    fn the_next_spell_has_its_own_lines() {
        let (counted, begun) = (Cell::new(0), Instant::now());
        let mut spell = Spell { begun, told: LINES, left_out: 2 };
        assert!(!spell.admits(begun, |lines| counted.set(lines)));
        assert!(spell.admits(begun + SPELL, |lines| counted.set(lines)));
        assert_eq!(counted.get(), 3);
    }
}
