//! Streams of Bedrock's, which are frames, written as lines.
//!
//! | line | is |
//! |---|---|
//! | `name {...}` | an event |
//! | `!name {...}` | an exception |
//! | `?code message` | an error that the service's model does not name |

use sluicegate_chat::aws::frame;

/// The frames of a stream's lines.
pub fn of_lines(lines: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let (name, payload) = line.split_once(' ').unwrap_or((line, "{}"));
        if let Some(code) = name.strip_prefix('?') {
            let headers =
                [(":message-type", "error"), (":error-code", code), (":error-message", payload)];
            frame::write(&headers, b"", &mut bytes);
            continue;
        }
        let content = (":content-type", "application/json");
        let headers = match name.strip_prefix('!') {
            Some(name) => [(":exception-type", name), content, (":message-type", "exception")],
            None => [(":event-type", name), content, (":message-type", "event")],
        };
        frame::write(&headers, payload.as_bytes(), &mut bytes);
    }
    bytes
}
