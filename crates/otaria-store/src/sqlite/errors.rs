//! What SQLite says, in the store's words.

pub(crate) use crate::errors::{failed, silent, taken};
