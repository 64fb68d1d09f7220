//! What travels over channels: one byte of version, then postcard.
//!
//! Old and new binaries work side by side for a while, so a version is never changed: a new one is read from
//! one release on and written from the next. Whoever reads an unknown one drops and counts it; what was in it
//! looks lost, and everything here may be lost.

use std::sync::Arc;

use otaria_core::ids::{AccountNo, DeviceId, DeviceName, JobId, JobNo, ModuleName, ProductKey, Version};
use otaria_core::job::{JobStatus, Schedule, Tag};
use otaria_core::pace::PerMinute;
use otaria_core::task::{TaskKey, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_core::witness::Terms;
use otaria_ports::bus::Signal;
use otaria_ports::events::{Event, Happened};
use otaria_ports::pusher::{Notice, Offer, OfferedFile, SignMethod};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

const VERSION: u8 = 1;

/// Puts a message into its envelope.
pub(crate) fn pack(message: &impl Serialize) -> Vec<u8> {
    // Nothing that is written here can fail: no maps, no unknown lengths.
    postcard::to_extend(message, vec![VERSION]).unwrap_or_default()
}

/// Takes it out; `None` is counted, as what cannot be read.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let message = match bytes.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).ok(),
        Some(_) | None => None,
    };
    if message.is_none() {
        metrics::counter!("otaria_redis_unreadable_total").increment(1);
    }
    message
}

/// To gateways.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Mail {
    /// Notices, and the offers they name by place.
    Notices {
        offers: Vec<WireOffer>,
        notices: Vec<WireNotice>,
        /// What their jobs promise, in the order of the offers. Comes last: releases before it neither write nor
        /// miss it.
        #[serde(deserialize_with = "terms_if_there")]
        terms: Vec<Option<WireTerms>>,
    },
    Fence {
        job: i64,
        fence: u64,
    },
    Epoch {
        shard: u8,
        epoch: i64,
    },
    /// End a device's connection and tell `from` under this number.
    Close {
        device: i64,
        ask: u64,
        from: String,
    },
    /// End this one session, if it is still there: the device has a later one elsewhere.
    Outdated {
        device: i64,
        session: i64,
    },
}

