//! What a job offers to its devices, with download links that answer for 24 hours.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use otaria_core::firmware::{FirmwareKind, SignMethod};
use otaria_core::ids::JobNo;
use otaria_core::job::DownloadProtocol;
use otaria_core::link::{Link, LinkKey, Linked, sign, stream_id};
use otaria_core::time::Timestamp;
use otaria_ports::pusher::{Offer, OfferedFile, SignMethod as Digest};

use crate::book::JobFacts;

/// Links answer for 24 hours at least; those made within an hour are the same.
const LINK_LIFE: Duration = Duration::from_secs(25 * 3600);
const HOUR_MILLIS: i64 = 3_600_000;
/// Offers kept; beyond that those of the smallest jobs go and are made again when needed.
const KEPT: usize = 256;

/// When a link made at `now` ends. The same through an hour, so links of that hour are the same.
pub(crate) fn link_end(now: Timestamp) -> Timestamp {
    Timestamp::from_millis(hour_of(now) * HOUR_MILLIS) + LINK_LIFE
}

/// Which hour it is, counted from 1970.
fn hour_of(now: Timestamp) -> i64 {
    now.millis().div_euclid(HOUR_MILLIS)
}

/// Makes offers and keeps those of this hour.
#[derive(Debug)]
pub struct Offers {
    link_key: LinkKey,
    base: Arc<str>,
    kept: Mutex<BTreeMap<JobNo, (i64, Arc<Offer>)>>,
}

impl Offers {
    /// Offers whose links begin with `base` and are signed with `link_key`.
    #[must_use]
    pub fn new(link_key: LinkKey, base: Arc<str>) -> Self {
        Self { link_key, base, kept: Mutex::default() }
    }

    /// What the job offers at `now`.
    #[must_use]
    pub fn of(&self, facts: &JobFacts, now: Timestamp) -> Arc<Offer> {
        let hour = hour_of(now);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, offer)) = kept.get(&facts.job.no)
            && *of == hour
            && offer.tags == facts.job.new.tags
        {
            return Arc::clone(offer);
        }
        let offer = Arc::new(self.make(facts, link_end(now)));
        kept.insert(facts.job.no, (hour, Arc::clone(&offer)));
        while kept.len() > KEPT {
            kept.pop_first();
        }
        offer
    }

    fn make(&self, facts: &JobFacts, expires_at: Timestamp) -> Offer {
        let firmware = &facts.firmware;
        let by_mqtt = facts.job.new.policy.download_protocol == DownloadProtocol::Mqtt;
        let files = firmware.files.iter().enumerate().map(|(index, file)| {
            // A package has at most 20 files.
            let file_index = u8::try_from(index).unwrap_or(u8::MAX);
            let to = Linked::PackageFile { firmware: firmware.no, file: file_index };
            let url = || format!("{}/d/{}", self.base, sign(&self.link_key, Link { to, expires_at }));
            OfferedFile {
                name: file.name.clone(),
                url: if by_mqtt { String::new() } else { url() },
                size: file.size,
                md5: file.md5.clone(),
                sha256: file.sha256.clone(),
            }
        });
        Offer {
            version: firmware.new.dest_version.clone(),
            module: firmware.new.module.clone(),
            files: files.collect(),
            stream_id: by_mqtt.then(|| stream_id(&self.link_key, facts.job.no)),
            sign_method: match firmware.new.sign_method {
                SignMethod::Md5 => Digest::Md5,
                SignMethod::Sha256 => Digest::Sha256,
            },
            is_diff: matches!(firmware.new.kind, FirmwareKind::Difference { .. }),
            udi: Some(firmware.new.udi.clone()).filter(|udi| !udi.is_empty()),
            tags: facts.job.new.tags.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_an_hour_end_together_and_hold_for_a_day_at_least() {
        let hour = Timestamp::from_millis(490_000 * HOUR_MILLIS);
        let (last, next) = (hour + Duration::from_millis(3_599_999), hour + Duration::from_secs(3_600));
        assert_eq!(link_end(hour), link_end(last));
        assert_ne!(link_end(last), link_end(next));
        assert!(link_end(last) > last + Duration::from_secs(24 * 3_600));
        assert_eq!(link_end(next), next + LINK_LIFE);
    }
}
