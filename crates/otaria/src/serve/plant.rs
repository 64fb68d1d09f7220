//! A planted fault, for tests of the tests: whoever checks the pace must find this one.

use std::time::Duration;

use async_trait::async_trait;
use otaria_core::ids::JobNo;
use otaria_core::pace::Micros;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::pace::{Emission, Grant, Pace, PaceWish};

/// Grants whatever is wanted, at once. Chosen by `OTARIA_PLANT=no-pace`, and loud about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoPace;

#[async_trait]
impl Pace for NoPace {
    async fn take(&self, wishes: &[PaceWish], now: Timestamp) -> Result<Vec<Grant>, Unavailable> {
        tracing::warn!("OTARIA_PLANT=no-pace: MaximumPerMinute does not hold");
        let all = |wish: &PaceWish| Grant {
            emissions: vec![Emission { date: Micros::from(now), tokens: wish.want }],
            next_at: now + Duration::from_millis(10),
        };
        Ok(wishes.iter().map(all).collect())
    }

    async fn forget(&self, _: &[JobNo]) -> Result<(), Unavailable> {
        Ok(())
    }
}
