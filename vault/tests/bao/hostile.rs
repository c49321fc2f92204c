//! Servers that answer what no OpenBao would, or not at all.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use sluicegate_vault::{Auth, Options, Vault, VaultError};

use super::{get, options};

/// A server that answers all with `answer`, and never if there is none. Lives as long as the test.
fn server(answer: Option<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or_default() == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            match &answer {
                // Whoever has read enough hangs up before the end.
                Some(answer) => drop(stream.write_all(answer)),
                None => open.push(stream),
            }
        }
    });
    address
}

fn ask(answer: Option<Vec<u8>>) -> VaultError {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "s.canary-of-ours").unwrap();
    let url = format!("http://{}", server(answer));
    let timeout = Duration::from_secs(3);
    let vault = Vault::start(Options { timeout, ..options(&url, Auth::Token { file }) }).unwrap();
    let error = get(&vault, "secret/xai#key").unwrap_err();
    let shown = format!("{error} {error:?} {:?} {vault:?}", vault.status());
    assert!(!shown.contains("canary"), "{shown}");
    assert!(!vault.status().up || matches!(error, VaultError::TooLarge));
    error
}

fn answer(status: &str, body: &str) -> VaultError {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    ask(Some(format!("{head}{body}").into_bytes()))
}

#[test]
fn each_status_tells_what_to_do() {
    let body = r#"{"errors": ["s.canary-of-theirs"]}"#;
    assert_eq!(answer("503", body), VaultError::Sealed);
    for status in [429, 472, 473] {
        assert_eq!(answer(&status.to_string(), body), VaultError::Standby(status));
    }
    assert_eq!(answer("412", body), VaultError::Failing(412));
    assert_eq!(answer("502", body), VaultError::Failing(502));
    assert_eq!(answer("403", body), VaultError::TokenRefused);
}

#[test]
fn a_redirection_is_not_followed() {
    let elsewhere = format!("http://{}", server(Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())));
    for status in ["301", "302", "307", "308"] {
        let answer =
            format!("HTTP/1.1 {status} X\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(ask(Some(answer.into_bytes())), VaultError::Redirected);
    }
}

#[test]
fn an_answer_is_bounded_in_length_depth_and_time() {
    assert_eq!(answer("200", &"x".repeat(2 << 20)), VaultError::TooLarge);
    // Without a length, too.
    let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    endless.resize(4 << 20, b' ');
    assert_eq!(ask(Some(endless)), VaultError::TooLarge);
    assert_eq!(ask(None), VaultError::TimedOut);
    for body in ["", "<html>canary", &"[".repeat(100_000), r#"{"data": {"ttl": "s.canary"}}"#] {
        assert_eq!(answer("200", body), VaultError::Garbled("a token"));
    }
}

#[test]
fn an_answer_that_is_cut_is_none() {
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\"".to_vec();
    assert!(matches!(ask(Some(cut)), VaultError::Unreachable(_)));
    assert!(matches!(ask(Some(b"SSH-2.0-OpenSSH\r\n".to_vec())), VaultError::Unreachable(_)));
}