/// From a gateway to who asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Closed {
    pub(crate) ask: u64,
    pub(crate) gateway: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireFile {
    name: String,
    url: String,
    size: u64,
    md5: String,
    sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireOffer {
    version: String,
    module: String,
    files: Vec<WireFile>,
    stream_id: Option<u32>,
    by_sha256: bool,
    is_diff: bool,
    udi: Option<String>,
    tags: Vec<(String, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireNotice {
    device: i64,
    job: i64,
    seq: u32,
    attempt: u8,
    wire_id: i64,
    session: i64,
    epoch: i64,
    fence: u64,
    not_before: i64,
    /// Milliseconds after `not_before`.
    valid: i64,
    offer: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct WireTerms {
    rate: u32,
    start: Option<i64>,
    finish: Option<i64>,
}

/// At the end of a message that an older release wrote there is nothing.
fn terms_if_there<'de, D: Deserializer<'de>>(rest: D) -> Result<Vec<Option<WireTerms>>, D::Error> {
    Ok(Vec::deserialize(rest).unwrap_or_default())
}

impl From<&Terms> for WireTerms {
    fn from(terms: &Terms) -> Self {
        let Terms { rate, schedule: Schedule { start, finish } } = terms;
        let millis = |at: &Option<Timestamp>| at.map(Timestamp::millis);
        Self { rate: rate.get(), start: millis(start), finish: millis(finish) }
    }
}

impl WireTerms {
    fn read(self) -> Option<Terms> {
        let at = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let schedule = Schedule { start: at(self.start), finish: at(self.finish) };
        Some(Terms { rate: PerMinute::new(self.rate)?, schedule })
    }
}

impl From<&Offer> for WireOffer {
    fn from(offer: &Offer) -> Self {
        // Taken apart, so that a new field is not forgotten here.
        let Offer { version, module, files, stream_id, sign_method, is_diff, udi, tags } = offer;
        let file = |file: &OfferedFile| {
            let OfferedFile { name, url, size, md5, sha256 } = file.clone();
            WireFile { name, url, size, md5, sha256 }
        };
        Self {
            version: version.to_string(),
            module: module.to_string(),
            files: files.iter().map(file).collect(),
            stream_id: *stream_id,
            by_sha256: match sign_method {
                SignMethod::Md5 => false,
                SignMethod::Sha256 => true,
            },
            is_diff: *is_diff,
            udi: udi.clone(),
            tags: tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        }
    }
}

impl WireOffer {
    fn read(self) -> Option<Offer> {
        let file = |WireFile { name, url, size, md5, sha256 }| OfferedFile { name, url, size, md5, sha256 };
        Some(Offer {
            version: Version::parse(&self.version).ok()?,
            module: ModuleName::parse(&self.module).ok()?,
            files: self.files.into_iter().map(file).collect(),
            stream_id: self.stream_id,
            sign_method: if self.by_sha256 { SignMethod::Sha256 } else { SignMethod::Md5 },
            is_diff: self.is_diff,
            udi: self.udi,
            tags: self.tags.into_iter().map(|(key, value)| Tag { key, value }).collect(),
        })
    }
}

impl Mail {
    /// Notices for one gateway; an offer that several share is written once.
    pub(crate) fn of_notices(batch: &[Notice]) -> Self {
        let mut shared: Vec<(&Arc<Offer>, &Option<Terms>)> = Vec::new();
        let mut notices = Vec::with_capacity(batch.len());
        for notice in batch {
            let Notice { key, attempt, wire_id, session, shard, fence, .. } = notice;
            let Notice { not_before, not_after, terms, offer, .. } = notice;
            // What a job offers and what it promises nearly always come in one combination.
            let same = |(known, promised): &(&Arc<Offer>, _)| Arc::ptr_eq(known, offer) && *promised == terms;
            let place = shared.iter().rposition(same).unwrap_or_else(|| {
                shared.push((offer, terms));
                shared.len() - 1
            });
            notices.push(WireNotice {
                device: key.device.0,
                job: key.job.0,
                seq: key.seq,
                attempt: *attempt,
                wire_id: *wire_id,
                session: *session,
                epoch: shard.1,
                fence: *fence,
                not_before: not_before.millis(),
                valid: not_after.millis().saturating_sub(not_before.millis()),
                offer: u32::try_from(place).unwrap_or(u32::MAX),
            });
        }
        let terms = shared.iter().map(|(_, terms)| terms.as_ref().map(WireTerms::from)).collect();
        let offers = shared.into_iter().map(|(offer, _)| WireOffer::from(&**offer)).collect();
        Self::Notices { offers, notices, terms }
    }
}

/// Notices as they were sent; those whose offer cannot be read are left out.
pub(crate) fn read_notices(
    offers: Vec<WireOffer>,
    notices: Vec<WireNotice>,
    terms: &[Option<WireTerms>],
) -> Vec<Notice> {
    let offers: Vec<Option<Arc<Offer>>> =
        offers.into_iter().map(|offer| offer.read().map(Arc::new)).collect();
    let read = |notice: WireNotice| {
        let device = DeviceId(notice.device);
        let place = usize::try_from(notice.offer).ok()?;
        let offer = offers.get(place)?.clone()?;
        Some(Notice {
            key: TaskKey { device, job: JobNo(notice.job), seq: notice.seq },
            attempt: notice.attempt,
            wire_id: notice.wire_id,
            session: notice.session,
            shard: (device.shard(), notice.epoch),
            fence: notice.fence,
            not_before: Timestamp::from_millis(notice.not_before),
            not_after: Timestamp::from_millis(notice.not_before.saturating_add(notice.valid)),
            terms: terms.get(place).copied().flatten().and_then(WireTerms::read),
            offer,
        })
    };
    notices.into_iter().filter_map(read).collect()
}

/// Signals of one process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Signals {
    pub(crate) from: String,
    pub(crate) signals: Vec<WireSignal>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireSignal {
    TasksReady { job: i64, devices: Vec<i64> },
    JobChanged(i64),
    JobOpened(i64),
    JobWanted(i64),
    Missed,
}

impl From<Signal> for WireSignal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::TasksReady { job, devices } => {
                Self::TasksReady { job: job.0, devices: devices.into_iter().map(|device| device.0).collect() }
            }
            Signal::JobChanged(job) => Self::JobChanged(job.0),
            Signal::JobOpened(job) => Self::JobOpened(job.0),
            Signal::JobWanted(job) => Self::JobWanted(job.0),
            Signal::Missed => Self::Missed,
        }
    }
}

impl From<WireSignal> for Signal {
    fn from(signal: WireSignal) -> Self {
        match signal {
            WireSignal::TasksReady { job, devices } => {
                Self::TasksReady { job: JobNo(job), devices: devices.into_iter().map(DeviceId).collect() }
            }
            WireSignal::JobChanged(job) => Self::JobChanged(JobNo(job)),
            WireSignal::JobOpened(job) => Self::JobOpened(JobNo(job)),
            WireSignal::JobWanted(job) => Self::JobWanted(JobNo(job)),
            WireSignal::Missed => Self::Missed,
        }
    }
}

/// Who listens where, from each gateway with a feed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listeners {
    pub(crate) accounts: Vec<i64>,
}

