//! Devices that only pretend: they take notices, think for a moment, and report as their temper is.

use std::collections::BTreeSet;
use std::time::Duration;

use otaria_core::ids::{DeviceId, InformedVersion, ModuleName};
use otaria_core::task::{FailedStep, Percent, Report, ReportOrder, Said};
use otaria_core::time::Timestamp;

use crate::medium::Life;

/// How a device behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Updates.
    Obedient,
    /// Updates, and says everything twice.
    Stuttering,
    /// Updates in its own time.
    Slow,
    /// Reports a failure every time.
    Rejecting,
    /// Fails at first, then updates.
    Clumsy,
    /// Takes notices and never answers.
    Silent,
    /// Reports progress and nothing more.
    Stuck,
    /// Reports 100 percent and goes back, says it is done, and is not.
    Lying,
    /// Reports progress, and then a version that nobody asked for.
    Downgrading,
    /// Loses its connection at every notice, comes back, and updates.
    Flapping,
}

pub(crate) const TEMPERS: [Temper; 11] = [
    Temper::Obedient,
    Temper::Stuttering,
    Temper::Obedient,
    Temper::Rejecting,
    Temper::Silent,
    Temper::Clumsy,
    Temper::Stuck,
    Temper::Slow,
    Temper::Flapping,
    Temper::Lying,
    Temper::Downgrading,
];

/// What a device does at a moment.
#[derive(Clone, Debug)]
enum Plan {
    Say(Said),
    Drop,
    Come,
}

/// What became of a device's moment.
#[derive(Debug)]
pub(crate) enum Moment {
    Reports(Life, Vec<Report>),
    Drops,
    Comes,
    Nothing,
}

/// One device.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) name: String,
    pub(crate) temper: Temper,
    pub(crate) version: String,
    /// Where it is connected, and in which session.
    pub(crate) at: Option<(Life, i64)>,
    said: u32,
    plan: Vec<(Timestamp, Plan)>,
    offer: Option<i64>,
    offers: u32,
    /// What is not acknowledged.
    outbox: Vec<Report>,
    /// When it says that once more.
    again_at: Option<Timestamp>,
}

/// All devices, and when each has something to do.
#[derive(Default)]
pub(crate) struct Fleet {
    pub(crate) devices: Vec<Device>,
    agenda: BTreeSet<(Timestamp, usize)>,
}

/// How long a device waits for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(3);

fn informs(text: &str) -> Plan {
    // Versions in here are plain text.
    InformedVersion::parse(text).map_or(Plan::Drop, |version| Plan::Say(Said::Version(version)))
}

fn progress(percent: i64) -> Plan {
    let percent = Percent::new(percent).unwrap_or_else(|| Percent::new(0).expect("0 is a percentage"));
    Plan::Say(Said::Progress { percent, desc: String::new() })
}

fn refuses(step: FailedStep) -> Plan {
    Plan::Say(Said::Refused { step, desc: "no".to_owned() })
}

impl Device {
    pub(crate) fn new(id: DeviceId, name: String, temper: Temper) -> Self {
        let version = "1.0.0".to_owned();
        Self {
            id,
            name,
            temper,
            version,
            at: None,
            said: 0,
            plan: Vec::new(),
            offer: None,
            offers: 0,
            outbox: Vec::new(),
            again_at: None,
        }
    }

    fn next(&self) -> Option<Timestamp> {
        let connected = self.at.is_some();
        let planned =
            self.plan.iter().filter(|(_, plan)| connected != matches!(plan, Plan::Come)).map(|(at, _)| *at);
        planned.chain(self.again_at.filter(|_| connected && !self.outbox.is_empty())).min()
    }

