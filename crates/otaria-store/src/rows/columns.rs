//! Columns of either database, read as the few kinds that there are.
//!
//! SQLite keeps every number in 64 bits and PostgreSQL each in its own width; a flag is 0 or 1 in both.

use sqlx::error::UnexpectedNullError;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row, TypeInfo, ValueRef};

/// A row.
pub(crate) trait Columns {
    fn int(&self, column: &str) -> Result<Option<i64>, Error>;
    fn text(&self, column: &str) -> Result<Option<&str>, Error>;
    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, Error>;
}

impl Columns for SqliteRow {
    fn int(&self, column: &str) -> Result<Option<i64>, Error> {
        self.try_get(column)
    }

    fn text(&self, column: &str) -> Result<Option<&str>, Error> {
        self.try_get(column)
    }

    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, Error> {
        self.try_get(column)
    }
}

impl Columns for PgRow {
    fn int(&self, column: &str) -> Result<Option<i64>, Error> {
        let value = self.try_get_raw(column)?;
        if value.is_null() {
            return Ok(None);
        }
        match value.type_info().name() {
            "INT2" => self.try_get::<i16, _>(column).map(|n| Some(n.into())),
            "INT4" => self.try_get::<i32, _>(column).map(|n| Some(n.into())),
            _ => self.try_get(column),
        }
    }

    fn text(&self, column: &str) -> Result<Option<&str>, Error> {
        self.try_get(column)
    }

    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, Error> {
        self.try_get(column)
    }
}

/// What a column may be read as.
pub(crate) trait Column<'r>: Sized {
    /// `None` where the column is null.
    fn maybe<R: Columns>(row: &'r R, column: &str) -> Result<Option<Self>, Error>;

    fn read<R: Columns>(row: &'r R, column: &str) -> Result<Self, Error> {
        let null = || Error::ColumnDecode { index: column.to_owned(), source: Box::new(UnexpectedNullError) };
        Self::maybe(row, column)?.ok_or_else(null)
    }
}

impl<'r> Column<'r> for i64 {
    fn maybe<R: Columns>(row: &'r R, column: &str) -> Result<Option<Self>, Error> {
        row.int(column)
    }
}

impl<'r> Column<'r> for &'r str {
    fn maybe<R: Columns>(row: &'r R, column: &str) -> Result<Option<Self>, Error> {
        row.text(column)
    }
}

impl<'r> Column<'r> for String {
    fn maybe<R: Columns>(row: &'r R, column: &str) -> Result<Option<Self>, Error> {
        Ok(row.text(column)?.map(str::to_owned))
    }
}

impl<'r> Column<'r> for &'r [u8] {
    fn maybe<R: Columns>(row: &'r R, column: &str) -> Result<Option<Self>, Error> {
        row.bytes(column)
    }
}

impl<'r> Column<'r> for Vec<u8> {
    fn maybe<R: Columns>(row: &'r R, column: &str) -> Result<Option<Self>, Error> {
        Ok(row.bytes(column)?.map(<[u8]>::to_vec))
    }
}

impl<'r, T: Column<'r>> Column<'r> for Option<T> {
    fn maybe<R: Columns>(row: &'r R, column: &str) -> Result<Option<Self>, Error> {
        T::maybe(row, column).map(Some)
    }

    fn read<R: Columns>(row: &'r R, column: &str) -> Result<Self, Error> {
        T::maybe(row, column)
    }
}
