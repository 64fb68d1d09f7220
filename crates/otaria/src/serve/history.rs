//! The history of what this process decides, where it is switched on; otherwise nothing is in the way.

use std::sync::Arc;

use anyhow::Context;
use otaria_history::recorder::{RecordedEvents, RecordedInbox, RecordedPusher, RecordedStore};
use otaria_history::writer::{History, HistoryConfig};
use otaria_ports::clock::Clock;
use otaria_ports::events::Events;
use otaria_ports::ids::Ids;
use otaria_ports::inbox::Inbox;
use otaria_ports::pusher::Pusher;
use otaria_ports::store::Store;

use crate::config::Config;

/// Puts a recorder before what it is given, or hands it back as it is.
#[derive(Clone)]
pub(crate) struct Recording(Option<Arc<History>>);

impl Recording {
    /// Begins the history if the config has a folder for it.
    pub(crate) fn begin(config: &Config, clock: &Arc<dyn Clock>, ids: &dyn Ids) -> anyhow::Result<Self> {
        let section = &config.history;
        let Some(folder) = &section.folder else { return Ok(Self(None)) };
        // To be told apart by people (when, and which of this machine's), and by chance by everybody.
        let process = format!("{}-{}-{}", clock.now().millis(), std::process::id(), ids.text(6));
        let config = HistoryConfig {
            folder: folder.clone(),
            process,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            file_bytes: section.file_bytes,
            files: section.files,
        };
        let history = History::open(config, Arc::clone(clock)).context("beginning the history")?;
        tracing::info!(folder = %folder.display(), "the history is written");
        Ok(Self(Some(history)))
    }

    /// What is published, in the order of commits.
    pub(crate) fn events(&self, inner: Arc<dyn Events>) -> Arc<dyn Events> {
        match &self.0 {
            Some(history) => RecordedEvents::new(Arc::clone(history), inner),
            None => inner,
        }
    }

    /// What the store is asked for.
    pub(crate) fn store(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        match &self.0 {
            Some(history) => RecordedStore::new(Arc::clone(history), inner),
            None => inner,
        }
    }

    /// Fences and epochs.
    pub(crate) fn pusher(&self, inner: Arc<dyn Pusher>) -> Arc<dyn Pusher> {
        match &self.0 {
            Some(history) => RecordedPusher::new(Arc::clone(history), inner),
            None => inner,
        }
    }

    /// Reports, and what became of notices.
    pub(crate) fn inbox(&self, inner: Arc<dyn Inbox>) -> Arc<dyn Inbox> {
        match &self.0 {
            Some(history) => RecordedInbox::new(Arc::clone(history), inner),
            None => inner,
        }
    }

    /// Writes what is left, and that nothing is missing after it.
    pub(crate) async fn end(self) {
        if let Some(history) = self.0
            && tokio::task::spawn_blocking(move || history.close()).await.is_err()
        {
            tracing::warn!("the history was not ended");
        }
    }
}
