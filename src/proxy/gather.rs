//! Holds a plain answer back until its body has told what the answer costs, so that the head can say so,
//! and how long it is, and for a translated error what its status is.
//!
//! The head and the pieces of the body wait as they are, without a copy, and leave together: one write
//! where there would have been several. What is too long to wait is let go without the header, in order.
//! Until anything has left, a provider that breaks off can be answered with a clean error, or with another
//! attempt.
//!
//! It is also the one place that sees an answer end with its head: no filter of bodies is asked about a body
//! that does not come.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};
use pingora_core::protocols::http::HttpTask;
use pingora_core::{Error, ErrorType};
use pingora_http::ResponseHeader;

use super::cost::COST;

/// The most bytes of a body that wait.
pub const MOST: usize = 256 * 1024;

/// A good answer that ended with its head.
pub const NO_BODY: ErrorType = ErrorType::Custom("no_body");

/// What is to become of an answer.
#[derive(Debug, Default)]
pub enum Wish {
    /// It passes as it comes.
    #[default]
    Pass,
    /// It waits.
    Wait,
    /// It leaves.
    Leave(Known),
    /// It is broken, as its last trailers have shown. Pingora goes on after an error about trailers, so that
    /// it is told here.
    Break(Box<Error>),
}

impl Wish {
    fn take_error(&mut self) -> Option<Box<Error>> {
        match std::mem::take(self) {
            Self::Break(error) => Some(error),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// What was only known when the body was there.
#[derive(Debug, Default)]
pub struct Known {
    /// What the answer costs.
    pub cost: Option<HeaderValue>,
    /// The status of an error, where it is another than the provider's.
    pub status: Option<StatusCode>,
}

/// What an answer is that ends with its head.
#[derive(Debug, Default)]
pub enum Bodiless {
    /// An answer as it is.
    #[default]
    Passes,
    /// None: all that is asked for here has a body.
    Broken,
    /// An error without a word. This stands in for it.
    StandIn(StatusCode, Bytes),
}

/// All that is known beforehand.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is to become of it.
    pub wish: Wish,
    /// What it is, should it end with its head.
    pub bodiless: Bodiless,
    /// Whether it is a stream, whose end is ours to write.
    pub streams: bool,
}

impl Plan {
    /// Whether the answer waits.
    pub fn waits(&self) -> bool {
        matches!(self.wish, Wish::Wait)
    }
}

/// What becomes of what has come.
pub enum Taken {
    /// It is to be written now.
    Write(Vec<HttpTask>),
    /// It waits.
    Waits,
    /// The provider broke off before anything was written, or has sent what must not pass.
    Broke(Box<Error>),
}

/// What waits of an answer.
#[derive(Default)]
pub struct Gathered {
    tasks: Vec<HttpTask>,
    bytes: usize,
}

impl Gathered {
    /// Takes what has come, and does with it as `plan` says.
    pub fn take(&mut self, mut batch: Vec<HttpTask>, plan: &mut Plan) -> Taken {
        if let Some(at) = batch.iter().position(|task| matches!(task, HttpTask::Header(_, true))) {
            match std::mem::take(&mut plan.bodiless) {
                Bodiless::Passes => {}
                Bodiless::Broken => plan.wish = Wish::Break(without_body()),
                Bodiless::StandIn(status, body) => {
                    let ended = std::mem::replace(&mut batch[at], HttpTask::Body(Some(body), true));
                    if let HttpTask::Header(mut head, _) = ended {
                        set_status(&mut head, status);
                        head.remove_header(&CONTENT_LENGTH);
                        batch.insert(at, HttpTask::Header(head, false));
                    }
                    plan.wish = Wish::Leave(Known::default());
                }
            }
        }
        let wish = &mut plan.wish;
        if let Some(error) = wish.take_error() {
            self.forget();
            return Taken::Broke(error);
        }
        if matches!(wish, Wish::Pass) && self.tasks.is_empty() {
            return Taken::Write(batch);
        }
        let (mut ends, mut fails) = (false, false);
        for task in batch {
            match task {
                HttpTask::Failed(error) if matches!(wish, Wish::Wait) => {
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
        if matches!(wish, Wish::Wait) && !ends && self.bytes <= MOST {
            return Taken::Waits;
        }
        if let Wish::Leave(Known { cost, status }) = std::mem::take(wish)
            && let Some(HttpTask::Header(head, _)) = self.tasks.first_mut()
        {
            if let Some(status) = status {
                set_status(head, status);
            }
            if cost.is_some_and(|cost| head.insert_header(COST, cost).is_err()) {
                tracing::warn!("the answer's cost is no header");
            }
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

fn set_status(head: &mut ResponseHeader, status: StatusCode) {
    if head.set_status(status).is_err() {
        tracing::warn!("the answer's status is none");
    }
}

fn without_body() -> Box<Error> {
    Error::explain(NO_BODY, "the provider's answer has no body").into_up()
}

/// The piece of a body that `task` is.
pub fn body(task: &HttpTask) -> Option<&Bytes> {
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

    fn waiting() -> Plan {
        Plan { wish: Wish::Wait, ..Plan::default() }
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
        let (mut gathered, mut plan) = (Gathered::default(), waiting());
        assert!(written(gathered.take(vec![head()], &mut plan)).is_none());
        assert!(written(gathered.take(vec![piece(5, false)], &mut plan)).is_none());
        let cost = Some(HeaderValue::from_static("0.1"));
        plan.wish = Wish::Leave(Known { cost, status: None });
        let tasks = written(gathered.take(vec![piece(7, true)], &mut plan)).unwrap();
        assert_eq!((tasks.len(), cost_of(&tasks)), (3, Some("0.1")));
        assert!(matches!(plan.wish, Wish::Pass));
        let rest = written(gathered.take(vec![HttpTask::Done], &mut plan)).unwrap();
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
            let (mut gathered, mut plan) = (Gathered::default(), waiting());
            assert!(written(gathered.take(vec![chunked()], &mut plan)).is_none());
            assert!(written(gathered.take(vec![piece(5, false)], &mut plan)).is_none());
            plan.wish = Wish::Leave(Known::default());
            let tasks = written(gathered.take(rest, &mut plan)).unwrap();
            assert_eq!(told(&tasks).as_deref(), expected);
        }
    }

    #[test]
    fn an_end_without_a_word_lets_go() {
        for end in [piece(0, true), HttpTask::Done, HttpTask::Trailer(None)] {
            let (mut gathered, mut plan) = (Gathered::default(), waiting());
            let tasks = written(gathered.take(vec![head(), end], &mut plan)).unwrap();
            assert_eq!((tasks.len(), cost_of(&tasks)), (2, None));
        }
    }

    #[test]
    fn what_breaks_while_it_waits_is_never_seen() {
        let (mut gathered, mut plan) = (Gathered::default(), waiting());
        assert!(written(gathered.take(vec![head(), piece(5, false)], &mut plan)).is_none());
        let broken = HttpTask::Failed(Error::new(ErrorType::ReadError));
        assert!(matches!(gathered.take(vec![piece(1, false), broken], &mut plan), Taken::Broke(_)));
        assert!(gathered.rest().is_empty());
        // Another attempt begins anew, also where the one before was left without a word.
        plan.wish = Wish::Wait;
        assert!(written(gathered.take(vec![head(), piece(9, false)], &mut plan)).is_none());
        plan.wish = Wish::Leave(Known::default());
        let tasks = written(gathered.take(vec![head(), piece(3, true)], &mut plan)).unwrap();
        assert_eq!(tasks.len(), 2);
    }

    #[test]
    fn an_error_behind_what_may_leave_comes_after_it() {
        let (mut gathered, mut plan) = (Gathered::default(), waiting());
        assert!(written(gathered.take(vec![head()], &mut plan)).is_none());
        plan.wish = Wish::Leave(Known::default());
        let broken = HttpTask::Failed(Error::new(ErrorType::ReadError));
        let tasks = written(gathered.take(vec![piece(5, false), broken], &mut plan)).unwrap();
        assert!(matches!(tasks.as_slice(), [_, _, HttpTask::Failed(_)]));
    }

    #[test]
    fn what_trailers_show_to_be_broken_is_never_seen() {
        for wish in [Wish::Wait, Wish::Pass] {
            let (mut gathered, mut plan) = (Gathered::default(), Plan { wish, ..Plan::default() });
            drop(gathered.take(vec![head(), piece(5, false)], &mut plan));
            plan.wish = Wish::Break(Error::new(ErrorType::ReadError));
            let end = vec![HttpTask::Trailer(None), HttpTask::Done];
            assert!(matches!(gathered.take(end, &mut plan), Taken::Broke(_)));
            assert!(gathered.rest().is_empty() && matches!(plan.wish, Wish::Pass));
        }
    }

    #[test]
    fn an_answer_that_ends_with_its_head_is_what_it_is_said_to_be() {
        let ended = || {
            let mut head = ResponseHeader::build(429, None).unwrap();
            head.insert_header(TRANSFER_ENCODING, "chunked").unwrap();
            vec![HttpTask::Header(Box::new(head), true), HttpTask::Done]
        };
        for wait in [false, true] {
            let plan = |bodiless| {
                let wish = if wait { Wish::Wait } else { Wish::Pass };
                (Gathered::default(), Plan { wish, bodiless, streams: false })
            };
            let (mut gathered, mut passes) = plan(Bodiless::Passes);
            let tasks = written(gathered.take(ended(), &mut passes)).unwrap();
            assert!(matches!(tasks.as_slice(), [HttpTask::Header(_, true), HttpTask::Done]));
            let (mut gathered, mut broken) = plan(Bodiless::Broken);
            assert!(matches!(gathered.take(ended(), &mut broken), Taken::Broke(_)));
            let body = Bytes::from_static(b"words");
            let (mut gathered, mut stand_in) =
                plan(Bodiless::StandIn(StatusCode::PAYMENT_REQUIRED, body));
            let tasks = written(gathered.take(ended(), &mut stand_in)).unwrap();
            let [HttpTask::Header(head, false), HttpTask::Body(Some(body), true), HttpTask::Done] =
                tasks.as_slice()
            else {
                panic!("{tasks:?}")
            };
            assert_eq!((head.status.as_u16(), body.as_ref()), (402, &b"words"[..]));
            assert_eq!(head.headers.get(CONTENT_LENGTH).unwrap(), "5");
            assert!(!head.headers.contains_key(TRANSFER_ENCODING));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered_and_little_waits(
            sizes in proptest::collection::vec(prop_oneof![0_usize..50, 0_usize..200_000], 1..12),
            known_at in proptest::option::of(0_usize..12),
        ) {
            let (mut gathered, mut plan) = (Gathered::default(), waiting());
            let mut out = Vec::new();
            out.extend(written(gathered.take(vec![head()], &mut plan)).into_iter().flatten());
            for (index, size) in sizes.iter().enumerate() {
                if known_at == Some(index) {
                    plan.wish = Wish::Leave(Known::default());
                }
                let task = piece(*size, index + 1 == sizes.len());
                out.extend(written(gathered.take(vec![task], &mut plan)).into_iter().flatten());
                prop_assert!(gathered.bytes <= MOST);
            }
            prop_assert!(matches!(out.first(), Some(HttpTask::Header(..))));
            let came: Vec<_> = out.iter().filter_map(body).map(Bytes::len).collect();
            prop_assert_eq!(came, sizes);
            prop_assert!(gathered.rest().is_empty());
        }
    }
}
