//! The pace of jobs where several processes push: GCRA as one script, with the very answers of
//! [`otaria_core::pace`].
//!
//! Never waits, and never asks twice: tokens whose answer was lost are lost.
//!
//! # Whose clock
//!
//! `now` is the caller's, read from the shared clock; the script compares it with the server's time.
//! A caller ahead by more than half of [`CLOCK_ERROR`] is refused: its tokens would be dated later than the
//! others expect. A caller behind is moved up to the server's time less as much. So any two `now` in use at
//! the same moment differ by at most the error, whatever a caller did between its look at the clock and the
//! call. That is what [`after_loss`](otaria_core::pace::Pace::after_loss) counts on, twice over: tokens that
//! are still out there are dated at most `horizon + error` after the `now` that finds the loss, and the new
//! state takes the last of them to be dated `horizon + 2 * error` after it; the rest is for the clocks of
//! two servers, when one took over from the other.
//!
//! # What is lost
//!
//! A state that is missing, or of another incarnation (see the crate's words), counts as lost. A job is only
//! taken for new when its caller says so *and* it was made after the present incarnation began: nobody can
//! have paced it in the one before. A state runs out after ten idle minutes; then no token of the last minute
//! can be out there, and the gap that follows costs less than a second and a period.
//!
//! Invariant: whoever asks, from however many processes, across flush, restart and failover: in any half-open
//! 60 s the devices see at most MaximumPerMinute notices of a job.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use otaria_core::ids::JobNo;
use otaria_core::pace::{CLOCK_ERROR, Emission, Micros, PerMinute};
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::pace::{Grant, Pace, PaceWish};

use crate::incarnation::Seen;
use crate::keys::{Keys, PACE_UNITS};
use crate::link::RedisLink;
use crate::script::Lua;

const DOING: &str = "asking for tokens";

/// See the module.
pub struct RedisPace {
    link: RedisLink,
    take: Lua,
    horizon: Duration,
    /// How far a caller's clock may be off; `None` in tests that make their own time.
    guard: Option<Duration>,
    seen: [Seen; PACE_UNITS],
}

impl std::fmt::Debug for RedisPace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisPace").field("horizon", &self.horizon).finish_non_exhaustive()
    }
}

impl RedisPace {
    /// Tokens are dated up to `horizon` ahead
    /// ([`HORIZON_CLUSTERED`](otaria_core::pace::HORIZON_CLUSTERED)), the same in all processes. Begins the
    /// incarnations where there are none, so that jobs that are made from now on may begin at once.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn begin(link: RedisLink, horizon: Duration) -> Result<Self, Unavailable> {
        let take = Lua::new(include_str!("pace/take.lua"));
        let pace = Self { link, take, horizon, guard: Some(CLOCK_ERROR / 2), seen: Default::default() };
        for unit in 0..PACE_UNITS {
            // Its instant is not looked at: it is moved up to the server's time.
            pace.take_in_unit(unit, std::iter::empty(), Micros::from_micros(0), horizon).await?;
        }
        Ok(pace)
    }

    /// Believes every `now`.
    #[cfg(test)]
    pub(crate) fn in_made_time(mut self) -> Self {
        self.guard = None;
        self
    }

    /// As if another server, which led meanwhile, had begun an incarnation.
    #[cfg(test)]
    pub(crate) fn see_a_later_incarnation(&self, job: JobNo) {
        let seen = &self.seen[Keys::pace_unit(job)];
        seen.note(seen.get() + 1);
    }

    /// The same for any instant and horizon.
    pub(crate) async fn take_at(
        &self,
        wishes: &[PaceWish],
        now: Micros,
        horizon: Duration,
    ) -> Result<Vec<Grant>, Unavailable> {
        let mut units: [Vec<usize>; PACE_UNITS] = Default::default();
        for (n, wish) in wishes.iter().enumerate() {
            units[Keys::pace_unit(wish.job)].push(n);
        }
        let asked = units.iter().enumerate().filter(|(_, places)| !places.is_empty());
        let answers = join_all(asked.map(|(unit, places)| async move {
            let wishes = places.iter().map(|n| wishes[*n]);
            (places, self.take_in_unit(unit, wishes, now, horizon).await)
        }));
        let mut grants: Vec<Option<Grant>> = vec![None; wishes.len()];
        for (places, answer) in answers.await {
            for (place, grant) in places.iter().zip(answer?) {
                grants[*place] = Some(grant);
            }
        }
        let all: Option<Vec<Grant>> = grants.into_iter().collect();
        all.ok_or(Unavailable::while_doing(DOING))
    }

    async fn take_in_unit(
        &self,
        unit: usize,
        wishes: impl Iterator<Item = PaceWish> + Clone,
        now: Micros,
        horizon: Duration,
    ) -> Result<Vec<Grant>, Unavailable> {
        let keys = self.link.keys();
        let jobs = wishes.clone().map(|wish| keys.pace(wish.job));
        let keys: Vec<String> = std::iter::once(keys.pace_incarnation(unit)).chain(jobs).collect();
        let mut call = self
            .take
            .call(&keys)
            .arg(self.seen[unit].get())
            .arg(now.micros())
            .arg(horizon.as_micros())
            .arg(self.guard.map_or(-1, |guard| i64::try_from(guard.as_micros()).unwrap_or(-1)));
        for wish in wishes {
            call.add(wish.rate.get());
            call.add(wish.rate_version);
            call.add(wish.want);
            call.add(u8::from(wish.fresh));
            call.add(Micros::from(wish.created_at).micros());
        }
        let answer: Vec<i64> = self.link.run(&call, DOING).await?;
        let (incarnation, grants) = read(&answer, keys.len() - 1).ok_or(Unavailable::while_doing(DOING))?;
        self.seen[unit].note(incarnation);
        Ok(grants)
    }
}

/// The incarnation and as many grants as jobs were asked for.
fn read(answer: &[i64], jobs: usize) -> Option<(u64, Vec<Grant>)> {
    let mut numbers = answer.iter().copied();
    let incarnation = u64::try_from(numbers.next()?).ok()?;
    let mut grants = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        let next_at = Micros::from_micros(numbers.next()?).ceil();
        let rate = PerMinute::new(u32::try_from(numbers.next()?).ok()?)?;
        let mut emissions = Vec::new();
        for _ in 0..numbers.next()? {
            let date = Micros::from_micros(numbers.next()?);
            emissions.push(Emission { date, tokens: u32::try_from(numbers.next()?).ok()? });
        }
        grants.push(Grant { emissions, next_at, rate });
    }
    Some((incarnation, grants))
}

#[async_trait]
impl Pace for RedisPace {
    async fn take(&self, wishes: &[PaceWish], now: Timestamp) -> Result<Vec<Grant>, Unavailable> {
        let grants = self.take_at(wishes, now.into(), self.horizon).await;
        let result = if grants.is_ok() { "granted" } else { "unavailable" };
        metrics::counter!("otaria_redis_pace_calls_total", "result" => result).increment(1);
        grants
    }

    async fn forget(&self, _: &[JobNo]) -> Result<(), Unavailable> {
        // States run out by themselves: another process may still be pacing these jobs.
        Ok(())
    }
}
