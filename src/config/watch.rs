//! Notices when the configuration file changes, or files and directories that belong to it.
//!
//! What is watched for a file is its directory: editors save by renaming, and Kubernetes swaps the
//! symlink `..data` beside the file, so that the file's own inode never changes. Whatever happens
//! there only leads to a look at the file's content; nothing is told unless that differs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest, Sha256};
use sluicegate_filters::price::litellm;
use tokio::sync::mpsc;

/// How long it must have been quiet before the file is looked at: a save is several events.
const QUIET: Duration = Duration::from_millis(100);
/// The longest that a directory which is never quiet can put that off.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to look where the system can't tell of changes.
const POLL: Duration = Duration::from_secs(5);
/// How often to look where it can: network file systems do not always.
const SAFETY_NET: Duration = Duration::from_secs(60);

/// Keeps watching until dropped.
pub struct Watcher {
    _system: Option<RecommendedWatcher>,
    // Dropping it ends the thread.
    _stop: Sender<Event>,
}

/// Watches the files at `paths`, and the policies in directories among them. The receiver gets one
/// message after each change of content, a burst of changes counting once; it says nothing of whether
/// the files are valid. A file need not exist yet. Works with or without a tokio runtime.
pub fn watch(paths: &[PathBuf]) -> (Watcher, mpsc::Receiver<()>) {
    let (changed, receiver) = mpsc::channel(1);
    let (events, stop) = channel();
    // The content is noted before the watch begins to be late for nothing in between.
    let content = Content::new(paths);
    let system = system_watcher(paths, &events);
    let interval = if system.is_some() { SAFETY_NET } else { POLL };
    let started = std::thread::Builder::new()
        .name("config-watch".to_owned())
        .spawn(move || run(content, &stop, &changed, interval));
    if let Err(error) = started {
        tracing::error!(%error, "the configuration file is not watched");
    }
    (Watcher { _system: system, _stop: events }, receiver)
}

enum Event {
    /// Something happened in the directory.
    Touched,
}

fn system_watcher(paths: &[PathBuf], events: &Sender<Event>) -> Option<RecommendedWatcher> {
    let events = events.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file, as this module itself does, is an event as well.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            let _ = events.send(Event::Touched);
        }
    });
    let directories: BTreeSet<_> = paths.iter().map(|path| directory(path)).collect();
    let watching = watcher.and_then(|mut watcher| {
        for directory in &directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watching
        .inspect_err(|error| {
            tracing::warn!(%error, ?directories, "looking for changes every {POLL:?} instead");
        })
        .ok()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        _ if path.is_dir() => path,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn run(
    mut content: Content,
    events: &Receiver<Event>,
    changed: &mpsc::Sender<()>,
    interval: Duration,
) {
    loop {
        match events.recv_timeout(interval) {
            Ok(Event::Touched) => {
                if settle(events).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if content.changed() {
            // A message that has not been taken yet tells of this change, too.
            if let Err(mpsc::error::TrySendError::Closed(())) = changed.try_send(()) {
                return;
            }
        }
    }
}

/// Waits until nothing has happened for a while.
fn settle(events: &Receiver<Event>) -> Result<(), Stopped> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match events.recv_timeout(QUIET) {
            Ok(Event::Touched) => {}
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
        }
    }
    Ok(())
}

struct Stopped;

/// What the files held when they were last looked at.
struct Content(Vec<(PathBuf, Option<[u8; 32]>)>);

impl Content {
    fn new(paths: &[PathBuf]) -> Self {
        Self(paths.iter().map(|path| (path.clone(), hash(path))).collect())
    }

    /// Whether one holds something else now. A file that is gone, as one is for a moment while it is
    /// replaced, has not changed.
    fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, before) in &mut self.0 {
            let now = hash(path);
            if now.is_some() && now != *before {
                *before = now;
                changed = true;
            }
        }
        changed
    }
}

/// SHA-256 of the file, as far as what is watched may be long; of a directory, what its policies are.
fn hash(path: &Path) -> Option<[u8; 32]> {
    use std::io::Read as _;

    if path.is_dir() {
        return crate::policies::fingerprint(path);
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    // A file of prices is the longest of what is watched.
    let longest = super::node::MAX_BYTES.max(litellm::MAX_BYTES) as u64;
    file.take(longest + 1).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(&bytes).into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Far longer than any change takes; only a failing test waits for it.
    const LONG: Duration = Duration::from_secs(30);

    async fn next(changes: &mut mpsc::Receiver<()>) {
        tokio::time::timeout(LONG, changes.recv()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_save_in_place_and_one_by_renaming_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.yaml");
        fs::write(&path, "a: 1").unwrap();
        let (_watcher, mut changes) = watch(std::slice::from_ref(&path));
        fs::write(&path, "a: 2").unwrap();
        next(&mut changes).await;
        fs::write(directory.path().join("new"), "a: 3").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        next(&mut changes).await;
    }

    #[tokio::test]
    async fn a_directory_s_files_are_seen_to_come_change_and_go() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("z.cedar"), "forbid").unwrap();
        let (_watcher, mut changes) = watch(&[directory.path().to_owned()]);
        let path = directory.path().join("a.cedar");
        fs::write(&path, "permit").unwrap();
        next(&mut changes).await;
        fs::write(&path, "forbid").unwrap();
        next(&mut changes).await;
        fs::rename(&path, directory.path().join("b.cedar")).unwrap();
        next(&mut changes).await;
        fs::remove_file(directory.path().join("b.cedar")).unwrap();
        next(&mut changes).await;
    }

    #[tokio::test]
    async fn a_swap_of_the_data_symlink_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (version, text) in [("v1", "a: 1"), ("v2", "a: 2")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("c.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("v1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/c.yaml", at("c.yaml")).unwrap();
        let (_watcher, mut changes) = watch(&[at("c.yaml")]);
        std::os::unix::fs::symlink("v2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        next(&mut changes).await;
    }

    #[tokio::test]
    async fn each_of_several_files_is_watched_wherever_it_is() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = [one.path().join("a"), one.path().join("b"), other.path().join("c")];
        for path in &paths {
            fs::write(path, "1").unwrap();
        }
        let (_watcher, mut changes) = watch(&paths);
        for path in &paths {
            fs::write(path, "2").unwrap();
            next(&mut changes).await;
        }
    }

    #[test]
    fn only_other_content_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.yaml");
        let mut content = Content::new(std::slice::from_ref(&path));
        assert!(!content.changed());
        fs::write(&path, "a: 1").unwrap();
        assert!(content.changed());
        assert!(!content.changed());
        fs::write(&path, "a: 1").unwrap();
        assert!(!content.changed());
        fs::remove_file(&path).unwrap();
        assert!(!content.changed());
        fs::write(&path, "a: 1").unwrap();
        assert!(!content.changed());
    }

    #[tokio::test]
    async fn where_the_system_tells_nothing_the_file_is_polled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.yaml");
        fs::write(&path, "a: 1").unwrap();
        let content = Content::new(std::slice::from_ref(&path));
        let (changed, mut changes) = mpsc::channel(1);
        let (events, stop) = channel();
        let thread =
            std::thread::spawn(move || run(content, &stop, &changed, Duration::from_millis(1)));
        fs::write(&path, "a: 2").unwrap();
        next(&mut changes).await;
        drop(events);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn a_dropped_watcher_ends_its_thread() {
        let directory = tempfile::tempdir().unwrap();
        let (watcher, mut changes) = watch(&[directory.path().join("c.yaml")]);
        drop(watcher);
        let end = tokio::time::timeout(LONG, changes.recv()).await.unwrap();
        assert_eq!(end, None);
    }
}
