//! What there is to say of the certificates that a configuration names, before it is served.
//!
//! What can't be used is an error. A certificate that is not good now is a warning, in production too:
//! the process serves it all the same, since some clients may still take it and none can take nothing.

use std::time::Duration;

use super::slot::{self, Made};
use super::{Certificate, File, Kind, Source, TlsError, pem, shown};
use crate::config::Problem;
use crate::config::named::{Named, PemFiles};

/// An end that is nearer than this is said. Renewal is due long before.
const SOON: Duration = Duration::from_hours(14 * 24);

const RENEW: &str = "renew it; a new file is taken up without a restart";

/// What is wrong with files of certificates, each at the place of the key that names it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What keeps them from being used.
    pub errors: Vec<Problem>,
    /// What should be better.
    pub warnings: Vec<Problem>,
}

/// Looks at all of `files`. Blocks on the disk.
pub fn findings(files: &[PemFiles], now: i64) -> Findings {
    let mut findings = Findings::default();
    for files in files {
        let made = slot::read_once(PemSource(files), now);
        let named = PemSource(files).named();
        match made {
            Err(error) => {
                let named = error.key().parse().ok().and_then(|index: usize| named.get(index));
                let problem = named.map(|named| named.problem(error.message(), None));
                findings.errors.extend(problem);
            }
            Ok(made) => {
                let all = &made.certificates;
                let said = match files {
                    PemFiles::Pair { .. } => of_chain(all, now),
                    PemFiles::Authorities(_) => of_authorities(all, now),
                };
                // The certificate of a pair stands first.
                if let (Some(said), Some(named)) = (said, named.first()) {
                    findings.warnings.push(named.problem(&said, Some(RENEW)));
                }
            }
        }
    }
    findings
}

/// Files that are only read to see whether they could be used.
struct PemSource<'f>(&'f PemFiles);

impl<'f> PemSource<'f> {
    fn named(&self) -> Vec<&'f Named> {
        match self.0 {
            PemFiles::Pair { certificate, key } => vec![certificate, key],
            PemFiles::Authorities(named) => vec![named],
        }
    }
}

impl Source for PemSource<'_> {
    type Made = ();

    /// Each under its number: one key may name several files, and they may be one.
    fn files(&self) -> Vec<File> {
        let named = self.named().into_iter().enumerate();
        named.map(|(index, named)| File::new(index.to_string(), &named.path)).collect()
    }

    fn make(&self, contents: &[Vec<u8>], now: i64) -> Result<Made<()>, TlsError> {
        let files = self.files();
        let certificates = match (files.as_slice(), contents) {
            ([certificate, key], [first, second]) => {
                let pair = pem::pair(Kind::Listener, (certificate, first), (key, second))?;
                pem::describe_all(Kind::Listener, certificate, &pair.chain)?
            }
            ([file], [content]) => {
                let authorities = pem::authorities(Kind::Ca, file, content, now)?;
                pem::describe_all(Kind::Ca, file, &authorities.certificates)?
            }
            _ => Vec::new(),
        };
        Ok(Made { it: (), certificates })
    }
}

/// Of a certificate and of who signed it: the one that is worst off counts.
fn of_chain(chain: &[Certificate], now: i64) -> Option<String> {
    let which = |at: usize| if at == 0 { "a certificate" } else { "one in the chain" };
    let with = |says: fn(&Certificate, i64) -> Option<String>| {
        let mut all = chain.iter().enumerate();
        all.find_map(|(at, one)| says(one, now).map(|said| format!("{} {said}", which(at))))
    };
    with(is_over).or_else(|| with(is_early)).or_else(|| with(is_over_soon))
}

