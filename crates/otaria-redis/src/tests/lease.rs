//! What one process at a time may do.

use redis::cmd;

use super::{config, process};
use crate::RedisLease;

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn one_process_at_a_time_has_a_lease_until_it_gives_it_up_or_is_not_heard() {
    let config = config();
    let (first, second) = (process(&config).await, process(&config).await);
    let lease = |link| RedisLease::new(link, "work");
    let (a, b) = (lease(first.clone()), lease(second));
    assert!(a.take().await.unwrap());
    assert!(!b.take().await.unwrap());
    assert!(a.take().await.unwrap(), "a holder renews");
    b.give_up().await.unwrap();
    assert!(!b.take().await.unwrap(), "only the holder can give it up");
    a.give_up().await.unwrap();
    assert!(b.take().await.unwrap());
    assert!(RedisLease::new(first.clone(), "other work").take().await.unwrap());

    let left: i64 = first.query(cmd("PTTL").arg(first.keys().lease("work")), "looking").await.unwrap();
    let lasts = i64::try_from(RedisLease::LASTS.as_millis()).unwrap();
    assert!((lasts - 5_000..=lasts).contains(&left), "{left}");
    // As after the time, or a flush.
    let _: i64 = first.query(cmd("DEL").arg(first.keys().lease("work")), "forgetting").await.unwrap();
    assert!(a.take().await.unwrap());
    assert!(!b.take().await.unwrap(), "the one before hears that it lost it");
}
