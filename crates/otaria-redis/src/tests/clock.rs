//! One time for all.

use std::time::Duration;

use otaria_ports::clock::{Clock, contract};
use redis::cmd;

use super::{config, process};
use crate::SharedClock;

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn it_keeps_the_contract_and_shows_the_servers_time() {
    let config = config();
    let links = [process(&config).await, process(&config).await];
    let clocks = [SharedClock::start(&links[0]), SharedClock::start(&links[1])];
    contract::it_does_not_run_backwards(&*clocks[0]);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = clocks[0].now();
        let (seconds, micros): (i64, i64) = links[0].query(&cmd("TIME"), "looking").await.unwrap();
        let (server, after) = (seconds * 1_000 + micros / 1_000, clocks[1].now());
        assert!(
            (before.millis() - 20..=after.millis() + 20).contains(&server),
            "{before:?} {server} {after:?}"
        );
    }
}
