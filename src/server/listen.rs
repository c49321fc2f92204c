//! Sockets to listen on.

use std::fs::DirBuilder;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::ServeError;

const BACKLOG: i32 = 1024;

/// Listens on an address that a second process of ours may listen on too: during an upgrade the old
/// process and the new one both answer here.
pub fn shared(
    io: &tokio::runtime::Runtime,
    key: &'static str,
    address: SocketAddr,
) -> Result<tokio::net::TcpListener, ServeError> {
    let _inside = io.enter();
    let listen = || {
        let socket = bound(address)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(TcpListener::from(socket))
    };
    listen().map_err(|source| ServeError::Listen { key, address, source })
}

/// An address that is ours, though Pingora is the one to listen on it.
///
/// Pingora panics where it can't listen, and does not tell which port the system chose for port 0.
/// So the address is bound here first and given up once Pingora accepts on it. A bound socket that
/// does not listen gets no connections.
pub struct Reserved {
    _socket: Socket,
    address: SocketAddr,
}

impl Reserved {
    /// With the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Reserves `address`.
pub fn reserve(key: &'static str, address: SocketAddr) -> Result<Reserved, ServeError> {
    let reserve = || {
        let socket = bound(address)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Reserved { _socket: socket, address })
    };
    reserve().map_err(|source| ServeError::Listen { key, address, source })
}

fn bound(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Returns when `address` accepts connections.
pub async fn until_accepting(address: SocketAddr) {
    let mut to = address;
    if to.ip().is_unspecified() {
        to.set_ip(match to {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    while tokio::net::TcpStream::connect(to).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes the directory of the hand-over socket for us alone: whoever can connect there gets, or
/// gives, our listening sockets.
pub fn prepare_socket_directory(socket: &Path) -> Result<(), ServeError> {
    let directory = socket.parent().unwrap_or(Path::new("."));
    let refused =
        |message: String| ServeError::UpgradeSocket { path: directory.to_owned(), message };
    if !directory.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| refused(error.to_string()))?;
    }
    let metadata = directory.symlink_metadata().map_err(|error| refused(error.to_string()))?;
    let me = std::fs::metadata("/proc/self").map_err(|error| refused(error.to_string()))?.uid();
    if !metadata.is_dir() || metadata.uid() != me || metadata.mode() & 0o077 != 0 {
        return Err(refused(
            "the upgrade socket's directory must be ours and closed to others; \
             chmod 700 it, or choose another with --upgrade-socket"
                .to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_reserved_port_is_known_and_can_be_listened_on() {
        let reserved = reserve("x", SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert_ne!(reserved.address().port(), 0);
        let socket = bound(reserved.address()).unwrap();
        socket.listen(1).unwrap();
    }

    #[test]
    fn an_open_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(prepare_socket_directory(&open.join("upgrade.sock")).is_err());
        let made = directory.path().join("a/b");
        prepare_socket_directory(&made.join("upgrade.sock")).unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o777, 0o700);
    }
}
