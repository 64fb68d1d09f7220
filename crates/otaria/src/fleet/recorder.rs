//! What each device of a fleet saw and did, written down by the devices themselves.
//!
//! The verdict of a demo rests on this record and on nothing that the server says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otaria_history::record::{Seen as SeenLine, Sight};
use parking_lot::Mutex;

use super::events::Events;
use super::tally::{Seen, Tally};
use crate::stopwatch::Stopwatch;

/// How many troubles are kept word for word.
const TROUBLES_MAX: usize = 20;

/// The record of one device.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceRecord {
    /// When it was first connected.
    pub(crate) connected_at: Option<Duration>,
    /// How often it was connected.
    pub(crate) connects: u32,
    /// The notices that it got, in their order.
    pub(crate) notices: Vec<Seen>,
    /// The versions that it informed after updates, by their numbers, in their order.
    pub(crate) updated_to: Vec<u16>,
    /// Packages that it downloaded and found right.
    pub(crate) downloads: u32,
}

/// Sums over all devices, to be shown while they work.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Devices that are connected now.
    pub(crate) online: AtomicU64,
    /// Connections that came about.
    pub(crate) connects: AtomicU64,
    /// Connections that the server refused by CONNACK.
    pub(crate) refused: AtomicU64,
    /// Connections that ended without the device's will.
    pub(crate) lost: AtomicU64,
    /// Notices that arrived.
    pub(crate) notices: AtomicU64,
    /// Updates that were done: the new version was informed.
    pub(crate) updates: AtomicU64,
    /// Packages that were downloaded and right.
    pub(crate) downloads: AtomicU64,
    /// Downloads that failed.
    pub(crate) download_failures: AtomicU64,
    /// Messages that were no notices for their receiver.
    pub(crate) odd_messages: AtomicU64,
}

/// Adds one to a sum.
pub(crate) fn count_up(sum: &AtomicU64) {
    sum.fetch_add(1, Ordering::Relaxed);
}

/// Reads a sum.
pub(crate) fn sum(sum: &AtomicU64) -> u64 {
    sum.load(Ordering::Relaxed)
}

/// The records of a fleet.
pub(crate) struct Recorder {
    clock: Stopwatch,
    product: String,
    names: Vec<Box<str>>,
    devices: Vec<Mutex<DeviceRecord>>,
    versions: Mutex<Vec<String>>,
    troubles: Mutex<Vec<String>>,
    events: Events,
    pub(crate) totals: Totals,
}

impl Recorder {
    /// For devices of these names; `clock` is the start that all instants count from. What happens is also
    /// written to `events`.
    pub(crate) fn new(product: String, names: Vec<Box<str>>, clock: Stopwatch, events: Events) -> Self {
        Self {
            clock,
            product,
            devices: names.iter().map(|_| Mutex::default()).collect(),
            names,
            versions: Mutex::default(),
            troubles: Mutex::default(),
            events,
            totals: Totals::default(),
        }
    }

    pub(crate) fn connected(&self, device: usize) {
        let at = self.clock.elapsed();
        let mut record = self.devices[device].lock();
        record.connected_at.get_or_insert(at);
        record.connects += 1;
        count_up(&self.totals.connects);
        count_up(&self.totals.online);
        self.event(at, device, || Sight::Online {});
    }

    pub(crate) fn lost(&self, device: usize, why: &std::io::Error) {
        self.totals.online.fetch_sub(1, Ordering::Relaxed);
        count_up(&self.totals.lost);
        self.event(self.clock.elapsed(), device, || Sight::Offline {});
        self.trouble(device, || format!("lost its connection: {why}"));
    }

    pub(crate) fn noticed(&self, device: usize, version: &str, wire_id: u64) {
        let at = self.clock.elapsed();
        self.event(at, device, || notice(version, wire_id, None));
        let version = self.number_of(version);
        let place = u32::try_from(device).unwrap_or(u32::MAX);
        self.devices[device].lock().notices.push(Seen { at, device: place, version, wire_id });
        count_up(&self.totals.notices);
    }

    /// A message on a topic that is not the device's own, with what it offers if it is a notice.
    pub(crate) fn strayed(&self, device: usize, topic: &str, offers: Option<(&str, u64)>) {
        let (version, wire_id) = offers.unwrap_or_default();
        self.event(self.clock.elapsed(), device, || notice(version, wire_id, Some(topic.to_owned())));
        count_up(&self.totals.odd_messages);
    }

    /// The device says which version it runs.
    pub(crate) fn informed(&self, device: usize, version: &str) {
        let sight = || Sight::Inform { version: version.to_owned(), module: String::new() };
        self.event(self.clock.elapsed(), device, sight);
    }

    /// The device says how far it is, or what went wrong.
    pub(crate) fn progressed(&self, device: usize, step: i8) {
        let sight = || Sight::Progress { step: step.into(), module: String::new() };
        self.event(self.clock.elapsed(), device, sight);
    }

    fn event(&self, at: Duration, device: usize, what: impl FnOnce() -> Sight) {
        if !self.events.is_off() {
            let (product, name) = (self.product.clone(), self.names[device].to_string());
            self.events.write(&SeenLine { at: self.clock.unix_us(at), product, device: name, what: what() });
        }
    }

