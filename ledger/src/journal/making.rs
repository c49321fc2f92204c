//! Directories of journals that are being made, and those whose maker is gone.
//!
//! A directory is made under a name that everybody passes over, and gets its own once it is locked. Who does
//! that holds the directory above, shared; who looks for what others have left half-made holds it alone. So
//! whatever has such a name then has a maker that is gone, or one that holds its lock: none can be between
//! the two.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

use super::{LOCK, take_over};

/// What the names of directories begin with that are being made.
pub const HIDDEN: &str = ".new-";

/// Makes a directory that is locked from the moment at which others can see it: without a lock, they would
/// take it for one of a process that is gone.
///
/// # Errors
/// Where the disk says no, or it is there already.
pub fn make_locked(directory: &Path) -> io::Result<Flock<File>> {
    use std::os::unix::fs::DirBuilderExt;
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let hidden = directory.with_file_name(format!("{HIDDEN}{name}"));
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    let _making = match directory.parent() {
        Some(parent) => {
            builder.create(parent)?;
            hold(parent, FlockArg::LockShared)
        }
        None => None,
    };
    builder.create(&hidden)?;
    let file = File::options().create(true).append(true).open(hidden.join(LOCK))?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| io::Error::from(errno))?;
    std::fs::rename(&hidden, directory)?;
    Ok(lock)
}

/// Removes what makers that are gone have left in `parent`, and says how much. While somebody else makes a
/// directory, or looks as well, nothing is removed: there is another time.
///
/// # Errors
/// Where the disk says no.
pub fn remove_unfinished(parent: &Path) -> io::Result<usize> {
    if unfinished(parent)?.is_empty() {
        return Ok(0);
    }
    let Some(_alone) = hold(parent, FlockArg::LockExclusiveNonblock) else { return Ok(0) };
    let mut removed = 0;
    for directory in unfinished(parent)? {
        match remove(&directory) {
            Ok(gone) => removed += usize::from(gone),
            // An earlier version's maker, who does not hold the directory above, has just ended its work.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// Where they are. Other names that are passed over are somebody else's: a restored backup's, for one.
fn unfinished(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(parent)?.collect::<io::Result<Vec<_>>>()?;
    let is_unfinished = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let instance = name.and_then(|name| name.strip_prefix(HIDDEN));
        instance.is_some_and(|instance| Uuid::try_parse(instance).is_ok())
    };
    Ok(entries.into_iter().map(|entry| entry.path()).filter(is_unfinished).collect())
}

/// Removes one, if its maker is gone. Of a maker there is a lock in it, and never more.
fn remove(directory: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(directory)? {
        if entry?.file_name() != LOCK {
            return Ok(false);
        }
    }
    let lock = directory.join(LOCK);
    if lock.try_exists()? {
        let Some(_gone) = take_over(directory)? else { return Ok(false) };
        std::fs::remove_file(lock)?;
    }
    std::fs::remove_dir(directory)?;
    Ok(true)
}

/// Locks a directory. `None`: somebody else has it, or the file system locks none, where nothing that is
/// half-made is ever removed.
fn hold(directory: &Path, how: FlockArg) -> Option<Flock<File>> {
    let mut file = File::open(directory).ok()?;
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Some(lock),
            Err((again, Errno::EINTR)) => file = again,
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198c7a2-0000-7000-8000-000000000000";

    fn hidden(parent: &Path, name: &str) -> PathBuf {
        let path = parent.join(format!("{HIDDEN}{name}"));
        std::fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn what_a_maker_that_is_gone_has_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        hidden(parent.path(), ID);
        assert_eq!(remove_unfinished(parent.path()).unwrap(), 1);
        let locked = hidden(parent.path(), ID);
        std::fs::write(locked.join(LOCK), "").unwrap();
        assert_eq!(remove_unfinished(parent.path()).unwrap(), 1);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        assert_eq!(remove_unfinished(parent.path()).unwrap(), 0);
    }

    #[test]
    fn what_a_living_maker_holds_stays() {
        let parent = tempfile::tempdir().unwrap();
        let directory = hidden(parent.path(), ID);
        // As one does that has made it, but not yet its lock.
        let making = hold(parent.path(), FlockArg::LockShared).unwrap();
        assert_eq!(remove_unfinished(parent.path()).unwrap(), 0);
        drop(making);
        // As one of a version does that knows no more than the lock within.
        let file = File::create(directory.join(LOCK)).unwrap();
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        assert_eq!(remove_unfinished(parent.path()).unwrap(), 0);
        assert!(directory.join(LOCK).exists());
        drop(lock);
        assert_eq!(remove_unfinished(parent.path()).unwrap(), 1);
    }

    #[test]
    fn what_no_maker_leaves_stays() {
        let parent = tempfile::tempdir().unwrap();
        let restored = hidden(parent.path(), &format!("restore-{ID}"));
        std::fs::write(restored.join(LOCK), "").unwrap();
        let filled = hidden(parent.path(), ID);
        std::fs::write(filled.join(LOCK), "").unwrap();
        std::fs::write(filled.join("0000000000000001.segment"), "rows").unwrap();
        assert_eq!(remove_unfinished(parent.path()).unwrap(), 0);
        assert!(restored.join(LOCK).exists() && filled.join(LOCK).exists());
    }

    #[test]
    fn makers_and_who_looks_do_not_disturb_each_other() {
        let parent = tempfile::tempdir().unwrap();
        let made = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| {
                let mut removed = 0;
                while !made.load(std::sync::atomic::Ordering::Relaxed) {
                    removed += remove_unfinished(parent.path()).unwrap();
                }
                removed
            });
            let makers: Vec<_> = (0..4_u128)
                .map(|maker| {
                    let parent = parent.path();
                    scope.spawn(move || {
                        let name = |number| Uuid::from_u128(maker << 64 | number).to_string();
                        let make = |number| make_locked(&parent.join(name(number))).unwrap();
                        (0..100).map(make).collect::<Vec<_>>()
                    })
                })
                .collect();
            let locks: Vec<_> = makers.into_iter().map(|maker| maker.join().unwrap()).collect();
            made.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(looks.join().unwrap(), 0, "all makers lived");
            assert_eq!(locks.iter().map(Vec::len).sum::<usize>(), 400);
        });
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 400);
    }
}
