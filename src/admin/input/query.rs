//! Query strings.

use axum::extract::Query as Pairs;
use http::Uri;

use super::super::error::ApiError;
use super::json::nearest;

/// Parameters, until they are taken.
#[derive(Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    /// Every name that was asked for.
    known: Vec<&'static str>,
}

impl Query {
    /// Reads a query string.
    ///
    /// # Errors
    /// 422 where it is malformed or a name is given twice.
    pub fn read(uri: &Uri) -> Result<Self, ApiError> {
        let Ok(Pairs(pairs)) = Pairs::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(ApiError::invalid("query", "can't be read"));
        };
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ApiError::invalid(twice[0], "is given more than once"));
        }
        Ok(Self { pairs, known: Vec::new() })
    }

    /// A text. Empty is absent: forms send it so.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.pairs.iter().position(|(found, _)| found == name)?;
        Some(self.pairs.swap_remove(at).1).filter(|value| !value.is_empty())
    }

    /// A whole number from `least` to `most`.
    ///
    /// # Errors
    /// 422.
    pub fn number(
        &mut self,
        name: &'static str,
        least: u32,
        most: u32,
    ) -> Result<Option<u32>, ApiError> {
        self.text(name)
            .map(|text| match text.parse() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => {
                    let reason = format!("must be a whole number from {least} to {most}");
                    Err(ApiError::invalid(name, reason))
                }
            })
            .transpose()
    }

    /// `true` or `false`, in any case.
    ///
    /// # Errors
    /// 422.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, ApiError> {
        self.text(name)
            .map(|text| match text.to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(ApiError::invalid(name, "must be true or false")),
            })
            .transpose()
    }

    /// Refuses what was not asked for.
    ///
    /// # Errors
    /// 422 with the nearest known name.
    pub fn finish(&self) -> Result<(), ApiError> {
        let Some((name, _)) = self.pairs.first() else { return Ok(()) };
        let error = ApiError::invalid(name.clone(), "is not a known parameter");
        Err(match nearest(name, &self.known) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        })
    }

    /// What was not asked for.
    pub fn ignored(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, ApiError> {
        Query::read(&format!("http://x/path?{text}").parse().unwrap())
    }

    #[test]
    fn parameters_are_taken_by_name_and_the_rest_is_refused() {
        let mut read = query("limit=5&team=a%20b&blocked=True&empty=").unwrap();
        assert_eq!(read.number("limit", 1, 100).unwrap(), Some(5));
        assert_eq!(read.text("team").as_deref(), Some("a b"));
        assert_eq!(read.flag("blocked").unwrap(), Some(true));
        assert_eq!(read.text("empty"), None);
        assert!(read.finish().is_ok());

        let mut read = query("limti=5").unwrap();
        assert_eq!(read.number("limit", 1, 100).unwrap(), None);
        let error = read.finish().expect_err("unknown");
        assert_eq!(error.field.as_deref(), Some("limti"));
        assert_eq!(error.hint.as_deref(), Some("did you mean `limit`?"));
    }

    #[test]
    fn wrong_values_name_the_parameter() {
        for (text, message) in [
            ("limit=0", "`limit` must be a whole number from 1 to 100"),
            ("limit=x", "`limit` must be a whole number from 1 to 100"),
            ("limit=101", "`limit` must be a whole number from 1 to 100"),
        ] {
            let error = query(text).unwrap().number("limit", 1, 100).expect_err(text);
            assert_eq!(error.message, message);
        }
        assert!(query("blocked=maybe").unwrap().flag("blocked").is_err());
        assert_eq!(query("a=1&b=2&a=3").expect_err("twice").field.as_deref(), Some("a"));
    }
}
