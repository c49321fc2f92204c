//! Holds a plain answer back until its body has told what the answer costs, so that the head can say so,
//! and how long it is.
//!
//! The head and the pieces of the body wait as they are, without a copy, and leave together: one write
//! where there would have been several. What is too long to wait is let go without the header, in order.
//! Until anything has left, a provider that breaks off can be answered with a clean error, or with another
//! attempt.

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_core::Error;
use pingora_core::protocols::http::HttpTask;

use super::cost::COST;

/// The most bytes of a body that wait.
pub const MOST: usize = 256 * 1024;

/// What is to become of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// It passes as it comes.
    #[default]
    Pass,
    /// It waits.
    Wait,
    /// It leaves, with its cost where that is known.
    Leave(Option<HeaderValue>),
}

/// What becomes of what has come.
pub enum Taken {
    /// It is to be written now.
    Write(Vec<HttpTask>),
    /// It waits.
    Waits,
    /// The provider broke off before anything was written.
    Broke(Box<Error>),
}

/// What waits of an answer.
#[derive(Default)]
pub struct Gathered {
    tasks: Vec<HttpTask>,
    bytes: usize,
}

impl Gathered {
    /// Takes what has come, and does with it as `wish` says.
    pub fn take(&mut self, batch: Vec<HttpTask>, wish: &mut Wish) -> Taken {
        if *wish == Wish::Pass && self.tasks.is_empty() {
            return Taken::Write(batch);
        }
        let (mut ends, mut fails) = (false, false);
        for task in batch {
            match task {
                HttpTask::Failed(error) if *wish == Wish::Wait => {
                    self.forget();
                    *wish = Wish::Pass;
                    return Taken::Broke(error);
                }
                // What waited was another attempt's.
                HttpTask::Header(..) => self.forget(),
                _ => {}
            }
            ends |= task.is_end();
            fails |= matches!(task, HttpTask::Failed(_));
            self.bytes += body(&task).map_or(0, Bytes::len);
            self.tasks.push(task);
        }
        if *wish == Wish::Wait && !ends && self.bytes <= MOST {
            return Taken::Waits;
        }
        if let Wish::Leave(Some(cost)) = std::mem::take(wish)
            && let Some(HttpTask::Header(head, _)) = self.tasks.first_mut()
            && head.insert_header(COST, cost).is_err()
        {
            tracing::warn!("the answer's cost is no header");
        }
        if ends && !fails {
            self.tell_length();
        }
        Taken::Write(self.rest())
    }

    /// Says in the head how long the body is, where all of both waits: a translated one has lost its length, and
    /// without it an answer would be sent in chunks to HTTP/1.1, and end with its connection to HTTP/1.0.
    fn tell_length(&mut self) {
        if let Some(HttpTask::Header(head, false)) = self.tasks.first_mut()
            && !head.headers.contains_key(CONTENT_LENGTH)
            && head.insert_header(CONTENT_LENGTH, self.bytes).is_ok()
        {
            head.remove_header(&TRANSFER_ENCODING);
        }
    }

    /// All that waits.
    pub fn rest(&mut self) -> Vec<HttpTask> {
        self.bytes = 0;
        std::mem::take(&mut self.tasks)
    }

    fn forget(&mut self) {
        self.bytes = 0;
        self.tasks.clear();
    }
}

