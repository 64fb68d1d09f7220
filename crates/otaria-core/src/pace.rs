//! How many notices of a job may go out, and when: GCRA without a burst, in microseconds.
//!
//! Never waits and never sends; it dates tokens. A holder of a token writes its notice at the token's date
//! or up to [`MAX_DELAY`] later, never earlier. A token that was asked for and not used is lost: giving it
//! back would let two notices ride on one date. So is the rest of an emission that was only partly wanted.
//!
//! Invariant: in any half-open window of 60 s the devices see at most R notices of a job, whatever the
//! caller's stalls, losses of this state, and delays up to [`MAX_DELAY`]; where the rate changed within the
//! window, at most the largest of the rates in it.
//!
//! Why it holds. What devices see in `[t, t + 60 s)` was dated in `[t - D, t + 60 s)`, a half-open span of
//! W = 60 s + D. Emissions of b tokens lie at least p >= W / n apart, so at most n of them fit, and
//! n * b <= R. Across a change of rate see [`Cadence::gap`].

mod vectors;

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::time::Timestamp;
pub use vectors::{Step, VECTORS, Vector};

/// How late a notice may reach its device after its token's date: 0.3 s from the date to the write, 0.1 s
/// between two clocks, 0.1 s from the socket to the device.
pub const MAX_DELAY: Duration = Duration::from_millis(500);

/// How far ahead tokens are dated in one process: claims are committed in this time, before the date.
pub const HORIZON_EMBEDDED: Duration = Duration::from_secs(2);

/// How far ahead tokens are dated where several processes share the state. Shorter, since a cancel waits
/// for it.
pub const HORIZON_CLUSTERED: Duration = Duration::from_millis(400);

/// How far a process's clock may be from the true one.
pub const CLOCK_ERROR: Duration = Duration::from_millis(100);

/// The span W that is held: a minute, and the delay that may push notices into it from before.
const WINDOW_MICROS: u64 = 60_500_000;

/// Above this rate emissions carry several tokens, so that a minute never needs more than 2,000 of them.
const EMISSIONS_MIN: u32 = 1_000;

/// An instant in unix microseconds: at R = 10,000 emissions lie 60.5 ms apart, and milliseconds would
/// waste up to a percent of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

impl Micros {
    /// Makes an instant of unix microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Unix microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The first millisecond that is not before this instant: a token rounded down would be used early.
    #[must_use]
    pub const fn ceil(self) -> Timestamp {
        let below = self.0.div_euclid(1_000);
        Timestamp::from_millis(if self.0.rem_euclid(1_000) == 0 { below } else { below + 1 })
    }
}

impl From<Timestamp> for Micros {
    fn from(at: Timestamp) -> Self {
        Self(at.millis().saturating_mul(1_000))
    }
}

impl Add<Duration> for Micros {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Micros {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// Notices of one job in any minute; at least one. What a caller may ask for is in [`crate::rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PerMinute(u32);

impl PerMinute {
    /// What a job gets that names no rate.
    pub const DEFAULT: Self = Self(10_000);

    /// A rate; `None` for zero, with which a job would never end.
    #[must_use]
    pub const fn new(notices: u32) -> Option<Self> {
        if notices == 0 { None } else { Some(Self(notices)) }
    }

    /// Notices in a minute.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The rhythm that a rate makes: so many tokens at once, so far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Tokens of one emission, all with the same date.
    pub tokens: u32,
    /// From one emission to the next, at least.
    pub period: Duration,
}

impl Cadence {
    /// The rhythm of a rate: 99.1 % of it or more is used in the mean, all of it in the fullest window.
    #[must_use]
    pub const fn of(rate: PerMinute) -> Self {
        let thousandth = rate.0 / EMISSIONS_MIN;
        let tokens = if thousandth == 0 { 1 } else { thousandth };
        let emissions = (rate.0 / tokens) as u64;
        Self { tokens, period: Duration::from_micros(WINDOW_MICROS.div_ceil(emissions)) }
    }

