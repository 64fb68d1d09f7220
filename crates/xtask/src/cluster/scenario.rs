//! What can go wrong, and when: the plan of a scenario is drawn from a seed before anything starts.

use std::time::Duration;

use clap::ValueEnum;

use crate::clock::Dice;

/// How long a process is stopped, or a network cut.
const OUTAGE: Duration = Duration::from_secs(10);

/// The fault falls so long after the first push, while there is work for two minutes.
const FAULT_FROM_MS: u64 = 20_000;
const FAULT_TO_MS: u64 = 40_000;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// Nothing goes wrong.
    Baseline,
    /// A dispatcher is killed by SIGKILL and does not come back.
    DispatcherKill,
    /// A dispatcher stands still for 10 s and goes on.
    DispatcherStop,
    /// Redis forgets everything.
    RedisFlush,
    /// Redis stops and comes back empty.
    RedisRestart,
    /// PostgreSQL stops and comes back.
    PostgresRestart,
    /// A gateway is killed by SIGKILL; its devices connect to the other.
    GatewayKill,
    /// A dispatcher and PostgreSQL do not reach each other for 10 s.
    NetDispatcherPostgres,
    /// A dispatcher and Redis do not reach each other for 10 s.
    NetDispatcherRedis,
    /// All processes of the product are restarted, one after the other, while clients call.
    RollingRestart,
}

impl Scenario {
    pub(crate) const ALL: &[Self] = &[
        Self::Baseline,
        Self::DispatcherKill,
        Self::DispatcherStop,
        Self::RedisFlush,
        Self::RedisRestart,
        Self::PostgresRestart,
        Self::GatewayKill,
        Self::NetDispatcherPostgres,
        Self::NetDispatcherRedis,
        Self::RollingRestart,
    ];

    /// As it is called on the command line and in the verdict.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::DispatcherKill => "dispatcher_kill",
            Self::DispatcherStop => "dispatcher_stop",
            Self::RedisFlush => "redis_flush",
            Self::RedisRestart => "redis_restart",
            Self::PostgresRestart => "postgres_restart",
            Self::GatewayKill => "gateway_kill",
            Self::NetDispatcherPostgres => "net_dispatcher_postgres",
            Self::NetDispatcherRedis => "net_dispatcher_redis",
            Self::RollingRestart => "rolling_restart",
        }
    }

    /// Whether the dispatchers need networks of their own.
    pub(crate) const fn has_networks(self) -> bool {
        matches!(self, Self::NetDispatcherPostgres | Self::NetDispatcherRedis)
    }

    /// Whether one process on SQLite can play it.
    pub(crate) const fn is_for_one_process(self) -> bool {
        matches!(self, Self::Baseline)
    }

    /// Whether one dispatcher is out of play, and its shards with it.
    pub(crate) const fn orphans_shards(self) -> bool {
        matches!(
            self,
            Self::DispatcherKill
                | Self::DispatcherStop
                | Self::NetDispatcherPostgres
                | Self::NetDispatcherRedis
        )
    }

    /// The least share of the limit that has to be used, in percent.
    pub(crate) const fn used_percent_min(self) -> Option<f64> {
        if matches!(self, Self::Baseline) { Some(98.0) } else { None }
    }

    /// The longest that devices may wait for the next push after the fault.
    pub(crate) const fn resume_seconds_max(self) -> Option<f64> {
        if matches!(self, Self::DispatcherKill) { Some(5.0) } else { None }
    }
}

/// What was drawn for a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// From the first push to the fault.
    pub(crate) after: Duration,
    /// Which of several the fault hits, by its place.
    pub(crate) victim: usize,
    pub(crate) outage: Duration,
    /// For everything else that is drawn.
    pub(crate) dice_seed: u64,
}

impl Plan {
    /// The same seed draws the same plan. `of` is how many there are that the fault may hit.
    pub(crate) fn draw(seed: u64, scenario: Scenario, of: usize) -> Self {
        let mut dice = Dice::named(seed, scenario.name());
        let after_ms = FAULT_FROM_MS + dice.below(FAULT_TO_MS - FAULT_FROM_MS + 1);
        let victim = dice.place(of.max(1));
        Self { after: Duration::from_millis(after_ms), victim, outage: OUTAGE, dice_seed: dice.next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_its_name_on_the_command_line() {
        assert_eq!(Scenario::ALL.len(), Scenario::value_variants().len());
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_possible_value().unwrap().get_name(), scenario.name());
        }
    }

    #[test]
    fn a_seed_draws_the_same_plan_again_and_another_for_each_scenario() {
        let draw = |seed, scenario| Plan::draw(seed, scenario, 3);
        assert_eq!(draw(1, Scenario::DispatcherKill), draw(1, Scenario::DispatcherKill));
        assert_ne!(draw(1, Scenario::DispatcherKill), draw(2, Scenario::DispatcherKill));
        assert_ne!(draw(1, Scenario::DispatcherKill).after, draw(1, Scenario::DispatcherStop).after);
    }

    #[test]
    fn the_fault_falls_into_the_work_and_on_anybody() {
        let plans: Vec<Plan> = (0..300).map(|seed| Plan::draw(seed, Scenario::DispatcherKill, 3)).collect();
        assert!(plans.iter().all(|plan| (20.0..=40.0).contains(&plan.after.as_secs_f64())));
        assert!((0..3).all(|victim| plans.iter().any(|plan| plan.victim == victim)));
        assert!(plans.iter().any(|plan| plan.after.as_secs() < 23));
        assert!(plans.iter().any(|plan| plan.after.as_secs() > 37));
    }
}
