//! The files in which a fleet writes down what happens to its devices, as it happens, so that somebody else can
//! judge a server by it while the devices are still at work, and after they were killed.
//!
//! `--events`: one line an event, `unix_us,device,event,what,id`. `what` is the version of a notice or an inform, or
//! the step of a progress; `id` is the notice's own number. `--history`: the same as JSON, as
//! `otaria check-history` reads it ([`Seen`]), also what came on a topic that is not the device's own.

use std::fs::File;
use std::io::{BufWriter, Error, Write};
use std::path::Path;

use anyhow::Context;
use otaria_history::record::{Seen, Sight};
use parking_lot::Mutex;

/// The first line of the file of events.
const TITLE: &str = "unix_us,device,event,what,id\n";

/// The open files. Times are taken before their locks, so neighbouring lines may stand in either order.
#[derive(Debug, Default)]
pub(crate) struct Events {
    table: Option<Lines>,
    history: Option<Lines>,
}

#[derive(Debug)]
struct Lines(Mutex<Open>);

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    failed: Option<Error>,
}

impl Lines {
    fn create(path: &Path, title: &str) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut file = BufWriter::new(file);
        file.write_all(title.as_bytes())?;
        file.flush()?;
        Ok(Self(Mutex::new(Open { file, failed: None })))
    }

    fn write(&self, line: &[u8]) {
        let mut open = self.0.lock();
        if let Err(error) = open.file.write_all(line) {
            open.failed.get_or_insert(error);
        }
    }

    fn flush(&self) -> Option<Error> {
        let mut open = self.0.lock();
        let flushed = open.file.flush();
        open.failed.take().or(flushed.err())
    }
}

impl Events {
    /// Makes the files anew that are asked for.
    pub(crate) fn create(table: Option<&Path>, history: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            table: table.map(|path| Lines::create(path, TITLE)).transpose()?,
            history: history.map(|path| Lines::create(path, "")).transpose()?,
        })
    }

    /// Whether nothing is written down.
    pub(super) const fn is_off(&self) -> bool {
        self.table.is_none() && self.history.is_none()
    }

    pub(super) fn write(&self, seen: &Seen) {
        if let (Some(table), Some(row)) = (&self.table, row(seen)) {
            table.write(row.as_bytes());
        }
        if let Some(history) = &self.history {
            // Numbers and texts always have a JSON form.
            let mut line = serde_json::to_vec(seen).unwrap_or_default();
            line.push(b'\n');
            history.write(&line);
        }
    }

    /// Hands what was written to the system. Returns what went wrong since the last time.
    pub(super) fn flush(&self) -> Option<Error> {
        [&self.table, &self.history].into_iter().flatten().filter_map(Lines::flush).next_back()
    }
}

/// The line of the table; none for what only a history has.
fn row(seen: &Seen) -> Option<String> {
    let Seen { at, device, what, .. } = seen;
    Some(match what {
        Sight::Online {} => format!("{at},{device},online,,\n"),
        Sight::Offline {} => format!("{at},{device},offline,,\n"),
        Sight::Notice { version, id, strange_topic: None, .. } => {
            format!("{at},{device},notice,{version},{id}\n")
        }
        Sight::Progress { step, .. } => format!("{at},{device},progress,{step},\n"),
        Sight::Inform { version, .. } => format!("{at},{device},inform,{version},\n"),
        Sight::Notice { strange_topic: Some(_), .. } | Sight::Fetched { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at: u64, what: Sight) -> Seen {
        Seen { at, product: "a1".into(), device: "d1".into(), what }
    }

    fn notice(strange_topic: Option<String>) -> Sight {
        Sight::Notice { version: "2.0.0".into(), module: String::new(), id: 7, strange_topic }
    }

    #[test]
    fn an_event_is_a_line_once_it_is_flushed() {
        let folder = tempfile::tempdir().unwrap();
        let (table, history) = (folder.path().join("events.csv"), folder.path().join("devices.ndjson"));
        let events = Events::create(Some(&table), Some(&history)).unwrap();
        let all = [
            seen(1_700_000_000_000_001, Sight::Online {}),
            seen(1_700_000_000_000_002, notice(None)),
            seen(1_700_000_000_000_003, notice(Some("/ota/device/upgrade/a1/d2".into()))),
            seen(1_700_000_000_000_004, Sight::Progress { step: -1, module: String::new() }),
        ];
        all.iter().for_each(|seen| events.write(seen));
        assert!(events.flush().is_none());
        assert_eq!(
            std::fs::read_to_string(table).unwrap(),
            format!(
                "{TITLE}1700000000000001,d1,online,,\n1700000000000002,d1,notice,2.0.0,7\n\
                 1700000000000004,d1,progress,-1,\n"
            )
        );
        let history = std::fs::read_to_string(history).unwrap();
        let read: Vec<Seen> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, all);
    }
}
