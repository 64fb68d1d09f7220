//! Does to the installations what the plan says, and undoes it.
//!
//! Only the main thread strikes: processes live as long as the thread that started them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::fault::{Fault, Kind};
use super::world::Installation;
use crate::clock::unix_us;
use crate::cluster::Role;
use crate::process::Signal;

/// How often a process that does not come up is started again, as a supervisor would do.
const STARTS: u32 = 5;

const BETWEEN_STARTS: Duration = Duration::from_secs(1);

impl Installation {
    /// The fault falls.
    pub(super) fn strike(&mut self, fault: &Fault, faketime: &Path) -> Result<()> {
        match fault.kind {
            Kind::ApiKill | Kind::DispatcherKill | Kind::GatewayKill | Kind::ServerKill => self.kill(fault),
            Kind::ApiStop | Kind::DispatcherStop | Kind::GatewayStop | Kind::ServerStop => {
                self.victim(fault)?.signal(Signal::STOP)
            }
            Kind::CutDispatcherPostgres | Kind::CutGatewayPostgres => {
                let port = self.cluster.services()?.postgres()?.port;
                self.cut(fault, port)
            }
            Kind::CutDispatcherRedis | Kind::CutGatewayRedis => {
                let port = self.cluster.services()?.redis()?.port;
                self.cut(fault, port)
            }
            Kind::RedisFlush => self.cluster.services()?.redis()?.flush(),
            Kind::RedisRestart => self.cluster.services()?.redis()?.stop(),
            Kind::PostgresRestart => self.cluster.services()?.postgres()?.stop(),
            Kind::PostgresCrash => self.cluster.services()?.postgres()?.crash(),
            Kind::ClockSkew => {
                self.kill(fault)?;
                self.start_again(fault, &skewed(faketime, fault.skew_s))
            }
            Kind::DiskFull => self.disk.as_ref().context("there is no small disk")?.fill().map(drop),
        }
    }

    /// The fault is over.
    pub(super) fn heal(&mut self, fault: &Fault) -> Result<()> {
        match fault.kind {
            Kind::ApiKill | Kind::DispatcherKill | Kind::GatewayKill | Kind::ServerKill => {
                self.start_again(fault, &[])
            }
            Kind::ApiStop | Kind::DispatcherStop | Kind::GatewayStop | Kind::ServerStop => {
                self.victim(fault)?.signal(Signal::CONT)
            }
            Kind::CutDispatcherPostgres
            | Kind::CutGatewayPostgres
            | Kind::CutDispatcherRedis
            | Kind::CutGatewayRedis => {
                let node = self.node(fault)?;
                self.cluster.networks.as_ref().context("there are no networks")?.heal(node)
            }
            Kind::RedisFlush => Ok(()),
            Kind::RedisRestart => self.cluster.services()?.redis()?.revive(),
            Kind::PostgresRestart | Kind::PostgresCrash => self.cluster.services()?.postgres()?.revive(),
            Kind::ClockSkew => {
                self.kill(fault)?;
                self.start_again(fault, &[])
            }
            Kind::DiskFull => self.disk.as_ref().context("there is no small disk")?.empty(),
        }
    }

    /// The members that should run and do not, by role and place. `struck` says which need not.
    pub(super) fn fallen(&mut self, struck: impl Fn(Role, usize) -> bool) -> Vec<(Role, usize)> {
        let members = self.cluster.members.iter_mut();
        let fallen = members.filter_map(|member| {
            let lies = !struck(member.role, member.place) && !member.process.is_running();
            lies.then(|| {
                self.graves.push((member.process.pid, unix_us()));
                (member.role, member.place)
            })
        });
        fallen.collect()
    }

    /// Starts a process again where it was, several times if need be.
    pub(super) fn raise(&mut self, role: Role, place: usize, env: &[(&str, String)]) -> Result<()> {
        let mut tries = 1;
        loop {
            match self.cluster.revive(role, place, env) {
                Ok(()) => return Ok(()),
                Err(error) if tries == STARTS => return Err(error),
                Err(_) => tries += 1,
            }
            std::thread::sleep(BETWEEN_STARTS);
        }
    }

    fn kill(&mut self, fault: &Fault) -> Result<()> {
        let victim = self.victim(fault)?;
        victim.kill()?;
        let pid = victim.pid;
        self.graves.push((pid, unix_us()));
        Ok(())
    }

    fn start_again(&mut self, fault: &Fault, env: &[(&str, String)]) -> Result<()> {
        let role = fault.role.context("a fault of a process without a role")?;
        self.raise(role, fault.place, env)
    }

    fn victim(&mut self, fault: &Fault) -> Result<&mut crate::process::Process> {
        let role = fault.role.context("a fault of a process without a role")?;
        Ok(&mut self.cluster.member(role, fault.place)?.process)
    }

    fn node(&self, fault: &Fault) -> Result<usize> {
        let role = fault.role.context("a cut without a role")?;
        self.cluster.node_of(role, fault.place).context("this process has no network of its own")
    }

    fn cut(&self, fault: &Fault, port: u16) -> Result<()> {
        let node = self.node(fault)?;
        self.cluster.networks.as_ref().context("there are no networks")?.cut(node, port)
    }
}

/// What makes a process see another wall clock, and nothing else another.
fn skewed(faketime: &Path, seconds: i64) -> [(&'static str, String); 5] {
    [
        ("LD_PRELOAD", faketime.display().to_string()),
        ("FAKETIME", format!("{seconds:+}")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
}
