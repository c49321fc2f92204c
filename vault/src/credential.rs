//! What is read from files at each login: secret ids, service accounts' tokens, tokens.

use std::io::Read as _;
use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroize as _;

use crate::error::VaultError;

/// A credential longer than this is a wrong file.
const MAX_BYTES: u64 = 16 * 1024;

/// The credential in the file at `path`, without white space around it. Blocks on the disk.
pub(crate) fn read(path: &Path) -> Result<SecretString, VaultError> {
    let wrong = |reason: String| VaultError::Credential { path: path.to_owned(), reason };
    let io = |error: std::io::Error| wrong(error.to_string());
    // Opening a pipe that nobody writes to would wait for ever, so ask first what it is.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(wrong("is not a regular file".to_owned()));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(io)?;
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(io);
    let credential = text.trim();
    let checked = if text.len() as u64 > MAX_BYTES {
        Err(wrong(format!("is larger than {MAX_BYTES} bytes")))
    } else if credential.is_empty() {
        Err(wrong("is empty".to_owned()))
    } else if !credential.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(wrong("holds more than one word of printable ASCII".to_owned()))
    } else {
        Ok(SecretString::from(credential))
    };
    text.zeroize();
    read.and(checked)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_credential_is_one_word() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        let reason = || match read(&path) {
            Err(VaultError::Credential { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason().contains("No such file"));
        for (content, expected) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("two words", "more than one word"),
            ("e\u{301}", "more than one word"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert!(reason().contains(expected), "{content:?}");
        }
        std::fs::write(&path, "x".repeat(20_000)).unwrap();
        assert!(reason().contains("larger"));
        std::fs::write(&path, "5f1e-22\r\n").unwrap();
        assert_eq!(read(&path).unwrap().expose_secret(), "5f1e-22");
        assert!(read(directory.path()).is_err());
    }
}
