//! Something made of PEM files that is made anew when they change, under whoever uses it.
//!
//! A look compares the files with what is in use by their content, so it does not matter who asks for
//! one, how often, or whether a notice of the change was lost. What can't be used is refused as a
//! whole, and what is in use stays.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use super::pem::{File, TlsError};
use super::{Certificate, now, shown};

/// What a [`Slot`] holds something of.
pub trait Source: Send + Sync {
    /// What is made.
    type Made: Send + Sync;

    /// The files, always in the same order.
    fn files(&self) -> Vec<File>;

    /// Makes it of the files' contents.
    ///
    /// # Errors
    /// What is wrong with them.
    fn make(&self, contents: &[Vec<u8>], now: i64) -> Result<Made<Self::Made>, TlsError>;
}

/// Something with the certificates that it is made of.
pub struct Made<T> {
    /// It.
    pub it: T,
    /// The certificates that it stands and falls with.
    pub certificates: Vec<Certificate>,
}

/// One generation of what a slot holds.
pub struct Loaded<S: Source> {
    source: S,
    made: Arc<Made<S::Made>>,
    fingerprint: Fingerprint,
}

/// SHA-256 of the files with their config keys.
type Fingerprint = [u8; 32];

/// Holds what is in use.
pub struct Slot<S: Source> {
    current: ArcSwap<Loaded<S>>,
    /// What was refused last, so that it is told once and not with each look.
    refused: Mutex<Option<TlsError>>,
}

/// What came of a look at the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// They are as they were.
    Same,
    /// What they hold is in use from now on.
    Replaced,
    /// They hold again what is in use, after something that was refused.
    Restored,
    /// They can't be used; what was in use stays.
    Refused(TlsError),
    /// The same, and it has been told.
    StillRefused(TlsError),
}

impl<S: Source> Loaded<S> {
    /// What was made.
    pub fn it(&self) -> &S::Made {
        &self.made.it
    }

    /// The certificates that it is made of.
    pub fn certificates(&self) -> &[Certificate] {
        &self.made.certificates
    }

