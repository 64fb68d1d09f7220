//! A planted fault, for tests of the tests: whoever checks the pace must find this one.
//!
//! Takes two variables that no deployment has both of, so that it cannot be switched on by accident; anything else in
//! them ends the start.

use std::time::Duration;

use async_trait::async_trait;
use otaria_core::ids::JobNo;
use otaria_core::pace::Micros;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::pace::{Emission, Grant, Pace, PaceWish};

/// Grants whatever is wanted, at once. Chosen by `OTARIA_PLANT=no-pace`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoPace;

/// The fault that `OTARIA_PLANT` names, if the start was told by `OTARIA_PLANT_I_TEST=yes` that this is a test.
pub(crate) fn planted() -> anyhow::Result<Option<NoPace>> {
    let told = std::env::var("OTARIA_PLANT_I_TEST").is_ok_and(|word| word == "yes");
    match (std::env::var("OTARIA_PLANT").ok().as_deref(), told) {
        (None, _) => Ok(None),
        (Some("no-pace"), true) => {
            tracing::error!("a fault is planted: no-pace. MaximumPerMinute does not hold");
            metrics::gauge!("otaria_planted_faults").set(1.0);
            Ok(Some(NoPace))
        }
        (Some(_), _) => anyhow::bail!("OTARIA_PLANT plants faults for tests of the tests; unset it"),
    }
}

#[async_trait]
impl Pace for NoPace {
    async fn take(&self, wishes: &[PaceWish], now: Timestamp) -> Result<Vec<Grant>, Unavailable> {
        let all = |wish: &PaceWish| Grant {
            emissions: vec![Emission { date: Micros::from(now), tokens: wish.want }],
            next_at: now + Duration::from_millis(10),
            rate: wish.rate,
        };
        Ok(wishes.iter().map(all).collect())
    }

    async fn forget(&self, _: &[JobNo]) -> Result<(), Unavailable> {
        Ok(())
    }
}
