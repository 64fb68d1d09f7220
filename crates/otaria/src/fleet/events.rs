//! The file in which a fleet writes down what happens to its devices, as it happens, so that somebody else can
//! judge a server by it while the devices are still at work, and after they were killed.
//!
//! One line an event: `unix_us,device,event,what,id`. `what` is the version of a notice or an inform, or the
//! step of a progress; `id` is the notice's own number.

use std::fs::File;
use std::io::{BufWriter, Error, Write};
use std::path::Path;

use anyhow::Context;
use parking_lot::Mutex;

/// The first line of the file.
const TITLE: &str = "unix_us,device,event,what,id";

/// The open file. Times are taken before its lock, so neighbouring lines may stand in either order.
#[derive(Debug)]
pub(crate) struct Events(Mutex<Open>);

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    failed: Option<Error>,
}

impl Events {
    /// Makes the file anew.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut file = BufWriter::new(file);
        writeln!(file, "{TITLE}")?;
        file.flush()?;
        Ok(Self(Mutex::new(Open { file, failed: None })))
    }

    pub(super) fn write(&self, unix_us: u64, device: &str, event: &str, what: &str, id: Option<u64>) {
        let mut open = self.0.lock();
        let written = match id {
            Some(id) => writeln!(open.file, "{unix_us},{device},{event},{what},{id}"),
            None => writeln!(open.file, "{unix_us},{device},{event},{what},"),
        };
        if let Err(error) = written {
            open.failed.get_or_insert(error);
        }
    }

    /// Hands what was written to the system. Returns what went wrong since the last time.
    pub(super) fn flush(&self) -> Option<Error> {
        let mut open = self.0.lock();
        let flushed = open.file.flush();
        open.failed.take().or(flushed.err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_once_it_is_flushed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.csv");
        let events = Events::create(&path).unwrap();
        events.write(1_700_000_000_000_001, "d1", "online", "", None);
        events.write(1_700_000_000_000_002, "d1", "notice", "2.0.0", Some(7));
        assert!(events.flush().is_none());
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            text,
            format!("{TITLE}\n1700000000000001,d1,online,,\n1700000000000002,d1,notice,2.0.0,7\n")
        );
    }
}
