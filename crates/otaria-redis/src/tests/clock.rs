//! One time for all.

use std::time::Duration;

use otaria_ports::clock::{Clock, contract};
use redis::cmd;
use rustix::process::{Pid, Signal, kill_process};

use super::{Server, config, config_at, process, until};
use crate::SharedClock;

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn it_keeps_the_contract_and_shows_the_servers_time() {
    let config = config();
    let links = [process(&config).await, process(&config).await];
    let clocks = [SharedClock::start(&links[0]), SharedClock::start(&links[1])];
    contract::it_does_not_run_backwards(&*clocks[0]);
    contract::it_judges_by_what_it_shows(&*clocks[0]);
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

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn while_the_server_stands_still_nothing_is_judged() {
    let server = Server::start(&[]).await;
    let pid = server.child.as_ref().and_then(|child| child.id()).unwrap();
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let link = process(&config_at(&server.url())).await;
    let clock = SharedClock::start(&link);
    contract::it_judges_by_what_it_shows(&*clock);

    kill_process(pid, Signal::STOP).unwrap();
    let stopped = clock.now();
    // The last look was up to half a second ago.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    contract::it_judges_by_what_it_shows(&*clock);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    contract::once_lost_it_goes_on_and_judges_nothing(&*clock);
    assert!(clock.now().since(stopped) >= Duration::from_millis(2_190), "it goes on as it went");

    kill_process(pid, Signal::CONT).unwrap();
    until(Duration::from_secs(10), || async { clock.judge().is_some() }).await;
    contract::it_judges_by_what_it_shows(&*clock);
}
