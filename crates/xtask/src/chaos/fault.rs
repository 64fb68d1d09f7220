//! What can go wrong, to whom, and for how long.
//!
//! Safety (the limits, no device lost, no notice after a cancellation) is promised under any of these, together or
//! not. That work goes on is promised as long as one process of each role and both stores are there; so two faults
//! overlap only where that stays true.

use std::time::Duration;

use crate::cluster::Role;

/// Which of the two installations a fault or a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum World {
    /// Many processes on PostgreSQL and Redis.
    Cluster,
    /// One process on SQLite, on a small disk.
    Single,
}

impl World {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Single => "single",
        }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// SIGKILL, and a start a while later.
    ApiKill,
    DispatcherKill,
    GatewayKill,
    /// SIGSTOP, and SIGCONT a while later.
    ApiStop,
    DispatcherStop,
    GatewayStop,
    /// Packets between the two vanish for a while.
    CutDispatcherPostgres,
    CutDispatcherRedis,
    CutGatewayPostgres,
    CutGatewayRedis,
    /// Redis forgets everything.
    RedisFlush,
    /// Redis ends and comes back empty.
    RedisRestart,
    /// PostgreSQL ends, with its sessions rolled back, and comes back.
    PostgresRestart,
    /// PostgreSQL ends as by a crash, and recovers.
    PostgresCrash,
    /// A process runs with a wall clock that is minutes off.
    ClockSkew,
    /// The disk of SQLite's folder has no free byte.
    DiskFull,
    /// SIGKILL of the one process on SQLite.
    ServerKill,
    /// SIGSTOP of the one process on SQLite.
    ServerStop,
}

/// What part of a world a fault takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// One process of a role.
    Process(Role),
    /// A store, for all.
    Store,
    /// Nothing that lasts: memory is lost, and that is all.
    Memory,
}

impl Kind {
    /// What happens to the cluster.
    pub(super) const CLUSTER: &[Self] = &[
        Self::ApiKill,
        Self::DispatcherKill,
        Self::GatewayKill,
        Self::ApiStop,
        Self::DispatcherStop,
        Self::GatewayStop,
        Self::CutDispatcherPostgres,
        Self::CutDispatcherRedis,
        Self::CutGatewayPostgres,
        Self::CutGatewayRedis,
        Self::RedisFlush,
        Self::RedisRestart,
        Self::PostgresRestart,
        Self::PostgresCrash,
        Self::ClockSkew,
    ];

    /// What happens to the one process on SQLite.
    pub(super) const SINGLE: &[Self] = &[Self::DiskFull, Self::ServerKill, Self::ServerStop];