    /// How long after an emission of this rhythm the first one of `next` may come.
    ///
    /// The longer period is enough while emissions carry equally many tokens: then no gap in a window is
    /// shorter than the faster rhythm's. Otherwise both periods are needed. Then every emission has its own
    /// whole period within the window (those before the change the one that follows, those after it the one
    /// before), each brings at most R/W tokens per second of it, and the sum stays below the largest R. With
    /// the longer one alone 2,999 and 3,000 a minute would make 3,001 in a window.
    #[must_use]
    pub fn gap(self, next: Self) -> Duration {
        if self.tokens == next.tokens { self.period.max(next.period) } else { self.period + next.period }
    }
}

/// Tokens that share one date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emission {
    /// Not before this instant may their notices be written.
    pub date: Micros,
    /// How many notices.
    pub tokens: u32,
}

/// Where one job's pace stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The next emission is not dated before this (the theoretical arrival time).
    tat: Micros,
    /// The last emission and the rhythm it had; `None` before the first.
    last: Option<(Micros, Cadence)>,
    /// Tokens of the last emission that nobody took; good until its date is past or the rate changes.
    left: u32,
    rate: PerMinute,
    /// Which setting of the job's rate this is.
    version: u64,
}

impl Pace {
    /// The pace of a job that never had a token: it begins at once.
    #[must_use]
    pub const fn new(rate: PerMinute, version: u64, now: Micros) -> Self {
        Self { tat: now, last: None, left: 0, rate, version }
    }

    /// The pace of a job whose state is not known: after a start of the process, or when shared state is
    /// gone.
    ///
    /// Tokens may be out there that are dated up to `horizon` after another process's clock; the last of
    /// them is taken for an emission. When the rate may have changed since, begin with the rate from before
    /// and follow with [`Pace::set_rate`].
    #[must_use]
    pub fn after_loss(rate: PerMinute, version: u64, now: Micros, horizon: Duration) -> Self {
        let cadence = Cadence::of(rate);
        let last = now + horizon + 2 * CLOCK_ERROR;
        Self { tat: last + cadence.period, last: Some((last, cadence)), left: 0, rate, version }
    }

    /// Sets the rate, unless a setting of the same or a later version is known. Says whether it did.
    ///
    /// Setting a rate to and fro never shortens the wait for the next emission. What was left of the last one is
    /// lost: it would reach devices as notices of a rate that never granted so many at once, perhaps in a minute
    /// that holds none of the earlier rate.
    pub fn set_rate(&mut self, rate: PerMinute, version: u64) -> bool {
        if version <= self.version {
            return false;
        }
        (self.rate, self.version, self.left) = (rate, version, 0);
        if let Some((date, cadence)) = self.last {
            self.tat = self.tat.max(date + cadence.gap(Cadence::of(rate)));
        }
        true
    }

    /// Takes at most `want` tokens, dated from `now` to `horizon` later, the earliest first.
    ///
    /// What was left of the last emission is taken first while its date is not past; what was not taken by
    /// then does not come back. The work is bounded by the emissions that fit in
    /// the horizon (66 in [`HORIZON_EMBEDDED`]), not by `want`.
    pub fn take(&mut self, now: Micros, want: u32, horizon: Duration) -> Vec<Emission> {
        let cadence = Cadence::of(self.rate);
        let (mut wanted, mut emissions) = (want, Vec::new());
        if let Some((date, _)) = self.last
            && date >= now
            && self.left.min(wanted) > 0
        {
            let tokens = self.left.min(wanted);
            emissions.push(Emission { date, tokens });
            wanted -= tokens;
            self.left -= tokens;
        }
        while wanted > 0 {
            let date = self.tat.max(now);
            if date > now + horizon {
                break;
            }
            let tokens = cadence.tokens.min(wanted);
            emissions.push(Emission { date, tokens });
            wanted -= tokens;
            self.left = cadence.tokens - tokens;
            self.last = Some((date, cadence));
            self.tat = date + cadence.period;
        }
        emissions
    }

    /// The first instant at which [`Pace::take`] gives something again.
    #[must_use]
    pub fn next_at(&self, horizon: Duration) -> Micros {
        self.tat - horizon
    }

    /// The rate in force.
    #[must_use]
    pub const fn rate(&self) -> PerMinute {
        self.rate
    }
}

#[cfg(test)]
mod tests;
