//! What is made of a file that may change. Pure: whoever uses it reads the file, at times of their own.

/// Something made of a file's content, or without a file; it stays in use until another content can be.
pub struct Current<T> {
    it: T,
    content: Option<Vec<u8>>,
    /// Why what is in the file now is not in use, as it was told.
    refused: Option<String>,
}

/// What came of a look at the file: what there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing: it holds what is in use, or what has been refused already.
    Same,
    /// What it holds now is in use.
    Changed,
    /// It can't be used, for this reason; what was in use stays.
    Refused(String),
}

impl<T> Current<T> {
    /// Makes it for the first time.
    ///
    /// # Errors
    /// `make`'s.
    pub fn new<E>(
        content: Option<Vec<u8>>,
        make: impl FnOnce(Option<&[u8]>) -> Result<T, E>,
    ) -> Result<Self, E> {
        Ok(Self { it: make(content.as_deref())?, content, refused: None })
    }

    /// What is in use.
    pub fn it(&self) -> &T {
        &self.it
    }

    /// Takes what was `read` of the file, and makes it anew if that is another content.
    pub fn look<E: ToString>(
        &mut self,
        read: Result<Option<Vec<u8>>, E>,
        make: impl FnOnce(Option<&[u8]>) -> Result<T, E>,
    ) -> Look {
        let made = read.and_then(|content| {
            (content != self.content).then(|| Self::new(content, make)).transpose()
        });
        let refused = match made {
            Ok(Some(other)) => {
                *self = other;
                return Look::Changed;
            }
            Ok(None) => None,
            Err(error) => Some(error.to_string()),
        };
        if refused == self.refused {
            return Look::Same;
        }
        self.refused.clone_from(&refused);
        refused.map_or(Look::Same, Look::Refused)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// No `content` is none that can be read; one that begins with `!` is refused for its second letter.
    fn look(current: &mut Current<String>, content: &str) -> Look {
        let unread = || "unread".to_owned();
        let read = (!content.is_empty()).then(|| Some(content.into())).ok_or_else(unread);
        let in_use = current.it().clone();
        current.look(read, |content| {
            let content = content.unwrap_or_default();
            assert_ne!(content, in_use.as_bytes(), "what is in use is not made again");
            made(content)
        })
    }

    fn made(content: &[u8]) -> Result<String, String> {
        let content = String::from_utf8_lossy(content).into_owned();
        match content.strip_prefix('!') {
            Some(why) => Err(why[..1].to_owned()),
            None => Ok(content),
        }
    }

    fn current(content: &str) -> Current<String> {
        Current::new(Some(content.into()), |content| made(content.unwrap_or_default())).unwrap()
    }

    #[test]
    fn a_change_is_taken_and_a_refusal_told_once() {
        let refused = |why: &str| Look::Refused(why.to_owned());
        let mut it = current("a");
        for (content, expected, in_use) in [
            ("a", Look::Same, "a"),
            ("b", Look::Changed, "b"),
            ("b", Look::Same, "b"),
            ("!x", refused("x"), "b"),
            ("!x", Look::Same, "b"),
            ("!xx", Look::Same, "b"),
            ("!y", refused("y"), "b"),
            ("", refused("unread"), "b"),
            ("", Look::Same, "b"),
            ("!x", refused("x"), "b"),
            // What is in use is back: nothing to tell, and the next refusal is told again.
            ("b", Look::Same, "b"),
            ("!x", refused("x"), "b"),
            ("a", Look::Changed, "a"),
            ("!x", refused("x"), "a"),
        ] {
            assert_eq!(look(&mut it, content), expected, "{content:?}");
            assert_eq!(it.it(), in_use, "{content:?}");
        }
    }

    #[test]
    fn the_first_must_be_good() {
        let first = Current::new(Some(b"!x".into()), |content| made(content.unwrap_or_default()));
        assert_eq!(first.err().unwrap(), "x");
    }

    proptest! {
        /// The last content that could be used is in use, and a refusal is told unless it was told last.
        #[test]
        fn the_last_that_can_be_used_is_in_use(
            contents in proptest::collection::vec("a|b|!x|!xx|!y|", 0..20),
        ) {
            let (mut it, mut in_use, mut told) = (current("a"), "a".to_owned(), None);
            for content in contents {
                let can_be = !content.is_empty() && !content.starts_with('!');
                let expected = match (can_be, content == in_use) {
                    (true, true) => Look::Same,
                    (true, false) => Look::Changed,
                    (false, _) => Look::Refused(match content.get(1..2) {
                        Some(why) => why.to_owned(),
                        None => "unread".to_owned(),
                    }),
                };
                let again = !can_be && told.as_ref() == Some(&expected);
                let found = look(&mut it, &content);
                prop_assert_eq!(&found, if again { &Look::Same } else { &expected });
                told = (!can_be).then_some(expected);
                if can_be {
                    in_use = content;
                }
                prop_assert_eq!(it.it(), &in_use);
            }
        }
    }
}
