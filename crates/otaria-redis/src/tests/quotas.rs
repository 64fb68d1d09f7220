//! Quotas over several processes, and without Redis.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::AccountNo;
use otaria_ports::quotas::{NoQuotas, Quotas, contract};

use super::{Server, config, config_at, process};
use crate::RedisQuotas;

const TABLE: &[(u32, &[&str])] = &[(20, &["QueryOTAFirmware"]), (5, &["CancelOTATaskByJob", "Other"])];

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn it_keeps_the_contract() {
    for (action, per_second) in [("CancelOTATaskByJob", 5), ("QueryOTAFirmware", 20)] {
        let quotas = RedisQuotas::new(process(&config()).await, TABLE, Arc::new(NoQuotas));
        contract::one_too_many_is_told_when_to_come_back(&quotas, action, per_second).await;
    }
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn processes_share_an_accounts_quota_and_it_fills_again() {
    let config = config();
    let a = RedisQuotas::new(process(&config).await, TABLE, Arc::new(NoQuotas));
    let b = RedisQuotas::new(process(&config).await, TABLE, Arc::new(NoQuotas));
    let call = async |quotas: &RedisQuotas| quotas.take(AccountNo(1), "CancelOTATaskByJob").await.unwrap();
    for n in 0..5 {
        assert_eq!(call(if n % 2 == 0 { &a } else { &b }).await, Ok(()));
    }
    let refused = call(&b).await.unwrap_err();
    assert!(refused.retry_after > Duration::from_millis(100), "{refused:?}");
    assert_eq!(b.take(AccountNo(1), "Other").await.unwrap(), Ok(()), "each action has its own");
    assert_eq!(b.take(AccountNo(1), "Unlimited").await.unwrap(), Ok(()));
    tokio::time::sleep(refused.retry_after).await;
    assert_eq!(call(&a).await, Ok(()));
    assert!(call(&a).await.is_err());
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn without_redis_the_local_limits_decide() {
    let mut server = Server::start(&[]).await;
    let quotas = RedisQuotas::new(process(&config_at(&server.url())).await, TABLE, Arc::new(NoQuotas));
    for _ in 0..5 {
        assert_eq!(quotas.take(AccountNo(1), "Other").await.unwrap(), Ok(()));
    }
    server.kill().await;
    for _ in 0..20 {
        assert_eq!(quotas.take(AccountNo(1), "Other").await.unwrap(), Ok(()));
    }
}
