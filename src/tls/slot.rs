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
    /// Reads the files for the first time. One that has expired is better than none: it is said and
    /// taken.
    ///
    /// # Errors
    /// They can't be used.
    pub fn load(source: S) -> Result<Self, TlsError> {
        let now = now();
        let loaded = read(source, None, now)?;
        for certificate in loaded.certificates().iter().filter(|one| !one.is_good_at(now)) {
            tracing::warn!(
                kind = certificate.kind.as_str(),
                path = %certificate.file.path.display(),
                not_before = %shown(certificate.not_before),
                not_after = %shown(certificate.not_after),
                "a certificate that is not good now"
            );
        }
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
