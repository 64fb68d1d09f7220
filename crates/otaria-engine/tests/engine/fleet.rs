//! Devices that only pretend: they take notices, think for a moment, and report as their temper is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otaria_core::ids::{DeviceId, DeviceName, InformedVersion, ModuleName};
use otaria_core::task::{FailedStep, Percent, Report, ReportOrder, Said};
use otaria_core::time::Timestamp;

/// How a device behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Updates.
    Obedient,
    /// Updates, and says everything twice.
    Stuttering,
    /// Reports −1 every time.
    Failing,
    /// Fails at first, then updates.
    Clumsy,
    /// Takes notices and never answers.
    Silent,
    /// Reports progress and nothing more.
    Stuck,
    /// Reports progress, and then a version that nobody asked for.
    Downgrading,
}

/// One device.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) name: DeviceName,
    pub(crate) temper: Temper,
    pub(crate) version: String,
    /// All versions that it ever said.
    pub(crate) informed: BTreeSet<String>,
    pub(crate) session: Option<i64>,
    /// Whether it ever lost its connection.
    pub(crate) was_away: bool,
    said: u32,
    plan: Vec<(Timestamp, Said)>,
    /// The offer that it works on.
    offer: Option<i64>,
    /// Offers taken, by wire id: when each came first.
    pub(crate) offers: BTreeMap<i64, Timestamp>,
    /// Reports that are not acknowledged yet.
    outbox: Vec<Report>,
}

pub(crate) fn version(text: &str) -> Said {
    Said::Version(InformedVersion::parse(text).unwrap())
}

pub(crate) fn progress(percent: i64) -> Said {
    Said::Progress { percent: Percent::new(percent).unwrap(), desc: String::new() }
}

pub(crate) fn refused() -> Said {
    Said::Refused { step: FailedStep::Update, desc: "no".to_owned() }
}

impl Device {
    pub(crate) fn new(id: DeviceId, name: DeviceName, temper: Temper) -> Self {
        Self {
            id,
            name,
            temper,
            version: "1.0.0".to_owned(),
            informed: BTreeSet::new(),
            session: None,
            was_away: false,
            said: 0,
            plan: Vec::new(),
            offer: None,
            offers: BTreeMap::new(),
            outbox: Vec::new(),
        }
    }

    /// Connects; the first thing it says is its version.
    pub(crate) fn connect(&mut self, session: i64, now: Timestamp) {
        self.session = Some(session);
        self.said = 0;
        self.plan.insert(0, (now, version(&self.version)));
    }

    /// Loses its connection; what was not acknowledged is said again in the next session.
    pub(crate) fn disconnect(&mut self) {
        self.session = None;
        self.was_away = true;
        let unsaid = self.outbox.drain(..).map(|report| (report.at, report.said));
        let rest: Vec<_> = unsaid.chain(self.plan.drain(..)).collect();
        self.plan = rest;
    }

    /// Takes a notice; one that it works on already changes nothing.
    pub(crate) fn hear(&mut self, wire_id: i64, dest: &str, now: Timestamp) {
        self.offers.entry(wire_id).or_insert(now);
        if self.offer == Some(wire_id) {
            return;
        }
        self.offer = Some(wire_id);
        let at = |millis| now + Duration::from_millis(millis);
        let update = [(at(300), progress(10)), (at(900), progress(100)), (at(1_300), version(dest))];
        let fail = [(at(400), refused())];
        let clumsy = self.offers.len() == 1;
        match self.temper {
            Temper::Obedient | Temper::Stuttering => self.plan.extend(update),
            Temper::Clumsy if !clumsy => self.plan.extend(update),
            Temper::Failing | Temper::Clumsy => self.plan.extend(fail),
            Temper::Silent => {}
            Temper::Stuck => self.plan.extend([(at(300), progress(10))]),
            Temper::Downgrading => self.plan.extend([(at(300), progress(10)), (at(900), version("0.9.0"))]),
        }
    }

    /// Says something by itself.
    pub(crate) fn say(&mut self, said: Said, now: Timestamp) {
        self.plan.push((now, said));
    }

    /// When it next has something to say.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.session?;
        let planned = self.plan.iter().map(|(at, _)| *at).min();
        if self.outbox.is_empty() { planned } else { Some(Timestamp::EPOCH) }
    }

    /// What it says now, the unacknowledged first.
    pub(crate) fn speak(&mut self, now: Timestamp) -> Vec<Report> {
        let Some(session) = self.session else { return Vec::new() };
        let (due, rest): (Vec<_>, Vec<_>) = self.plan.drain(..).partition(|(at, _)| *at <= now);
        self.plan = rest;
        for (_, said) in due {
            if let Said::Version(version) = &said {
                self.version = version.as_str().to_owned();
                self.informed.insert(self.version.clone());
            }
            let times = if self.temper == Temper::Stuttering { 2 } else { 1 };
            for _ in 0..times {
                self.said += 1;
                self.outbox.push(Report {
                    device: self.id,
                    module: ModuleName::default_module(),
                    order: ReportOrder { session, n: self.said },
                    at: now,
                    // Its gateway knows.
                    told: None,
                    said: said.clone(),
                });
            }
        }
        self.outbox.clone()
    }

    /// What it said was taken.
    pub(crate) fn acknowledged(&mut self) {
        self.outbox.clear();
    }
}