    /// Differs where the files' contents do.
    pub fn mark(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.fingerprint;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl<S: Source> Slot<S> {
    /// Reads the files for the first time. One that has expired is better than none, and taken:
    /// [`findings()`](super::findings()) says it.
    ///
    /// # Errors
    /// They can't be used.
    pub fn load(source: S) -> Result<Self, TlsError> {
        let loaded = read(source, None, now())?;
        Ok(Self { current: ArcSwap::from_pointee(loaded), refused: Mutex::default() })
    }

    /// What is in use.
    pub fn get(&self) -> Arc<Loaded<S>> {
        self.current.load_full()
    }

    /// The files that it is made of.
    pub fn files(&self) -> Vec<File> {
        self.current.load().source.files()
    }

    /// A slot of its own, for the next generation of what this one is for.
    ///
    /// # Errors
    /// The files can't be used.
    pub fn successor(&self, source: S) -> Result<Self, TlsError> {
        let loaded = self.prepare(source)?;
        Ok(Self { current: ArcSwap::new(loaded), refused: Mutex::default() })
    }

    /// Reads the files of `source`, to be [`put`](Self::put) in use once all else is ready, too.
    ///
    /// # Errors
    /// They can't be used.
    pub fn prepare(&self, source: S) -> Result<Arc<Loaded<S>>, TlsError> {
        read(source, Some(&self.get()), now()).map(Arc::new)
    }

    /// Puts in use what was prepared.
    pub fn put(&self, loaded: Arc<Loaded<S>>) {
        self.current.store(loaded);
        *self.refused() = None;
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, Option<TlsError>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Source + Clone> Slot<S> {
    /// Looks at the files, and puts in use what they hold where that is something else. Blocks on the
    /// disk. One look at a time.
    pub fn refresh(&self) -> Refresh {
        self.refresh_at(now())
    }

    fn refresh_at(&self, now: i64) -> Refresh {
        let before = self.get();
        match read(before.source.clone(), Some(&before), now) {
            Ok(loaded) if loaded.fingerprint == before.fingerprint => {
                if self.refused().take().is_some() { Refresh::Restored } else { Refresh::Same }
            }
            Ok(loaded) => {
                self.put(Arc::new(loaded));
                Refresh::Replaced
            }
            Err(error) => {
                let mut refused = self.refused();
                if refused.as_ref() == Some(&error) {
                    return Refresh::StillRefused(error);
                }
                *refused = Some(error.clone());
                Refresh::Refused(error)
            }
        }
    }
}

/// What `source` makes of its files now, to be looked at.
///
/// # Errors
/// They can't be used.
pub(super) fn read_once<S: Source>(source: S, now: i64) -> Result<Arc<Made<S::Made>>, TlsError> {
    read(source, None, now).map(|loaded| loaded.made)
}

/// How often files that can't be used are read again because they changed meanwhile.
const TRIES: usize = 3;

fn read<S: Source>(source: S, before: Option<&Loaded<S>>, now: i64) -> Result<Loaded<S>, TlsError> {
    let files = source.files();
    let contents = || files.iter().map(File::read).collect::<Result<Vec<_>, _>>();
    let mut now_there = contents()?;
    let mut tries = 1;
    loop {
        let fingerprint = fingerprint(&files, &now_there);
        // What is in use is taken as it is: it may have expired meanwhile, and there is nothing better.
        if let Some(before) = before.filter(|before| before.fingerprint == fingerprint) {
            return Ok(Loaded { source, made: before.made.clone(), fingerprint });
        }
        let made = source.make(&now_there, now).and_then(|made| no_worse(made, before, now));
        let error = match made {
            Ok(made) => return Ok(Loaded { source, made: Arc::new(made), fingerprint }),
            Err(error) => error,
        };
        // A certificate of before and a key of after: they were read while they were replaced.
        let again = contents()?;
        if again == now_there || tries == TRIES {
            return Err(error);
        }
        now_there = again;
        tries += 1;
    }
}

/// Refuses certificates that are not good now where the ones in use are.
fn no_worse<S: Source>(
    made: Made<S::Made>,
    before: Option<&Loaded<S>>,
    now: i64,
) -> Result<Made<S::Made>, TlsError> {
    let in_use = before.map(Loaded::certificates).unwrap_or_default();
    for certificate in made.certificates.iter().filter(|one| !one.is_good_at(now)) {
        if in_use.iter().any(|one| one.kind == certificate.kind && one.is_good_at(now)) {
            return Err(certificate.file.wrong(&format!(
                "good from {} to {} only, and what is in use is good now",
                shown(certificate.not_before),
                shown(certificate.not_after)
            )));
        }
    }
    Ok(made)
}

fn fingerprint(files: &[File], contents: &[Vec<u8>]) -> Fingerprint {
    let mut hash = Sha256::new();
    for (file, content) in files.iter().zip(contents) {
        for part in [file.key.as_bytes(), content] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::super::Kind;
    use super::*;

    /// A file that says from when to when it is good, or is refused.
    #[derive(Clone)]
    struct Told {
        path: PathBuf,
        made: Arc<AtomicUsize>,
    }

    impl Source for Told {
        type Made = String;

        fn files(&self) -> Vec<File> {
            vec![File::new("k", &self.path)]
        }

        fn make(&self, contents: &[Vec<u8>], _now: i64) -> Result<Made<String>, TlsError> {
            self.made.fetch_add(1, Ordering::Relaxed);
            let (text, file) = (String::from_utf8_lossy(&contents[0]), &self.files()[0]);
            let (from, to) = text.split_once('-').ok_or_else(|| file.wrong(&"no dates"))?;
            let number = |text: &str| text.parse().map_err(|_| file.wrong(&"no number"));
            let certificate = Certificate {
                kind: Kind::Listener,
                file: file.clone(),
                serial: String::new(),
                not_before: number(from)?,
                not_after: number(to)?,
                chain_not_after: number(to)?,
            };
            Ok(Made { it: text.into_owned(), certificates: vec![certificate] })
        }
    }

    struct Fixture {
        _directory: tempfile::TempDir,
        path: PathBuf,
        made: Arc<AtomicUsize>,
        slot: Slot<Told>,
    }

    impl Fixture {
        fn with(text: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("f");
            std::fs::write(&path, text).unwrap();
            let made = Arc::default();
            let slot = Slot::load(Told { path: path.clone(), made: Arc::clone(&made) }).unwrap();
            Self { _directory: directory, path, made, slot }
        }

        fn put(&self, text: &str, now: i64) -> Refresh {
            std::fs::write(&self.path, text).unwrap();
            self.slot.refresh_at(now)
        }

        fn in_use(&self) -> String {
            self.slot.get().it().clone()
        }
    }

    #[test]
    fn a_look_takes_what_is_new_and_tells_once_what_is_wrong() {
        let it = Fixture::with("0-100");
        assert_eq!(it.slot.refresh_at(50), Refresh::Same);
        assert_eq!(it.made.load(Ordering::Relaxed), 1, "what is in use is not made again");
        assert_eq!(it.put("0-200", 50), Refresh::Replaced);
        let mark = it.slot.get().mark();
        assert!(matches!(it.put("junk", 50), Refresh::Refused(_)));
        assert!(matches!(it.put("junk", 50), Refresh::StillRefused(_)));
        assert!(matches!(it.put("1-x", 50), Refresh::Refused(_)), "another mistake is told");
        assert_eq!(it.in_use(), "0-200");
        assert_eq!(it.put("0-200", 50), Refresh::Restored);
        assert_eq!(it.put("0-200", 50), Refresh::Same);
        assert_eq!(it.slot.get().mark(), mark);
        std::fs::remove_file(&it.path).unwrap();
        assert!(matches!(it.slot.refresh_at(50), Refresh::Refused(_)), "no file");
        assert_eq!(it.in_use(), "0-200");
    }

    #[test]
    fn nothing_is_replaced_by_what_is_not_good_now_unless_that_is_no_worse() {
        let it = Fixture::with("0-100");
        assert!(matches!(it.put("0-49", 50), Refresh::Refused(_)), "expired");
        assert!(matches!(it.put("51-90", 50), Refresh::Refused(_)), "not good yet");
        assert_eq!(it.slot.refresh_at(51), Refresh::Replaced, "its time has come");
        // What is in use has expired: a reload of the same is none, and something else is no worse.
        assert_eq!(it.slot.refresh_at(91), Refresh::Same);
        assert!(it.slot.prepare(it.slot.get().source.clone()).is_ok());
        assert_eq!(it.put("0-90", 91), Refresh::Replaced);
    }

    proptest! {
        /// Whatever is written, and whenever it is looked at: what is in use was usable, and no look
        /// ends with something that is not good now instead of something that was.
        #[test]
        fn what_is_in_use_only_gets_better(
            writes in proptest::collection::vec(("([0-9]{1,2}-[0-9]{1,2}|junk)", 0..100_i64), 1..12),
        ) {
            let it = Fixture::with("0-99");
            for (text, now) in writes {
                let before = it.slot.get();
                let refresh = it.put(&text, now);
                let after = it.slot.get();
                let good = |loaded: &Loaded<Told>| loaded.certificates()[0].is_good_at(now);
                prop_assert!(!good(&before) || good(&after));
                prop_assert_eq!(refresh == Refresh::Replaced, before.it() != after.it());
                if refresh == Refresh::Replaced {
                    prop_assert_eq!(after.it(), &text);
                }
            }
        }
    }
}