/// Events, or the word that some were lost.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Feed {
    Events(Vec<WireEvent>),
    Lost,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireEvent {
    account: i64,
    product: String,
    job: String,
    job_no: i64,
    at: i64,
    what: WireHappened,
}

#[derive(Debug, Serialize, Deserialize)]
enum WireHappened {
    Task {
        device: String,
        device_id: i64,
        previous: Option<String>,
        status: String,
        attempt: u8,
        percent: Option<u8>,
        revision: i64,
        desc: Option<String>,
    },
    Job {
        status: i64,
    },
}

impl From<Event> for WireEvent {
    fn from(event: Event) -> Self {
        let Event { account, product, job, job_no, at, what } = event;
        let what = match what {
            Happened::Task { device, device_id, previous, status, attempt, percent, revision, desc } => {
                WireHappened::Task {
                    device: device.to_string(),
                    device_id: device_id.0,
                    previous: previous.map(|status| status.as_str().to_owned()),
                    status: status.as_str().to_owned(),
                    attempt,
                    percent,
                    revision,
                    desc,
                }
            }
            Happened::Job { status } => WireHappened::Job { status: status.code() },
        };
        Self {
            account: account.0,
            product: product.to_string(),
            job: job.to_string(),
            job_no: job_no.0,
            at: at.millis(),
            what,
        }
    }
}

impl WireEvent {
    pub(crate) fn read(self) -> Option<Event> {
        let what = match self.what {
            WireHappened::Task { device, device_id, previous, status, attempt, percent, revision, desc } => {
                Happened::Task {
                    device: DeviceName::parse(&device).ok()?,
                    device_id: DeviceId(device_id),
                    previous: match previous {
                        Some(status) => Some(TaskStatus::parse(&status)?),
                        None => None,
                    },
                    status: TaskStatus::parse(&status)?,
                    attempt,
                    percent,
                    revision,
                    desc,
                }
            }
            WireHappened::Job { status } => Happened::Job { status: JobStatus::from_code(status)? },
        };
        Some(Event {
            account: AccountNo(self.account),
            product: ProductKey::parse(&self.product).ok()?,
            job: JobId::parse(&self.job).ok()?,
            job_no: JobNo(self.job_no),
            at: Timestamp::from_millis(self.at),
            what,
        })
    }
}

#[cfg(test)]
mod tests;