    pub(super) const fn of(world: World) -> &'static [Self] {
        match world {
            World::Cluster => Self::CLUSTER,
            World::Single => Self::SINGLE,
        }
    }

    /// As it is called in the report.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ApiKill => "api_kill",
            Self::DispatcherKill => "dispatcher_kill",
            Self::GatewayKill => "gateway_kill",
            Self::ApiStop => "api_stop",
            Self::DispatcherStop => "dispatcher_stop",
            Self::GatewayStop => "gateway_stop",
            Self::CutDispatcherPostgres => "cut_dispatcher_postgres",
            Self::CutDispatcherRedis => "cut_dispatcher_redis",
            Self::CutGatewayPostgres => "cut_gateway_postgres",
            Self::CutGatewayRedis => "cut_gateway_redis",
            Self::RedisFlush => "redis_flush",
            Self::RedisRestart => "redis_restart",
            Self::PostgresRestart => "postgres_restart",
            Self::PostgresCrash => "postgres_crash",
            Self::ClockSkew => "clock_skew",
            Self::DiskFull => "disk_full",
            Self::ServerKill => "server_kill",
            Self::ServerStop => "server_stop",
        }
    }

    /// Which role it hits; `None` where that is drawn, or where it hits no process.
    pub(super) const fn role(self) -> Option<Role> {
        match self {
            Self::ApiKill | Self::ApiStop => Some(Role::Api),
            Self::DispatcherKill
            | Self::DispatcherStop
            | Self::CutDispatcherPostgres
            | Self::CutDispatcherRedis => Some(Role::Dispatcher),
            Self::GatewayKill | Self::GatewayStop | Self::CutGatewayPostgres | Self::CutGatewayRedis => {
                Some(Role::Gateway)
            }
            Self::ServerKill | Self::ServerStop => Some(Role::All),
            Self::RedisFlush
            | Self::RedisRestart
            | Self::PostgresRestart
            | Self::PostgresCrash
            | Self::ClockSkew
            | Self::DiskFull => None,
        }
    }

    /// How long it lasts at least and at most, in milliseconds.
    pub(super) const fn lasts_ms(self) -> (u64, u64) {
        match self {
            Self::ApiKill | Self::DispatcherKill | Self::GatewayKill => (500, 12_000),
            Self::ApiStop | Self::DispatcherStop | Self::GatewayStop => (1_000, 12_000),
            Self::CutDispatcherPostgres
            | Self::CutDispatcherRedis
            | Self::CutGatewayPostgres
            | Self::CutGatewayRedis => (2_000, 12_000),
            Self::RedisFlush => (0, 0),
            Self::RedisRestart | Self::PostgresRestart | Self::PostgresCrash => (0, 6_000),
            Self::ClockSkew => (10_000, 25_000),
            Self::DiskFull => (3_000, 15_000),
            Self::ServerKill => (500, 6_000),
            Self::ServerStop => (1_000, 8_000),
        }
    }

    /// Whether a process is started at the end of it, which needs the stores.
    const fn ends_with_a_start(self) -> bool {
        matches!(
            self,
            Self::ApiKill | Self::DispatcherKill | Self::GatewayKill | Self::ServerKill | Self::ClockSkew
        )
    }
}

/// A fault that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// From the beginning of the run.
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    /// The role that it hits, where it hits a process.
    pub(super) role: Option<Role>,
    /// Which of its role.
    pub(super) place: usize,
    /// How far the clock is off, in seconds; 0 but for [`Kind::ClockSkew`].
    pub(super) skew_s: i64,
}

impl Fault {
    pub(super) fn ends(&self) -> Duration {
        self.at + self.lasts
    }

    pub(super) fn world(&self) -> World {
        if Kind::SINGLE.contains(&self.kind) { World::Single } else { World::Cluster }
    }

    pub(super) const fn takes(&self) -> Taken {
        match (self.role, self.kind) {
            (Some(role), _) => Taken::Process(role),
            (None, Kind::RedisFlush) => Taken::Memory,
            (None, _) => Taken::Store,
        }
    }

    /// Whether the system still has to go on while both last.
    pub(super) fn may_overlap(&self, other: &Self) -> bool {
        match (self.takes(), other.takes()) {
            (Taken::Process(one), Taken::Process(two)) => one != two,
            (Taken::Process(_), Taken::Memory) | (Taken::Memory, Taken::Process(_)) => true,
            (Taken::Process(_), Taken::Store) => !self.kind.ends_with_a_start(),
            (Taken::Store, Taken::Process(_)) => !other.kind.ends_with_a_start(),
            (Taken::Store | Taken::Memory, Taken::Store | Taken::Memory) => false,
        }
    }

    /// What it does, for people.
    pub(super) fn told(&self) -> String {
        let whom = self.role.map(|role| match role {
            Role::All => "the server".to_owned(),
            Role::Api | Role::Dispatcher | Role::Gateway => format!("{} {}", role.name(), self.place),
        });
        let whom = whom.map_or(String::new(), |whom| format!(" of {whom}"));
        let skew = if self.skew_s == 0 { String::new() } else { format!(" by {:+} s", self.skew_s) };
        let lasts = if self.lasts.is_zero() {
            String::new()
        } else {
            format!(" for {:.1} s", self.lasts.as_secs_f64())
        };
        format!("{}{whom}{skew}{lasts}", self.kind.name())
    }
}
