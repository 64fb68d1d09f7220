//! What becomes of letters when they arrive.

use std::sync::Arc;

use otaria_core::ids::DeviceId;
use otaria_engine::inbox;

use crate::book::Stimulus;
use crate::calls::Pending;
use crate::door::Door;
use crate::host::Answer;
use crate::medium::{Letter, Life};
use crate::world::World;

impl World {
    /// A letter arrives; one to somebody who died meanwhile does not.
    pub(crate) fn deliver(&mut self, letter: Letter) {
        let now = self.now();
        match letter {
            Letter::Notices { to, number, notices } => {
                if let Some(door) = self.door(to) {
                    door.take(number, notices);
                }
            }
            Letter::Fence { to, job, fence } => {
                if let Some(door) = self.door(to) {
                    door.fences.raise_job(job, fence, now);
                    door.witness.fence_raised(job, fence, now);
                }
            }
            Letter::Epoch { to, shard, epoch } => {
                if let Some(door) = self.door(to) {
                    door.fences.raise_shard(shard, epoch);
                    door.witness.epoch_raised(shard, epoch);
                }
            }
            Letter::Outdated { to, device, session } => {
                if let Some(door) = self.door(to) {
                    door.leave(device, session);
                }
            }
            Letter::Hangup { at, device, session } => self.hang_up(at, device, session),
            Letter::Signal { to, signal } => {
                if let Some(live) = self.hosts[to.host].live.as_mut().filter(|live| live.life == to) {
                    live.bus.hear(signal);
                    live.listens_at = live.listens_at.min(now + std::time::Duration::from_millis(50));
                }
            }
            Letter::Words { at, words } => {
                if let Some(shell) = self.shell_of(at) {
                    let words = Arc::new(words);
                    let (stimulus, shown) =
                        (Stimulus::Settle(Arc::clone(&words)), self.hosts[at.host].clock(now));
                    let call = async move { Answer::Done(inbox::settle(&shell, &words, shown).await) };
                    self.call(at.host, stimulus, Pending::Words, call);
                }
            }
            Letter::Reports { at, mut reports } => {
                if let Some(shell) = self.shell_of(at) {
                    let shown = self.hosts[at.host].clock(now);
                    // Only what the device says in its present session comes from its socket.
                    let Some(last) = reports.iter().map(|report| report.order).max() else { return };
                    let door = self.door(at);
                    for report in &mut reports {
                        report.at = shown;
                        let told = |door: &&mut Door| door.told(report.device, report.order.session);
                        report.told = door.as_ref().and_then(told);
                    }
                    let live = self.hosts[at.host].live.as_ref();
                    if let Some(history) = live.and_then(|live| live.history.as_ref()) {
                        reports.iter().for_each(|report| history.tell_report(report));
                    }
                    let place = reports.first().map_or(0, |report| self.places[&report.device]);
                    let stimulus = Stimulus::Take(Arc::new(reports.clone()));
                    let call = async move { Answer::Done(inbox::take(&shell, reports, shown).await) };
                    self.call(at.host, stimulus, Pending::Reports { place, last }, call);
                }
            }
            Letter::Buried { life } => {
                let mut inner = self.medium.lock();
                inner.registry.bury(life, now);
            }
        }
    }

    fn hang_up(&mut self, at: Life, device: DeviceId, session: i64) {
        let now = self.now();
        let Some(door) = self.door(at) else { return };
        door.leave(device, session);
        let mut inner = self.medium.lock();
        inner.registry.leave(device, session, now);
        drop(inner);
        let place = self.places[&device];
        if self.fleet.devices[place].at == Some((at, session)) {
            self.fleet.disconnect(place);
        }
    }

    fn door(&mut self, life: Life) -> Option<&mut crate::door::Door> {
        self.hosts[life.host].live.as_mut().filter(|live| live.life == life)?.door.as_mut()
    }

    pub(crate) fn shell_of(&self, life: Life) -> Option<Arc<otaria_engine::Shell>> {
        let live = self.hosts[life.host].live.as_ref().filter(|live| live.life == life)?;
        Some(Arc::clone(&live.shell))
    }
}