    /// Keeps the file of events no more than a tenth of a second behind. Never returns.
    pub(crate) async fn keep_events(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.flush_events();
        }
    }

    /// Brings the file of events up to date.
    pub(crate) fn flush_events(&self) {
        if let Some(why) = self.events.flush() {
            self.trouble_of("the file of events", || why.to_string());
        }
    }

    pub(crate) fn downloaded(&self, device: usize) {
        self.devices[device].lock().downloads += 1;
        count_up(&self.totals.downloads);
    }

    pub(crate) fn updated(&self, device: usize, version: &str) {
        let version = self.number_of(version);
        self.devices[device].lock().updated_to.push(version);
        count_up(&self.totals.updates);
    }

    /// Keeps the first troubles of all devices for the report.
    pub(crate) fn trouble(&self, device: usize, text: impl FnOnce() -> String) {
        self.trouble_of(&self.names[device], text);
    }

    fn trouble_of(&self, whose: &str, text: impl FnOnce() -> String) {
        let mut troubles = self.troubles.lock();
        if troubles.len() < TROUBLES_MAX {
            troubles.push(format!("{whose}: {}", text()));
        }
    }

    /// The number that stands for a version in this record.
    pub(crate) fn number_of(&self, version: &str) -> u16 {
        let mut versions = self.versions.lock();
        let place = versions.iter().position(|known| known == version).unwrap_or_else(|| {
            versions.push(version.to_owned());
            versions.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    /// All versions that were offered or informed, by their numbers.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.versions.lock().clone()
    }

    pub(crate) fn troubles(&self) -> Vec<String> {
        self.troubles.lock().clone()
    }

    /// A copy of one device's record.
    pub(crate) fn device(&self, device: usize) -> DeviceRecord {
        self.devices[device].lock().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    /// How many devices satisfy `is`.
    pub(crate) fn count(&self, is: impl Fn(&DeviceRecord) -> bool) -> usize {
        self.devices.iter().filter(|device| is(&device.lock())).count()
    }

    /// All notices of all devices.
    pub(crate) fn tally(&self) -> Tally {
        let notices = self.devices.iter().flat_map(|device| device.lock().notices.clone());
        Tally::new(notices.collect())
    }

    /// Writes all notices in the order in which they came: device, wall clock in Unix milliseconds, version,
    /// number of the notice.
    pub(crate) fn write_csv(&self, mut out: impl std::io::Write) -> std::io::Result<()> {
        let versions = self.versions();
        writeln!(out, "device,unix_ms,version,id")?;
        for notice in self.tally().notices() {
            let name = usize::try_from(notice.device).ok().and_then(|place| self.names.get(place));
            let version = versions.get(usize::from(notice.version));
            let (name, version) = (name.map_or("", |name| name), version.map_or("", String::as_str));
            writeln!(out, "{name},{},{version},{}", self.clock.unix_ms(notice.at), notice.wire_id)?;
        }
        out.flush()
    }

    /// The start that all instants count from.
    pub(crate) fn clock(&self) -> Stopwatch {
        self.clock
    }
}

fn notice(version: &str, wire_id: u64, strange_topic: Option<String>) -> Sight {
    let id = i64::try_from(wire_id).unwrap_or(i64::MAX);
    Sight::Notice { version: version.to_owned(), module: String::new(), id, strange_topic }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(names: &[&str]) -> Recorder {
        let names = names.iter().map(|name| (*name).into()).collect();
        Recorder::new("a1".into(), names, Stopwatch::start(), Events::default())
    }

    #[test]
    fn each_device_keeps_its_own_record() {
        let recorder = recorder(&["a", "b"]);
        recorder.connected(1);
        recorder.noticed(1, "2.0.0", 7);
        recorder.noticed(1, "2.0.0", 8);
        recorder.downloaded(1);
        recorder.updated(1, "2.0.0");
        recorder.noticed(0, "3.0.0", 9);

        let record = recorder.device(1);
        assert_eq!((record.connects, record.notices.len(), record.downloads), (1, 2, 1));
        assert_eq!(record.updated_to, [recorder.number_of("2.0.0")]);
        assert_eq!(recorder.tally().total(), 3);
        assert_eq!(recorder.tally().of_version(recorder.number_of("3.0.0")).total(), 1);
        assert_eq!(recorder.versions(), ["2.0.0", "3.0.0"]);
        assert_eq!(recorder.count(|record| record.connects > 0), 1);

        let mut csv = Vec::new();
        recorder.write_csv(&mut csv).unwrap();
        let csv = String::from_utf8(csv).unwrap();
        let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines[0], ["device", "unix_ms", "version", "id"]);
        assert_eq!((lines[1][0], lines[1][2], lines[1][3]), ("b", "2.0.0", "7"));
        assert_eq!((lines[3][0], lines[3][2], lines[3][3]), ("a", "3.0.0", "9"));
    }

    #[test]
    fn only_the_first_troubles_are_kept() {
        let recorder = recorder(&["a"]);
        (0..100).for_each(|n| recorder.trouble(0, || n.to_string()));
        assert_eq!(recorder.troubles().len(), TROUBLES_MAX);
    }
}
