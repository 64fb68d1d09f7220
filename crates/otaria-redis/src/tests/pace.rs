//! The script against the function, and against losses.

use std::collections::VecDeque;
use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::pace::{Emission, HORIZON_CLUSTERED, Micros, Pace as Gcra, PerMinute, Step, VECTORS};
use otaria_core::time::Timestamp;
use otaria_ports::pace::{Pace, PaceWish, contract};
use redis::cmd;

use super::{Server, config, config_at, process};
use crate::keys::Keys;
use crate::{RedisLink, RedisPace};

async fn pace(link: &RedisLink) -> RedisPace {
    RedisPace::begin(link.clone(), HORIZON_CLUSTERED).await.unwrap().in_made_time()
}

fn rate(notices: u32) -> PerMinute {
    PerMinute::new(notices).unwrap()
}

fn wish(job: i64, notices: u32, rate_version: u64, want: u32, fresh: bool) -> PaceWish {
    PaceWish { job: JobNo(job), rate: rate(notices), rate_version, want, fresh, created_at: Timestamp::EPOCH }
}

fn at(micros: i64) -> Micros {
    Micros::from_micros(micros)
}

/// Rate and version as they are kept.
async fn kept_rate(link: &RedisLink, job: i64) -> (u32, u64) {
    let kept: String = link.query(cmd("GET").arg(link.keys().pace(JobNo(job))), "looking").await.unwrap();
    let words: Vec<&str> = kept.split(' ').collect();
    (words[6].parse().unwrap(), words[7].parse().unwrap())
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn the_script_answers_every_vector() {
    let link = process(&config()).await;
    let pace = pace(&link).await;
    for (job, vector) in (1..).zip(VECTORS) {
        // Asking for nothing sets state and rate without taking anything.
        let mut state = (10, 0, 0);
        for step in vector.steps {
            let (want, fresh, now, span, expected) = match *step {
                Step::New { now, rate, version } => {
                    state = (rate, version, now);
                    (0, true, now, 0, vec![])
                }
                Step::Lost { now, rate, version, horizon } => {
                    state = (rate, version, now);
                    (0, false, now, horizon, vec![])
                }
                Step::Rate { rate, version, taken } => {
                    let before = kept_rate(&link, job).await;
                    let asked = wish(job, rate, version, 0, true);
                    pace.take_at(&[asked], at(state.2), Duration::ZERO).await.unwrap();
                    let after = kept_rate(&link, job).await;
                    assert_eq!(after, if taken { (rate, version) } else { before }, "{}", vector.name);
                    if taken {
                        (state.0, state.1) = (rate, version);
                    }
                    continue;
                }
                Step::Take { now, want, horizon, emissions } => {
                    (want, true, now, horizon, emissions.to_vec())
                }
            };
            let asked = wish(job, state.0, state.1, want, fresh);
            let grants = pace.take_at(&[asked], at(now), Duration::from_micros(span)).await.unwrap();
            let dates: Vec<_> = grants[0].emissions.iter().map(|e| (e.date.micros(), e.tokens)).collect();
            assert_eq!(dates, expected, "{}: {step:?}", vector.name);
        }
    }
}

/// A small generator: the same questions in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn the_script_and_the_function_never_differ() {
    let link = process(&config()).await;
    let pace = pace(&link).await;
    let mut dice = Dice(7);
    let horizons = [0, 400_000, 2_000_000].map(Duration::from_micros);
    for round in 0..60 {
        let horizon = horizons[dice.roll(3) as usize];
        // As large as instants are in this century, in the past of tests, and near 2^53.
        let mut now = [0, 1_790_000_000_000_000, 8_000_000_000_000_000][dice.roll(3) as usize];
        let mut models: Vec<Option<Gcra>> = vec![None; 3];
        let mut version = 1;
        for _ in 0..40 {
            let mut wishes = Vec::new();
            let mut expected = Vec::new();
            for (job, model) in models.iter_mut().enumerate() {
                let notices = [10, 600, 999, 1_000, 1_999, 2_999, 3_000, 10_000, 1_234_567, u32::MAX]
                    [dice.roll(10) as usize];
                let rate_version = match dice.roll(4) {
                    0 => version - dice.roll(2),
                    1 => {
                        // Once beyond what a double can tell apart.
                        version += if dice.roll(30) == 0 { 1 << 60 } else { 1 };
                        version
                    }
                    _ => version,
                };
                let want = [0, 1, 7, 40, 1_000][dice.roll(5) as usize];
                let fresh = dice.roll(2) == 0;
                let asked = wish(round * 3 + job as i64, notices, rate_version, want, fresh);
                let model = model.get_or_insert_with(|| {
                    if fresh {
                        Gcra::new(asked.rate, rate_version, at(now))
                    } else {
                        Gcra::after_loss(asked.rate, rate_version, at(now), horizon)
                    }
                });
                model.set_rate(asked.rate, rate_version);
                expected.push((model.take(at(now), want, horizon), model.next_at(horizon).ceil()));
                wishes.push(asked);
            }
            let grants = pace.take_at(&wishes, at(now), horizon).await.unwrap();
            let answers: Vec<_> = grants.into_iter().map(|grant| (grant.emissions, grant.next_at)).collect();
            assert_eq!(answers, expected, "round {round} at {now} of {wishes:?}");
            let step = dice.roll(1_000_000) as i64;
            now = if dice.roll(20) == 0 { (now - step).max(0) } else { now + step };
        }
    }
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn it_keeps_the_contract() {
    let link = process(&config()).await;
    let pace = pace(&link).await;
    contract::no_minute_sees_more_than_the_limit(&pace).await;
    contract::jobs_have_their_own_pace(&pace).await;
    contract::a_grant_says_its_limit(&pace).await;
}

/// The most tokens in any half-open minute.
fn worst_minute(mut dates: Vec<(i64, u32)>) -> u32 {
    dates.sort_unstable();
    let (mut window, mut sum, mut worst) = (VecDeque::new(), 0, 0);
    for (date, tokens) in dates {
        while window.front().is_some_and(|(first, _)| *first <= date - 60_000_000) {
            sum -= window.pop_front().map_or(0, |(_, tokens)| tokens);
        }
        window.push_back((date, tokens));
        sum += tokens;
        worst = worst.max(sum);
    }
    worst
}

fn dates(emissions: &[Emission]) -> impl Iterator<Item = (i64, u32)> {
    emissions.iter().map(|emission| (emission.date.micros(), emission.tokens))
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn no_minute_is_overfull_across_flushes_whoever_asks() {
    for notices in [10, 600, 3_000, 10_000] {
        let server = Server::start(&[]).await;
        let config = config_at(&server.url());
        let links = [process(&config).await, process(&config).await];
        let paces = [pace(&links[0]).await, pace(&links[1]).await];
        let (mut now, mut seen) = (1_790_000_000_000_000_i64, Vec::new());
        for step in 0_i64..900 {
            // Two processes ask by turns, the clock of one up to the error ahead of the other's.
            let who = (step % 2) as usize;
            let asked = wish(1, notices, 1, 1_000, step == 0);
            let own = at(now + if who == 0 { 100_000 } else { -100_000 });
            let grants = paces[who].take_at(&[asked], own, HORIZON_CLUSTERED).await.unwrap();
            seen.extend(dates(&grants[0].emissions));
            now += 150_000;
            if [200, 201, 320, 610].contains(&step) {
                server.cli(&["flushall"]).await;
            }
        }
        let worst = worst_minute(seen);
        assert!(worst <= notices, "{worst} of {notices}");
        assert!(f64::from(worst) > f64::from(notices) * 0.95, "{worst} of {notices}: it hardly went on");
    }
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_server_that_comes_back_with_an_older_state_does_not_repeat_tokens() {
    let mut server = Server::start(&[]).await;
    let link = process(&config_at(&server.url())).await;
    let pace = pace(&link).await;
    let begin = 1_790_000_000_000_000;
    let mut seen = Vec::new();
    let mut ask = async |now: i64| {
        let grants = pace.take_at(&[wish(1, 600, 1, 1_000, now == begin)], at(now), HORIZON_CLUSTERED).await;
        let grant = grants.ok()?.remove(0);
        seen.extend(dates(&grant.emissions));
        Some(grant)
    };
    ask(begin).await.unwrap();
    server.cli(&["save"]).await;
    for step in 1..=100 {
        ask(begin + step * 100_000).await.unwrap();
    }
    server.kill().await;
    assert!(ask(begin + 10_000_000).await.is_none());
    server.run().await;
    // The clock stands: the worst there is.
    let grant = loop {
        if let Some(grant) = ask(begin + 10_000_000).await {
            break grant;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(grant.emissions, [], "it counts as lost, though the file brought a state");
    for step in 101..=700 {
        ask(begin + step * 100_000).await.unwrap();
    }
    let worst = worst_minute(seen);
    assert!((560..=600).contains(&worst), "{worst}");
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_state_of_an_older_incarnation_counts_as_lost_even_if_its_server_knows_nothing_of_it() {
    let link = process(&config()).await;
    let pace = pace(&link).await;
    let now = 1_790_000_000_000_000;
    let take = async |now| pace.take_at(&[wish(1, 600, 1, 1_000, true)], at(now), HORIZON_CLUSTERED).await;
    assert_eq!(take(now).await.unwrap()[0].emissions.len(), 4);
    // A server that once led leads again: its run id is right, and its number is the one it had.
    pace.see_a_later_incarnation(JobNo(1));
    let after_loss = wish(1, 600, 1, 1_000, false);
    let grants = pace.take_at(&[after_loss], at(now + 100_834), HORIZON_CLUSTERED).await.unwrap();
    assert_eq!(grants[0].emissions, []);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_caller_ahead_is_refused_and_one_behind_is_moved_up() {
    let link = process(&config()).await;
    let pace = RedisPace::begin(link.clone(), HORIZON_CLUSTERED).await.unwrap();
    let server_now = || async {
        let (seconds, micros): (i64, i64) = link.query(&cmd("TIME"), "looking").await.unwrap();
        Timestamp::from_millis(seconds * 1_000 + micros / 1_000)
    };
    let asked = |job, made| PaceWish { created_at: made, ..wish(job, 600, 1, 1, true) };
    let now = server_now().await;
    assert!(pace.take(&[asked(1, now)], now + Duration::from_secs(1)).await.is_err());

    let made_later = now + Duration::from_secs(1);
    let grants = pace.take(&[asked(2, made_later)], now - Duration::from_secs(60)).await.unwrap();
    let date = grants[0].emissions[0].date.ceil();
    let after = server_now().await;
    assert!(date + Duration::from_millis(102) >= now && date <= after, "{date:?} {now:?}");

    let made_before = now - Duration::from_secs(3_600);
    let grants = pace.take(&[asked(3, made_before)], server_now().await).await.unwrap();
    assert_eq!(grants[0].emissions, [], "somebody may have paced it before this incarnation");
}

/// Who made the job reads another clock than the server: within their error it may be the older of the two.
#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_job_as_old_as_the_incarnation_may_have_been_paced_before_it() {
    let link = process(&config()).await;
    let pace = RedisPace::begin(link.clone(), HORIZON_CLUSTERED).await.unwrap();
    for (job, millis_later, tokens) in [(1, 99, 0), (2, 102, 1)] {
        let key = link.keys().pace_incarnation(Keys::pace_unit(JobNo(job)));
        let kept: String = link.query(cmd("GET").arg(key), "looking").await.unwrap();
        let began: i64 = kept.split(' ').next().unwrap().parse().unwrap();
        let created_at = Timestamp::from_millis(began / 1_000 + millis_later);
        let asked = PaceWish { created_at, ..wish(job, 600, 1, 1, true) };
        // Its own instant is moved up to the server's.
        let grants = pace.take(&[asked], Timestamp::EPOCH).await.unwrap();
        assert_eq!(grants[0].emissions.len(), tokens, "{millis_later} ms later");
    }
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn states_run_out_when_nobody_asks() {
    let link = process(&config()).await;
    let pace = pace(&link).await;
    pace.take_at(&[wish(5, 600, 1, 1, true)], at(0), HORIZON_CLUSTERED).await.unwrap();
    let left: i64 = link.query(cmd("PTTL").arg(link.keys().pace(JobNo(5))), "looking").await.unwrap();
    assert!((595_000..=600_000).contains(&left), "{left}");
}
