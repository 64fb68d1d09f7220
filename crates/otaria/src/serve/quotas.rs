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

/// Calls a second of each limited action: the seed API's numbers, and those that the operator set in their place.
/// 0 lifts the limit of an action.
///
/// # Errors
/// Names an action that there is not.
pub(crate) fn per_second(set: &BTreeMap<String, u32>) -> anyhow::Result<BTreeMap<&'static str, u32>> {
    let seed = PER_SECOND.iter().flat_map(|(n, actions)| actions.iter().map(|action| (*action, *n)));
    let mut all: BTreeMap<&'static str, u32> = seed.collect();
    for (action, n) in set {
        let Some(name) = otaria_openapi::action_names().find(|name| name == action) else {
            anyhow::bail!("limits.quotas: `{action}` is no action of the API");
        };
        all.insert(name, *n);
    }
    all.retain(|_, n| *n > 0);
    Ok(all)
}

impl GovernedQuotas {
    /// So many calls a second of each of these actions.
    pub(crate) fn new(per_second: &BTreeMap<&'static str, u32>) -> Self {
        let actions = per_second.iter().map(|(action, n)| {
            let quota = Quota::per_second(NonZeroU32::new(*n).unwrap_or(NonZeroU32::MIN));
            (*action, RateLimiter::keyed(quota))
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

    #[test]
    fn operators_set_and_lift_limits_of_actions_that_there_are() {
        let set = |action: &str, n| per_second(&BTreeMap::from([(action.to_owned(), n)]));
        assert_eq!(set("QueryOTAJob", 500).unwrap()["QueryOTAJob"], 500);
        assert!(!set("QueryOTAJob", 0).unwrap().contains_key("QueryOTAJob"));
        assert_eq!(set("RegisterDevice", 3).unwrap()["RegisterDevice"], 3);
        assert!(set("QueryOtaJob", 5).unwrap_err().to_string().contains("QueryOtaJob"));
    }

    #[tokio::test]
    async fn governor_keeps_the_contract() {
        let quotas = GovernedQuotas::new(&per_second(&BTreeMap::new()).unwrap());
        contract::one_too_many_is_told_when_to_come_back(&quotas, "CancelOTATaskByJob", 5).await;
    }
}
