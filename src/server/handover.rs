//! Listening sockets go from one process to the next over a Unix socket that the next one listens on.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// How long the next process looks for its own socket: it listens within milliseconds, or not at all.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Whether a process waits at `socket`. A file that one has left behind is nobody's.
pub fn somebody_waits(socket: &Path) -> bool {
    // A connection would be taken for the hand-over itself. One of another type than the listener's is
    // refused as such where there is one, and as a connection where there is none (unix(7)).
    let refused = UnixDatagram::unbound().and_then(|probe| probe.connect(socket));
    refused.is_err_and(|error| error.raw_os_error() == Some(Errno::EPROTOTYPE as i32))
}

/// Asks the process `from` for its sockets, as soon as they can be taken at `socket`.
///
/// # Errors
/// There is no such process, or it is none of ours.
pub fn ask(io: &Runtime, from: Pid, socket: PathBuf) -> std::io::Result<()> {
    // Not only once all is ready for it.
    kill(from, None)?;
    io.spawn(async move {
        let begun = Instant::now();
        while !somebody_waits(&socket) {
            if begun.elapsed() > PATIENCE {
                tracing::error!(socket = %socket.display(), "sockets can't be taken there");
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        match kill(from, Signal::SIGQUIT) {
            Ok(()) => {
                tracing::info!(pid = from.as_raw(), "asked the process before for its sockets")
            }
            Err(error) => tracing::error!(pid = from.as_raw(), %error, "SIGQUIT was not sent"),
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_file_that_was_left_behind_is_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("upgrade.sock");
        assert!(!somebody_waits(&path), "no file");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(somebody_waits(&path));
        assert!(listener.accept().is_err(), "the look is no connection");
        drop(listener);
        assert!(path.exists() && !somebody_waits(&path), "left behind");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(!somebody_waits(&path), "no socket");
    }
}
