//! Calls under way: who gave them, and what their answers mean to the observer.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{JobId, JobNo};
use otaria_core::task::ReportOrder;
use otaria_engine::CommandError;

use crate::book::Stimulus;
use crate::host::{Answer, Call, How};
use crate::medium::HostNo;
use crate::world::World;

/// What waits for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Words,
    Reports {
        place: usize,
        last: ReportOrder,
    },
    Fetch {
        place: usize,
    },
    Create,
    /// The same call again, and what it made the first time.
    CreateAgain {
        first: JobId,
        other: bool,
    },
    Cancel {
        cancel: usize,
    },
    /// With what was known of calls that may end it.
    Pause {
        job: JobNo,
        waking: (u64, u64),
    },
    /// A call that may end a pause.
    Wakes {
        job: JobNo,
    },
    Other,
    /// Of a stranger, who must not find it.
    Trespass,
}

impl World {
    /// Gives a call to a host.
    pub(crate) fn call(
        &mut self,
        host: HostNo,
        stimulus: Stimulus,
        pending: Pending,
        future: impl Future<Output = Answer> + Send + 'static,
    ) {
        self.called += 1;
        let (number, now) = (self.called, self.now());
        if let Pending::Wakes { job } = &pending {
            let mut inner = self.medium.lock();
            if let Some(noted) = inner.book.jobs.get_mut(job) {
                noted.paused = None;
                noted.waking = (noted.waking.0 + 1, noted.waking.1 + 1);
            }
        }
        self.pending.insert(number, pending);
        let heard = match &stimulus {
            Stimulus::Take(reports) => Some(Arc::clone(reports)),
            _ => None,
        };
        let call = Call { number, stimulus, future: Box::pin(future), due: now };
        let to = &mut self.hosts[host];
        let mut how = std::mem::take(&mut to.next);
        if how.stop.is_none() && how.fault.is_none() {
            how = How::any(&mut self.medium.lock());
        }
        let answer = match to.live.as_mut() {
            Some(live) => live.call(call, now, &self.medium, how),
            None => None,
        };
        // Nothing else moved meanwhile: what the call left as it was is what these words mean nothing to.
        if let (Some(reports), Some((_, Answer::Done(Ok(()))))) = (heard, &answer) {
            let shown = self.hosts[host].clock(now);
            self.medium.lock().book.saw_nothing_left(&reports, shown);
        }
        self.answered(host, answer);
    }

    /// A call that stood still goes on.
    pub(crate) fn go_on(&mut self, host: HostNo, n: usize) {
        let now = self.now();
        let Some(live) = self.hosts[host].live.as_mut().filter(|live| n < live.calls.len()) else { return };
        let call = live.calls.remove(n);
        let answer = live.call(call, now, &self.medium, How::default());
        self.answered(host, answer);
    }

    fn answered(&mut self, host: HostNo, answer: Option<(u64, Answer)>) {
        let Some((number, answer)) = answer else { return };
        let now = self.now();
        if let Some(live) = &mut self.hosts[host].live {
            live.listens_at = live.listens_at.min(now + Duration::from_millis(50));
        }
        let Some(pending) = self.pending.remove(&number) else { return };
        let is_done = match &answer {
            Answer::Done(done) => done.is_ok(),
            Answer::Created(created) => created.is_ok(),
            Answer::Fetched(found) => found.is_ok(),
        };
        self.tell(|| format!("host {host} answers {pending:?}: {}", said(&answer)));
        match (pending, answer) {
            (Pending::Reports { place, last }, _) if is_done => self.fleet.acknowledged(place, last),
            (Pending::CreateAgain { first, other }, Answer::Created(answer)) => {
                self.compare_again(&first, other, &answer)
            }
            (Pending::Cancel { cancel }, _) if is_done => {
                if let Some(answered) = self.medium.lock().book.cancels.get_mut(cancel) {
                    *answered = Some(now);
                }
            }
            (Pending::Pause { job, waking }, _) if is_done => {
                let mut inner = self.medium.lock();
                if let Some(noted) =
                    inner.book.jobs.get_mut(&job).filter(|noted| noted.waking == waking && waking.0 == 0)
                {
                    noted.paused.get_or_insert(now);
                }
            }
            (Pending::Wakes { job }, _) => self.woke(job),
            (Pending::Fetch { place }, Answer::Fetched(Ok(Some((wire, job, version))))) => {
                let device = &self.fleet.devices[place];
                let (id, at) = (device.id, device.at);
                let live = self.hosts[host].live.as_mut();
                if let Some(live) = live
                    && let Some((life, session)) = at
                    && live.life == life
                    && let Some(door) = &mut live.door
                {
                    door.tell(id, session, job);
                }
                self.fleet.hear(place, wire, &version, now);
            }
            (Pending::Trespass, answer) => {
                let refused = matches!(
                    &answer,
                    Answer::Done(Err(CommandError::NotAllowed { .. } | CommandError::Unavailable(_)))
                );
                let said = said(&answer);
                self.medium.lock().book.check("I17", refused, || format!("a stranger is answered {said}"));
            }
            (Pending::Words, _) if !is_done => {
                let mut inner = self.medium.lock();
                inner.book.lost_words += 1;
                inner.book.count("words_failed");
            }
            _ => {}
        }
    }

    fn woke(&self, job: JobNo) {
        let mut inner = self.medium.lock();
        if let Some(noted) = inner.book.jobs.get_mut(&job) {
            noted.waking = (noted.waking.0 - 1, noted.waking.1 + 1);
        }
    }

    /// A call died with its host.
    pub(crate) fn forget(&mut self, number: u64) {
        match self.pending.remove(&number) {
            Some(Pending::Wakes { job }) => self.woke(job),
            Some(Pending::Words) => self.medium.lock().book.lost_words += 1,
            _ => {}
        }
    }

    fn compare_again(&self, first: &JobId, other: bool, answer: &Result<JobId, CommandError>) {
        let holds = match answer {
            Ok(again) => !other && again == first,
            Err(CommandError::Unavailable(_)) => true,
            Err(_) => other,
        };
        let what =
            format!("{first} with another body: {other}; {:?}", answer.as_ref().map_err(ToString::to_string));
        self.medium.lock().book.check("I12", holds, || what);
    }
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Done(Ok(())) => "done".to_owned(),
        Answer::Created(Ok(id)) => id.to_string(),
        Answer::Fetched(Ok(found)) => format!("{found:?}"),
        Answer::Done(Err(error)) | Answer::Created(Err(error)) | Answer::Fetched(Err(error)) => {
            error.to_string()
        }
    }
}
