//! The `Quotas` port by governor: so many calls of an action a second, per account.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use async_trait::async_trait;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use otaria_core::ids::AccountNo;
use otaria_ports::Unavailable;
use otaria_ports::quotas::{Quotas, TooMany};

/// Calls a second of each action that has a limit: the seed API's own numbers.
const PER_SECOND: &[(u32, &[&str])] = &[
    (
        20,
        &[
            "QueryOTAFirmware",
            "CreateOTAStaticUpgradeJob",
            "CreateOTADynamicUpgradeJob",
            "ConfirmOTATask",
            "ReupgradeOTATask",
        ],
    ),
    (
        10,
        &[
            "GenerateOTAUploadURL",
            "CreateOTAFirmware",
            "ListOTAFirmware",
            "ModifyOTAFirmware",
            "DeleteOTAFirmware",
            "CreateOTAVerifyJob",
            "QueryOTAJob",
            "ListOTAJobByFirmware",
            "ListOTAJobByDevice",
            "ListOTATaskByJob",
            "ListOTAUnfinishedTaskByDevice",
            "CancelOTATaskByDevice",
            "CancelOTAStrategyByJob",
            "GenerateDeviceNameListURL",
            "CreateOTAModule",
            "UpdateOTAModule",
            "DeleteOTAModule",
            "ListOTAModuleByProduct",
            "ListOTAModuleVersionsByDevice",
        ],
    ),
    (5, &["CancelOTATaskByJob"]),
];

/// See the module.
pub(crate) struct GovernedQuotas {
    actions: BTreeMap<&'static str, DefaultKeyedRateLimiter<AccountNo>>,
    clock: DefaultClock,
}

impl GovernedQuotas {
    /// The seed API's limits.
    pub(crate) fn new() -> Self {
        let actions = PER_SECOND.iter().flat_map(|(per_second, actions)| {
            let quota = Quota::per_second(NonZeroU32::new(*per_second).unwrap_or(NonZeroU32::MIN));
            actions.iter().map(move |action| (*action, RateLimiter::keyed(quota)))
        });
        Self { actions: actions.collect(), clock: DefaultClock::default() }
    }
}

#[async_trait]
impl Quotas for GovernedQuotas {
    async fn take(
        &self,
        account: AccountNo,
        action: &'static str,
    ) -> Result<Result<(), TooMany>, Unavailable> {
        let Some(limiter) = self.actions.get(action) else { return Ok(Ok(())) };
        Ok(limiter.check_key(&account).map_err(|not_until| {
            let retry_after = not_until.wait_time_from(self.clock.now());
            TooMany { retry_after: retry_after.max(std::time::Duration::from_millis(1)) }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use otaria_ports::quotas::contract;

    #[tokio::test]
    async fn governor_keeps_the_contract() {
        let quotas = GovernedQuotas::new();
        contract::one_too_many_is_told_when_to_come_back(&quotas, "CancelOTATaskByJob", 5).await;
    }
}
