//! What the devices wrote down themselves, read back from the files of their fleets (`otaria fleet --events`).
//!
//! Never asks the server anything. A file may still be written to: its last line counts when it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Something that happened to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) unix_us: u64,
    pub(crate) device: String,
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The server let it in.
    Online,
    /// Its connection ended against its will.
    Offline,
    /// A notice arrived: the version that it offers, and its own number.
    Notice { version: String, id: u64 },
    /// It reported progress, or what went wrong as a negative step.
    Progress { step: i8 },
    /// It said which version it runs.
    Inform { version: String },
}

/// The record of all devices, in the order of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    events: Vec<Event>,
}

/// A notice of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Push<'record> {
    pub(crate) unix_us: u64,
    pub(crate) device: &'record str,
    pub(crate) id: u64,
}

impl Record {
    /// Reads the files of several fleets.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self> {
        let mut events = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the devices' record {}", file.display()))?;
            events.extend(parse(&text).with_context(|| format!("in {}", file.display()))?);
        }
        events.sort_by_key(|event| event.unix_us);
        Ok(Self { events })
    }

    /// Everything, in the order of time.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// All notices, whatever they offer.
    pub(crate) fn notices(&self) -> usize {
        self.events.iter().filter(|event| matches!(event.what, What::Notice { .. })).count()
    }

    /// The notices that offer this version.
    pub(crate) fn pushes(&self, wanted: &str) -> Vec<Push<'_>> {
        let push = |event: &'_ Event| match &event.what {
            What::Notice { version, id } if version == wanted => Some((event.unix_us, *id)),
            What::Notice { .. }
            | What::Online
            | What::Offline
            | What::Progress { .. }
            | What::Inform { .. } => None,
        };
        let found = self.events.iter().filter_map(|event| {
            let (unix_us, id) = push(event)?;
            Some(Push { unix_us, device: &event.device, id })
        });
        found.collect()
    }

    /// The devices that said that they run this version.
    pub(crate) fn updated(&self, wanted: &str) -> BTreeSet<&str> {
        let is = |event: &&Event| matches!(&event.what, What::Inform { version } if version == wanted);
        self.events.iter().filter(is).map(|event| event.device.as_str()).collect()
    }

    /// How many devices are connected at the end of the record.
    pub(crate) fn online(&self) -> usize {
        let mut last = BTreeMap::new();
        for event in &self.events {
            match event.what {
                What::Online => last.insert(event.device.as_str(), true),
                What::Offline => last.insert(event.device.as_str(), false),
                What::Notice { .. } | What::Progress { .. } | What::Inform { .. } => continue,
            };
        }
        last.values().filter(|online| **online).count()
    }
}

fn parse(text: &str) -> Result<Vec<Event>> {
    // Without its end a line may have lost some of its digits.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().skip(1);
    lines.map(|(number, line)| event(line).with_context(|| format!("line {}: {line}", number + 1))).collect()
}

fn event(line: &str) -> Result<Event> {
    let mut fields = line.split(',');
    let mut field = || fields.next().context("a field is missing");
    let (unix_us, device, kind, what, id) = (field()?, field()?, field()?, field()?, field()?);
    let what = match kind {
        "online" => What::Online,
        "offline" => What::Offline,
        "notice" => What::Notice { version: what.to_owned(), id: id.parse()? },
        "progress" => What::Progress { step: what.parse()? },
        "inform" => What::Inform { version: what.to_owned() },
        other => bail!("no event is called {other:?}"),
    };
    Ok(Event { unix_us: unix_us.parse()?, device: device.to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "unix_us,device,event,what,id\n\
        1000000,d1,online,,\n1000001,d1,inform,1.0.0,\n1000002,d2,online,,\n2000000,d1,notice,2.0.0,7\n\
        2000001,d1,progress,-1,\n2500000,d2,offline,,\n2600000,d2,online,,\n3000000,d1,notice,2.0.0,7\n\
        3000001,d2,notice,3.0.0,8\n4000000,d1,inform,2.0.0,\n";

    fn record(text: &str) -> Record {
        Record { events: parse(text).unwrap() }
    }

    #[test]
    fn each_event_is_read() {
        let record = record(TEXT);
        let pushes: Vec<_> = record
            .pushes("2.0.0")
            .iter()
            .map(|push| (push.unix_us, push.device.to_owned(), push.id))
            .collect();
        assert_eq!(pushes, [(2_000_000, "d1".to_owned(), 7), (3_000_000, "d1".to_owned(), 7)]);
        assert_eq!(record.updated("2.0.0"), BTreeSet::from(["d1"]));
        assert_eq!(record.online(), 2);
        assert_eq!(record.events[4].what, What::Progress { step: -1 });
    }

    #[test]
    fn a_line_that_is_being_written_is_left_for_the_next_time() {
        let cut = TEXT.trim_end_matches("0.0,\n");
        assert_eq!(record(cut).updated("2.0.0").len(), 0);
        assert_eq!(record("unix_us,dev").events, []);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error_with_its_number() {
        let error = parse(&(TEXT.to_owned() + "1,d1,sleep,,\n")).unwrap_err();
        assert_eq!(error.to_string(), "line 12: 1,d1,sleep,,");
    }
}