fn body(task: &HttpTask) -> Option<&Bytes> {
    match task {
        HttpTask::Body(piece, _) | HttpTask::UpgradedBody(piece, _) => piece.as_ref(),
        HttpTask::Header(..) | HttpTask::Trailer(_) | HttpTask::Done | HttpTask::Failed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use pingora_core::ErrorType;
    use pingora_http::ResponseHeader;
    use proptest::prelude::*;

    use super::*;

    fn head() -> HttpTask {
        HttpTask::Header(Box::new(ResponseHeader::build(200, None).unwrap()), false)
    }

    fn piece(bytes: usize, end: bool) -> HttpTask {
        HttpTask::Body(Some(Bytes::from(vec![b'x'; bytes])), end)
    }

    fn written(taken: Taken) -> Option<Vec<HttpTask>> {
        match taken {
            Taken::Write(tasks) => Some(tasks),
            Taken::Waits | Taken::Broke(_) => None,
        }
    }

    fn cost_of(tasks: &[HttpTask]) -> Option<&str> {
        match tasks.first()? {
            HttpTask::Header(head, _) => head.headers.get(COST)?.to_str().ok(),
            _ => None,
        }
    }

    #[test]
    fn an_answer_leaves_whole_with_its_cost() {
        let (mut gathered, mut wish) = (Gathered::default(), Wish::Wait);
        assert!(written(gathered.take(vec![head()], &mut wish)).is_none());
        assert!(written(gathered.take(vec![piece(5, false)], &mut wish)).is_none());
        wish = Wish::Leave(Some(HeaderValue::from_static("0.1")));
        let tasks = written(gathered.take(vec![piece(7, true)], &mut wish)).unwrap();
        assert_eq!((tasks.len(), cost_of(&tasks)), (3, Some("0.1")));
        assert_eq!(wish, Wish::Pass);
        let rest = written(gathered.take(vec![HttpTask::Done], &mut wish)).unwrap();
        assert_eq!(rest.len(), 1, "what follows passes");
    }

    #[test]
    fn the_length_of_what_is_whole_is_told() {
        let chunked = || {
            let mut head = ResponseHeader::build(200, None).unwrap();
            head.insert_header(TRANSFER_ENCODING, "chunked").unwrap();
            HttpTask::Header(Box::new(head), false)
        };
        let told = |tasks: &[HttpTask]| {
            let Some(HttpTask::Header(head, _)) = tasks.first() else { return None };
            let length = head.headers.get(CONTENT_LENGTH)?.to_str().unwrap().to_owned();
            assert!(!head.headers.contains_key(TRANSFER_ENCODING));
            Some(length)
        };
        let failed = || HttpTask::Failed(Error::new(ErrorType::ReadError));
        for (rest, expected) in [
            (vec![piece(7, true)], Some("12")),
            (vec![piece(7, false), HttpTask::Done], Some("12")),
            (vec![piece(7, false)], None),
            (vec![piece(7, false), failed()], None),
        ] {
            let (mut gathered, mut wish) = (Gathered::default(), Wish::Wait);
            assert!(written(gathered.take(vec![chunked()], &mut wish)).is_none());
            assert!(written(gathered.take(vec![piece(5, false)], &mut wish)).is_none());
            wish = Wish::Leave(None);
            let tasks = written(gathered.take(rest, &mut wish)).unwrap();
            assert_eq!(told(&tasks).as_deref(), expected);
        }
    }

    #[test]
    fn an_end_without_a_word_lets_go() {
        for end in [piece(0, true), HttpTask::Done, HttpTask::Trailer(None)] {
            let (mut gathered, mut wish) = (Gathered::default(), Wish::Wait);
            let tasks = written(gathered.take(vec![head(), end], &mut wish)).unwrap();
            assert_eq!((tasks.len(), cost_of(&tasks)), (2, None));
        }
    }

    #[test]
    fn what_breaks_while_it_waits_is_never_seen() {
        let (mut gathered, mut wish) = (Gathered::default(), Wish::Wait);
        assert!(written(gathered.take(vec![head(), piece(5, false)], &mut wish)).is_none());
        let broken = HttpTask::Failed(Error::new(ErrorType::ReadError));
        assert!(matches!(gathered.take(vec![piece(1, false), broken], &mut wish), Taken::Broke(_)));
        assert!(gathered.rest().is_empty());
        // Another attempt begins anew, also where the one before was left without a word.
        wish = Wish::Wait;
        assert!(written(gathered.take(vec![head(), piece(9, false)], &mut wish)).is_none());
        wish = Wish::Leave(None);
        let tasks = written(gathered.take(vec![head(), piece(3, true)], &mut wish)).unwrap();
        assert_eq!(tasks.len(), 2);
    }

    #[test]
    fn an_error_behind_what_may_leave_comes_after_it() {
        let (mut gathered, mut wish) = (Gathered::default(), Wish::Wait);
        assert!(written(gathered.take(vec![head()], &mut wish)).is_none());
        wish = Wish::Leave(None);
        let broken = HttpTask::Failed(Error::new(ErrorType::ReadError));
        let tasks = written(gathered.take(vec![piece(5, false), broken], &mut wish)).unwrap();
        assert!(matches!(tasks.as_slice(), [_, _, HttpTask::Failed(_)]));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered_and_little_waits(
            sizes in proptest::collection::vec(prop_oneof![0_usize..50, 0_usize..200_000], 1..12),
            known_at in proptest::option::of(0_usize..12),
        ) {
            let (mut gathered, mut wish) = (Gathered::default(), Wish::Wait);
            let mut out = Vec::new();
            out.extend(written(gathered.take(vec![head()], &mut wish)).into_iter().flatten());
            for (index, size) in sizes.iter().enumerate() {
                if known_at == Some(index) {
                    wish = Wish::Leave(None);
                }
                let task = piece(*size, index + 1 == sizes.len());
                out.extend(written(gathered.take(vec![task], &mut wish)).into_iter().flatten());
                prop_assert!(gathered.bytes <= MOST);
            }
            prop_assert!(matches!(out.first(), Some(HttpTask::Header(..))));
            let came: Vec<_> = out.iter().filter_map(body).map(Bytes::len).collect();
            prop_assert_eq!(came, sizes);
            prop_assert!(gathered.rest().is_empty());
        }
    }
}
