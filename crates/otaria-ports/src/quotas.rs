//! How often an account may call an action.

use std::time::Duration;

use async_trait::async_trait;
use otaria_core::ids::AccountNo;

use crate::Unavailable;

/// The call is one too many; it may be repeated after the time given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls; repeat after {} ms", retry_after.as_millis())]
pub struct TooMany {
    /// How long to wait.
    pub retry_after: Duration,
}

/// Counts calls per account and action; all keys of an account share its quota.
#[async_trait]
pub trait Quotas: Send + Sync {
    /// Counts one call, or says how long to wait. `action` is the name of the call as the API spells it;
    /// actions without a limit always pass.
    async fn take(
        &self,
        account: AccountNo,
        action: &'static str,
    ) -> Result<Result<(), TooMany>, Unavailable>;
}

/// No limits: `serve --api-quota off`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoQuotas;

#[async_trait]
impl Quotas for NoQuotas {
    async fn take(&self, _: AccountNo, _: &'static str) -> Result<Result<(), TooMany>, Unavailable> {
        Ok(Ok(()))
    }
}

/// Holds for every [`Quotas`] that allows `per_second` calls of `action`.
pub mod contract {
    use super::{AccountNo, Quotas};

    /// The call after the last allowed one is told how long to wait, and other accounts are not.
    pub async fn one_too_many_is_told_when_to_come_back(
        quotas: &dyn Quotas,
        action: &'static str,
        per_second: u32,
    ) {
        for _ in 0..per_second {
            assert_eq!(quotas.take(AccountNo(1), action).await.unwrap(), Ok(()));
        }
        let refused = quotas.take(AccountNo(1), action).await.unwrap().unwrap_err();
        assert!(refused.retry_after.as_millis() > 0 && refused.retry_after.as_secs() <= 1, "{refused:?}");
        assert_eq!(quotas.take(AccountNo(2), action).await.unwrap(), Ok(()));
    }
}
