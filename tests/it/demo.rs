//! `sluicegate demo`: what it tells a person to try works as it stands.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::split_events;

/// Ends with the test, and its directory after it.
struct Demo(Child, #[expect(dead_code, reason = "kept until it has ended")] tempfile::TempDir);

impl Drop for Demo {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_commands_that_it_prints_show_a_stream_and_a_tool() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["demo", "--listen", "127.0.0.1:0", "--upgrade-socket"])
        .arg(directory.path().join("handover/upgrade.sock"))
        .current_dir(directory.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let _demo = Demo(child, directory);
    let greeting: Vec<_> =
        lines.by_ref().take_while(|line| !line.starts_with("Ctrl-C stops it")).collect();
    let greeting = greeting.join("\n");
    // Somebody must go on reading, or it stops when the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));

    let events = split_events(&shown_by(&greeting, 0));
    assert!(
        events.len() > 3 && events.iter().all(|event| event.starts_with("data: ")),
        "{events:?}"
    );
    assert_eq!(events.last().unwrap(), "data: [DONE]");
    assert!(events.iter().any(|event| event.contains("\"content\":\"")), "{events:?}");

    let answer: serde_json::Value = serde_json::from_slice(&shown_by(&greeting, 1)).unwrap();
    assert_eq!(answer["result"]["structuredContent"]["sum"], 42, "{answer}");
}

/// What one of the printed commands shows, copied as a person does: from its name to the empty line.
fn shown_by(greeting: &str, index: usize) -> Vec<u8> {
    let (at, _) = greeting.match_indices("curl ").nth(index).expect("a command");
    let command = greeting[at..].split("\n\n").next().unwrap();
    let shown = Command::new("sh")
        .args(["-c", command])
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(shown.status.success(), "{command}\n{}", String::from_utf8_lossy(&shown.stderr));
    shown.stdout
}
