//! The product as its users have it: the real binary in processes of its own, reached by its public faces
//! only, with third-party clients and with devices that keep a record of their own.
//!
//! Never looks into the server: what is checked is what callers and devices are told. `OTARIA_TEST_FULL=1`
//! does longer runs, `OTARIA_TEST_SEED=n` repeats one.

mod actions;
mod alarms;
mod broker;
mod cancel;
mod cloud;
mod cluster;
mod crash;
mod demo;
mod device;
mod faces;
mod feed;
mod grpc;
mod http;
mod malformed;
mod mqtt;
mod objects;
mod readme;
mod refusals;
mod rollout;
mod rules;
mod schedule;
mod serve;
mod server;

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// What should happen at once happens within this time, also on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Whoever hears nothing for so long is believed to have been told nothing.
pub(crate) const QUIET: Duration = Duration::from_millis(700);

/// Between two looks at what cannot be waited for otherwise.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until there is something to be seen.
pub(crate) async fn eventually<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let seen = timeout(patience, async {
        loop {
            match look().await {
                Some(seen) => return seen,
                None => sleep(LOOK).await,
            }
        }
    });
    seen.await.unwrap_or_else(|_| panic!("{what}: not within {patience:?}"))
}

/// Whether the longer runs are wanted.
pub(crate) fn full() -> bool {
    std::env::var_os("OTARIA_TEST_FULL").is_some()
}

/// A seed from `OTARIA_TEST_SEED`, else drawn; printed, so that a run can be repeated.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("OTARIA_TEST_SEED").ok().map(|text| text.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| rand::random::<u32>().into());
    println!("OTARIA_TEST_SEED={seed}");
    seed
}

/// Milliseconds of a span, for what is printed.
pub(crate) fn ms(since: Instant) -> u128 {
    since.elapsed().as_millis()
}