/// Of authorities: files of many keep some that are over, so that what counts is the best of them.
fn of_authorities(all: &[Certificate], now: i64) -> Option<String> {
    let last = all.iter().filter(|one| one.is_good_at(now)).max_by_key(|one| one.not_after);
    match (last, all) {
        (Some(last), [_]) => is_over_soon(last, now).map(|said| format!("an authority {said}")),
        (Some(last), _) => {
            is_over_soon(last, now).map(|said| format!("authorities, the last of them one {said}"))
        }
        (None, [one]) => {
            let said = is_over(one, now).or_else(|| is_early(one, now));
            said.map(|said| format!("an authority {said}"))
        }
        (None, _) => Some("no authority that is good now".to_owned()),
    }
}

fn is_over(one: &Certificate, now: i64) -> Option<String> {
    (one.not_after < now).then(|| format!("that expired at {}", shown(one.not_after)))
}

fn is_early(one: &Certificate, now: i64) -> Option<String> {
    (one.not_before > now).then(|| format!("that is not good before {}", shown(one.not_before)))
}

fn is_over_soon(one: &Certificate, now: i64) -> Option<String> {
    let left = u64::try_from(one.not_after.saturating_sub(now)).map(Duration::from_secs);
    let left = left.ok().filter(|left| *left < SOON)?;
    let days = left.as_secs() / (24 * 60 * 60);
    let within = match days {
        0 => "within a day".to_owned(),
        1 => "in a day".to_owned(),
        days => format!("in {days} days"),
    };
    Some(format!("that expires {within}, at {}", shown(one.not_after)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    fn good(not_before: i64, not_after: i64) -> Certificate {
        let file = File::new("a.key", Path::new("/a.pem"));
        let (kind, serial) = (Kind::Ca, "01".into());
        Certificate { kind, file, serial, not_before, not_after, chain_not_after: not_after }
    }

    #[test]
    fn of_a_chain_the_worst_counts() {
        let now = 100 * DAY;
        let (fine, soon) = (good(0, 200 * DAY), good(0, now + 3 * DAY));
        let (over, early) = (good(0, now - 1), good(now + 1, 200 * DAY));
        for (chain, expected) in [
            (vec![&fine, &fine], None),
            (vec![&fine, &soon], Some("one in the chain that expires in 3 days, at ")),
            (vec![&soon, &over], Some("one in the chain that expired at ")),
            (vec![&over, &soon], Some("a certificate that expired at ")),
            (vec![&early, &soon], Some("a certificate that is not good before ")),
        ] {
            let chain: Vec<_> = chain.into_iter().cloned().collect();
            let said = of_chain(&chain, now);
            match expected {
                None => assert_eq!(said, None),
                Some(expected) => assert!(said.as_ref().unwrap().starts_with(expected), "{said:?}"),
            }
        }
    }

    #[test]
    fn of_authorities_the_best_counts() {
        let now = 100 * DAY;
        let (fine, soon) = (good(0, 200 * DAY), good(0, now + 13 * DAY));
        let over = good(0, now - 1);
        let said = |all: &[&Certificate]| {
            of_authorities(&all.iter().copied().cloned().collect::<Vec<_>>(), now)
        };
        assert_eq!(said(&[&over, &fine, &soon]), None);
        assert!(
            said(&[&over, &soon]).unwrap().contains("the last of them one that expires in 13 days")
        );
        assert!(said(&[&over]).unwrap().contains("that expired at"));
        assert_eq!(said(&[&over, &over]).unwrap(), "no authority that is good now");
    }

    proptest! {
        #[test]
        fn nothing_is_said_of_what_is_good_for_long(
            from in 0..50_i64, to in 50..100_i64, now in 0..120_i64,
        ) {
            let one = good(from * DAY, to * DAY);
            let now = now * DAY;
            let fine = one.is_good_at(now) && one.not_after - now >= 14 * DAY;
            prop_assert_eq!(of_chain(std::slice::from_ref(&one), now).is_none(), fine);
            prop_assert_eq!(of_authorities(std::slice::from_ref(&one), now).is_none(), fine);
        }
    }
}
