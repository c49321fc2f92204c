//! Fields of a request that the model has none for.

use crate::{
    Dialect, Refusal,
    json::{Keys, Path, Reader},
    model::{Extra, Request},
};

/// Collects [`Extra`]s while a request is read.
#[derive(Debug, Default)]
pub struct Extras<'a> {
    list: Vec<Extra<'a>>,
}

impl<'a> Extras<'a> {
    /// Takes the value that comes next, of a field at `at` that `dialect` knows.
    pub fn known(
        &mut self,
        at: &Path<'_>,
        reader: &mut Reader<'a>,
        dialect: Dialect,
    ) -> Result<(), Refusal> {
        self.take(at, reader, Some(dialect))
    }

    /// Takes the value that comes next, of a field at `at` that we do not know.
    pub fn unknown(&mut self, at: &Path<'_>, reader: &mut Reader<'a>) -> Result<(), Refusal> {
        self.take(at, reader, None)
    }

    /// `null` and empty lists say nothing: clients send what they read, fields without a value included.
    fn take(
        &mut self,
        at: &Path<'_>,
        reader: &mut Reader<'a>,
        dialect: Option<Dialect>,
    ) -> Result<(), Refusal> {
        let value = at.raw(reader)?;
        if !matches!(value.as_str(), "null" | "[]") {
            self.list.push(Extra { path: at.to_string(), value, dialect });
        }
        Ok(())
    }

    /// What was taken.
    pub fn into_list(self) -> Vec<Extra<'a>> {
        self.list
    }
}

/// Reads a whole request: `field` is called for each field of the body's object, and takes its value.
pub fn read_body<'a>(
    body: &'a [u8],
    request: &mut Request<'a>,
    mut field: impl FnMut(
        &str,
        &Path<'_>,
        &mut Reader<'a>,
        &mut Request<'a>,
        &mut Extras<'a>,
    ) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let root = Path::ROOT;
    let mut reader = Reader::of_bytes(body).map_err(|fault| root.fault(fault, "an object"))?;
    let mut extras = Extras::default();
    let mut keys: Keys<'a> = root.open(&mut reader)?;
    while let Some(key) = keys.next(&mut reader, &root)? {
        field(&key, &root.key(&key), &mut reader, request, &mut extras)?;
    }
    reader.end().map_err(|fault| root.fault(fault, "an object"))?;
    request.extras = extras.into_list();
    Ok(())
}
