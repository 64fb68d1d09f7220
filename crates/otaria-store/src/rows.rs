//! Rows into domain values. A row that cannot be one is `Corrupt`.

mod columns;
mod devices;
mod firmwares;
mod groups;
mod jobs;
mod leases;
mod tasks;

pub(crate) use columns::{Column, Columns};
pub(crate) use devices::{access_key, account, auth, device, module, module_column, product, seen, version};
pub(crate) use firmwares::{asked_files, files, firmware, upload};
pub(crate) use groups::{apply, apply_devices, apply_names, group, ota_module, refused_names};
pub(crate) use jobs::{bulk, expansion, job, read_target, tags, target};
pub(crate) use leases::shard_lease;
pub(crate) use tasks::{StateColumns, ended_offer, task};

use otaria_core::time::Timestamp;
use otaria_ports::store::StoreError;

/// A row of a table, read by the names of its columns.
pub(crate) struct Of<'r, R> {
    pub(crate) table: &'static str,
    pub(crate) row: &'r R,
}

impl<'r, R: Columns> Of<'r, R> {
    pub(crate) fn get<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: Column<'r>,
    {
        T::read(self.row, column).map_err(|error| self.corrupt(error.to_string()))
    }

    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Corrupt { table: self.table, reason: reason.into() }
    }

    /// A column through a function that knows what is possible.
    pub(crate) fn parsed<T, V>(
        &self,
        column: &'static str,
        parse: impl FnOnce(T) -> Option<V>,
    ) -> Result<V, StoreError>
    where
        T: Column<'r>,
    {
        parse(self.get(column)?).ok_or_else(|| self.corrupt(format!("{column} is none that there is")))
    }

    /// The same for a column that may be null.
    pub(crate) fn maybe<T, V>(
        &self,
        column: &'static str,
        parse: impl FnOnce(T) -> Option<V>,
    ) -> Result<Option<V>, StoreError>
    where
        T: Column<'r>,
    {
        let Some(value) = self.get::<Option<T>>(column)? else { return Ok(None) };
        match parse(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.corrupt(format!("{column} is none that there is"))),
        }
    }

    /// A number that cannot be negative.
    pub(crate) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        self.parsed(column, |n: i64| u64::try_from(n).ok())
    }

    pub(crate) fn at(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.get(column).map(Timestamp::from_millis)
    }

    pub(crate) fn maybe_at(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
    }
}
