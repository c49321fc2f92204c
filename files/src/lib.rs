//! Files whose content may change: read within bounds, and what is made of them stays in use while they
//! can't be.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _};
use std::path::Path;

mod current;

pub use current::{Current, Look};

/// Several times what all public authorities take; a longer file is a wrong one.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// The content of the file at `path`. Blocks on the disk.
///
/// # Errors
/// It can't be read, or is far too long.
pub fn read_pem(path: &Path) -> Result<Vec<u8>, Error> {
    let mut pem = Vec::new();
    // One byte more than allowed tells that there is more.
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut pem)?;
    if pem.len() as u64 > MAX_BYTES {
        return Err(Error::new(ErrorKind::FileTooLarge, "the file is too long to be this"));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        assert_eq!(read_pem(&path).unwrap_err().kind(), ErrorKind::NotFound);
        let longest = vec![b'x'; usize::try_from(MAX_BYTES).unwrap()];
        std::fs::write(&path, &longest).unwrap();
        assert!(read_pem(&path).unwrap() == longest);
        std::fs::write(&path, [&longest[..], b"x"].concat()).unwrap();
        assert_eq!(read_pem(&path).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}
