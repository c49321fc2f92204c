//! Rows, read column by column in the order of the `SELECT`.

use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::super::StoreError;
use super::super::records::KeyHash;

/// A value as the database gave it.
#[derive(Debug)]
pub(in crate::stores) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Flag(bool),
    Id(Uuid),
    Json(Value),
    /// Of a type that no column here has.
    Unknown,
}

/// One row.
pub(in crate::stores) type Row = Vec<Cell>;

/// Takes a row's cells one after another. Each method names the column that it takes; the name is
/// for the error only.
///
/// # Errors
/// `Broken` from every method, if the cell is not of the expected kind.
pub(in crate::stores) struct Reader {
    /// Of what the row is.
    what: &'static str,
    cells: std::vec::IntoIter<Cell>,
}

impl Reader {
    pub fn new(what: &'static str, row: Row) -> Self {
        Self { what, cells: row.into_iter() }
    }

    pub fn text(&mut self, column: &'static str) -> Result<String, StoreError> {
        self.opt_text(column)?.ok_or_else(|| self.broken(column))
    }

    pub fn opt_text(&mut self, column: &'static str) -> Result<Option<String>, StoreError> {
        match self.cells.next() {
            Some(Cell::Text(text)) => Ok(Some(text)),
            Some(Cell::Null) => Ok(None),
            _ => Err(self.broken(column)),
        }
    }

    pub fn int(&mut self, column: &'static str) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or_else(|| self.broken(column))
    }

    pub fn opt_int(&mut self, column: &'static str) -> Result<Option<i64>, StoreError> {
        match self.cells.next() {
            Some(Cell::Int(number)) => Ok(Some(number)),
            Some(Cell::Null) => Ok(None),
            _ => Err(self.broken(column)),
        }
    }

    /// Never negative.
    pub fn count(&mut self, column: &'static str) -> Result<u64, StoreError> {
        let number = self.int(column)?;
        u64::try_from(number).map_err(|_| self.broken(column))
    }

    pub fn flag(&mut self, column: &'static str) -> Result<bool, StoreError> {
        match self.cells.next() {
            Some(Cell::Flag(flag)) => Ok(flag),
            // SQLite has no type of its own for it.
            Some(Cell::Int(0)) => Ok(false),
            Some(Cell::Int(1)) => Ok(true),
            _ => Err(self.broken(column)),
        }
    }

    pub fn id(&mut self, column: &'static str) -> Result<Uuid, StoreError> {
        match self.cells.next() {
            Some(Cell::Id(id)) => Ok(id),
            Some(Cell::Text(text)) => Uuid::parse_str(&text).map_err(|_| self.broken(column)),
            _ => Err(self.broken(column)),
        }
    }

    pub fn opt_id(&mut self, column: &'static str) -> Result<Option<Uuid>, StoreError> {
        match self.cells.as_slice().first() {
            Some(Cell::Null) => {
                self.cells.next();
                Ok(None)
            }
            _ => self.id(column).map(Some),
        }
    }

    pub fn hash(&mut self, column: &'static str) -> Result<KeyHash, StoreError> {
        self.opt_hash(column)?.ok_or_else(|| self.broken(column))
    }

    pub fn opt_hash(&mut self, column: &'static str) -> Result<Option<KeyHash>, StoreError> {
        match self.cells.next() {
            Some(Cell::Bytes(bytes)) => match bytes.try_into() {
                Ok(hash) => Ok(Some(KeyHash(hash))),
                Err(_) => Err(self.broken(column)),
            },
            Some(Cell::Null) => Ok(None),
            _ => Err(self.broken(column)),
        }
    }

    pub fn json<T: DeserializeOwned>(&mut self, column: &'static str) -> Result<T, StoreError> {
        let value = match self.cells.next() {
            Some(Cell::Json(value)) => serde_json::from_value(value),
            Some(Cell::Text(text)) => serde_json::from_str(&text),
            _ => return Err(self.broken(column)),
        };
        value.map_err(|_| self.broken(column))
    }

    /// A word that stands for a value of an enumeration.
    pub fn word<T: DeserializeOwned>(&mut self, column: &'static str) -> Result<T, StoreError> {
        self.opt_word(column)?.ok_or_else(|| self.broken(column))
    }

    pub fn opt_word<T: DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        self.opt_text(column)?
            .map(|word| {
                serde_json::from_value(Value::String(word)).map_err(|_| self.broken(column))
            })
            .transpose()
    }

    /// A record of `width` columns that an outer join may have left out: its first is `NULL` then.
    pub fn joined<T>(
        &mut self,
        width: usize,
        read: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if let Some(Cell::Null) = self.cells.as_slice().first() {
            self.cells.by_ref().take(width).for_each(drop);
            return Ok(None);
        }
        read(self).map(Some)
    }

    fn broken(&self, column: &'static str) -> StoreError {
        StoreError::Broken(format!("`{column}` of a stored {} is not what it must be", self.what))
    }
}