    /// Plans what a notice makes it do.
    fn works(&mut self, version: &str, now: Timestamp) {
        let at = |millis| now + Duration::from_millis(millis);
        let mut update =
            vec![(at(300), progress(10)), (at(900), progress(100)), (at(1_300), informs(version))];
        let is_first = self.offers == 1;
        match self.temper {
            Temper::Obedient | Temper::Stuttering => self.plan.append(&mut update),
            Temper::Slow => {
                let slow =
                    [(at(7_000), progress(3)), (at(40_000), progress(60)), (at(75_000), informs(version))];
                self.plan.extend(slow);
            }
            Temper::Clumsy if !is_first => self.plan.append(&mut update),
            Temper::Clumsy => self.plan.push((at(400), refuses(FailedStep::Download))),
            Temper::Rejecting => {
                self.plan.extend([(at(200), progress(5)), (at(400), refuses(FailedStep::Verify))]);
            }
            Temper::Silent => {}
            Temper::Stuck => self.plan.push((at(300), progress(10))),
            Temper::Lying => {
                let own = self.version.clone();
                let lies = [(at(200), progress(100)), (at(300), progress(100)), (at(500), progress(40))];
                self.plan.extend(lies);
                self.plan.push((at(900), informs(&own)));
            }
            Temper::Downgrading => self.plan.extend([(at(300), progress(10)), (at(900), informs("0.9.0"))]),
            Temper::Flapping => {
                self.plan.extend([(at(20), Plan::Drop), (at(2_500), Plan::Come)]);
                let late = [(at(3_000), progress(50)), (at(3_400), informs(version))];
                self.plan.extend(late);
            }
        }
    }
}

impl Fleet {
    fn plan_again(&mut self, place: usize, before: Option<Timestamp>) {
        if let Some(at) = before {
            self.agenda.remove(&(at, place));
        }
        if let Some(at) = self.devices[place].next() {
            self.agenda.insert((at, place));
        }
    }

    fn change<T>(&mut self, place: usize, change: impl FnOnce(&mut Device) -> T) -> T {
        let before = self.devices[place].next();
        let done = change(&mut self.devices[place]);
        self.plan_again(place, before);
        done
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// Who has something to do now.
    pub(crate) fn due(&self, now: Timestamp) -> Option<usize> {
        self.agenda.first().filter(|(at, _)| *at <= now).map(|(_, place)| *place)
    }

    /// Connects; the first thing it says is its version.
    pub(crate) fn connect(&mut self, place: usize, at: Life, session: i64, now: Timestamp) {
        self.change(place, |device| {
            device.at = Some((at, session));
            device.said = 0;
            let unsaid: Vec<_> =
                device.outbox.drain(..).map(|report| (now, Plan::Say(report.said))).collect();
            device.plan.retain(|(_, plan)| !matches!(plan, Plan::Come));
            let rest = std::mem::take(&mut device.plan);
            device.plan.push((now, informs(&device.version.clone())));
            device.plan.extend(unsaid);
            device.plan.extend(rest);
        });
    }

    pub(crate) fn disconnect(&mut self, place: usize) {
        self.change(place, |device| device.at = None);
    }

    /// Takes a notice; one that it works on already changes nothing.
    pub(crate) fn hear(&mut self, place: usize, wire: i64, version: &str, now: Timestamp) {
        self.change(place, |device| {
            if device.offer != Some(wire) {
                device.offer = Some(wire);
                device.offers += 1;
                device.works(version, now);
            }
        });
    }

    /// What it does now.
    pub(crate) fn act(&mut self, place: usize, now: Timestamp) -> Moment {
        self.change(place, |device| {
            let Some((life, session)) = device.at else {
                let comes = device.plan.iter().any(|(at, plan)| *at <= now && matches!(plan, Plan::Come));
                device.plan.retain(|(at, plan)| !(*at <= now && matches!(plan, Plan::Come)));
                return if comes { Moment::Comes } else { Moment::Nothing };
            };
            let due = device.plan.iter().position(|(at, plan)| *at <= now && !matches!(plan, Plan::Come));
            if let Some(due) = due {
                match device.plan.remove(due).1 {
                    Plan::Drop => return Moment::Drops,
                    Plan::Come => {}
                    Plan::Say(said) => device.say(session, said, now),
                }
            }
            device.again_at = Some(now + PATIENCE);
            Moment::Reports(life, device.outbox.clone())
        })
    }

    /// What it said in a session up to a place was taken.
    pub(crate) fn acknowledged(&mut self, place: usize, last: ReportOrder) {
        self.change(place, |device| {
            device.outbox.retain(|report| report.order.session != last.session || report.order > last);
        });
    }

    /// Nothing more is done of its own accord; for those who come back in peace.
    pub(crate) fn calm(&mut self, place: usize) {
        self.change(place, |device| {
            if device.temper == Temper::Flapping {
                device.temper = Temper::Obedient;
                device.plan.retain(|(_, plan)| matches!(plan, Plan::Say(_)));
            }
        });
    }
}

impl Device {
    fn say(&mut self, session: i64, said: Said, now: Timestamp) {
        if let Said::Version(version) = &said {
            self.version = version.as_str().to_owned();
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
}
