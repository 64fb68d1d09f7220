//! A bell: rung from anywhere, heard by one loop.
//!
//! A ring between two waits is not lost, and many rings are heard as one. A bell only shortens a wait:
//! every loop also looks by itself from time to time.

use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;

/// See the module.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    event: Event,
}

impl Bell {
    /// Wakes the loop that waits, or the next wait.
    pub fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        self.event.notify(usize::MAX);
    }

    /// Returns once the bell was rung since the last time it was heard.
    pub async fn heard(&self) {
        loop {
            let listener = self.event.listen();
            if self.rung.swap(false, Ordering::SeqCst) {
                return;
            }
            listener.await;
        }
    }
}
