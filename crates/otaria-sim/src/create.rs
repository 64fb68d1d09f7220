//! Jobs of all kinds, made of a few numbers.

use std::time::Duration;

use otaria_core::rules::{DynamicUpgradeParams, JobParams, StaticUpgradeParams};
use otaria_core::time::Timestamp;
use otaria_engine::{Caller, Commands};
use otaria_ports::store::UploadKind;

use crate::book::{Source, Spec, Stimulus};
use crate::calls::Pending;
use crate::chance::Chance;
use crate::host::Answer;
use crate::model::Promise;
use crate::world::{VERSIONS, World, text};

const MINUTE: Duration = Duration::from_secs(60);
/// Jobs that a world has at most.
const JOBS_MAX: usize = 10;

/// The parameters of a job, as they go over a wire.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Static(StaticUpgradeParams),
    Dynamic(DynamicUpgradeParams),
}

impl Asked {
    async fn ask(&self, commands: &Commands, caller: &Caller, now: Timestamp) -> Answer {
        let made = match self {
            Self::Static(params) => commands.create_static_job(caller, now, params).await,
            Self::Dynamic(params) => commands.create_dynamic_job(caller, now, params).await,
        };
        Answer::Created(made.map(|made| made.job_id))
    }

    const fn job(&mut self) -> &mut JobParams {
        match self {
            Self::Static(params) => &mut params.job,
            Self::Dynamic(params) => &mut params.job,
        }
    }

    /// Whether its instants go by.
    const fn is_dated(&self) -> bool {
        match self {
            Self::Static(params) => params.schedule_time.is_some() || params.schedule_finish_time.is_some(),
            Self::Dynamic(_) => false,
        }
    }
}

/// The numbers of a creation; see `Op::Create`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) kind: u64,
    pub(crate) devices: u64,
    pub(crate) rate: u64,
    pub(crate) retry: u64,
    pub(crate) rules: u64,
    pub(crate) salt: u64,
}

impl World {
    /// Asks a host for a job.
    pub(crate) fn create(&mut self, host: usize, wish: Wish) {
        let jobs = self.medium.lock().book.jobs.len();
        let Some(host) = self.caller_host(host).filter(|_| jobs < JOBS_MAX) else { return };
        let truly = self.now();
        let now = self.hosts[host].clock(truly);
        let mut chance = Chance::new(wish.salt);
        let token = format!("token-{}", self.asked.len());
        let (version, rate) = (chance.place(3), u32::try_from(wish.rate.clamp(10, 10_000)).unwrap_or(10));
        let bits = |from: u32, count: u32| (wish.rules >> from) & ((1 << count) - 1);
        let (retries, retry_after) = match wish.retry {
            2 => (1, 0),
            3 => (2, 0),
            4 => (5, 0),
            5 => (1, 10),
            _ => (0, 0),
        };
        let timeout =
            if retry_after > 0 { 15 } else { [1, 2, 2, 15][usize::try_from(bits(7, 2)).unwrap_or(0)] };
        let need_confirm = bits(1, 2) == 3;
        let need_push = bits(3, 4) != 0;
        let replaces = bits(0, 1) == 1;
        let is_static = wish.kind != 7;
        let start = (is_static && bits(9, 3) == 0).then(|| now + 5 * MINUTE + Duration::from_millis(5));
        let finish = (is_static && bits(9, 3) == 1).then(|| now + 60 * MINUTE + Duration::from_millis(5));
        let job = JobParams {
            product_key: text(&self.product),
            firmware_id: text(&self.firmwares[version]),
            maximum_per_minute: Some(i64::from(rate)),
            retry_count: (retries > 0).then_some(retries),
            retry_interval: (retries > 0).then_some(retry_after),
            timeout_in_minutes: Some(timeout),
            offer_timeout_in_minutes: Some(1),
            overwrite_mode: Some(if replaces { 2 } else { 1 }),
            need_push: Some(need_push),
            need_confirm: Some(need_confirm),
            client_token: text(&token),
            ..JobParams::default()
        };
        let (asked, source) = self.target(wish, job, (start, finish), &mut chance);
        let minutes = |of: i64| MINUTE * u32::try_from(of).unwrap_or(0);
        let spec = Spec {
            promise: Promise {
                dest: VERSIONS[version].to_owned(),
                retries: u8::try_from(retries).unwrap_or(0),
                retry_after: minutes(retry_after),
                timeout: Some(minutes(timeout)),
                offer_timeout: Some(MINUTE),
                need_confirm,
            },
            source,
            rate,
            replaces,
            need_push,
            start,
            finish,
        };
        self.medium.lock().book.asked.insert(token.clone(), spec);
        self.asked.insert(token, asked.clone());
        self.ask(host, asked, Pending::Create, now);
    }

    fn target(
        &self,
        wish: Wish,
        job: JobParams,
        (start, finish): (Option<Timestamp>, Option<Timestamp>),
        chance: &mut Chance,
    ) -> (Asked, Source) {
        let mut params = StaticUpgradeParams {
            job: job.clone(),
            schedule_time: start.map(Timestamp::millis),
            schedule_finish_time: finish.map(Timestamp::millis),
            ..StaticUpgradeParams::default()
        };
        match wish.kind {
            4 | 5 => {
                params.target_selection = text("ALL");
                (Asked::Static(params), Source::All)
            }
            3 => {
                params.target_selection = text("SPECIFIC");
                let mut names: Vec<String> =
                    (0..wish.devices.min(20)).map(|_| self.any_name(chance)).collect();
                names.sort();
                names.dedup();
                params.target_device_name.clone_from(&names);
                (Asked::Static(params), Source::Names(names))
            }
            6 => {
                let thousandths = chance.pick(&[1_000, 7_500, 33_333, 50_000, 66_667, 99_999, 100_000]);
                params.target_selection = text("GRAY");
                params.gray_percent = Some(format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000));
                (Asked::Static(params), Source::Part(thousandths))
            }
            7 => {
                let dynamic_mode = Some(1 + i64::from(chance.permille(300)));
                (
                    Asked::Dynamic(DynamicUpgradeParams {
                        job,
                        dynamic_mode,
                        ..DynamicUpgradeParams::default()
                    }),
                    Source::Standing,
                )
            }
            _ => {
                let list = self.list(wish.devices, chance);
                params.target_selection = text("SPECIFIC");
                params.dn_list_file_url = Some(self.upload(UploadKind::NameList, list.as_bytes()));
                (Asked::Static(params), Source::List(list))
            }
        }
    }

    fn any_name(&self, chance: &mut Chance) -> String {
        self.fleet.devices[chance.place(self.fleet.devices.len())].name.clone()
    }

    /// A list as people make them.
    fn list(&self, devices: u64, chance: &mut Chance) -> String {
        let mut list = String::from(if chance.permille(200) { "\u{feff}" } else { "" });
        for _ in 0..devices {
            let line = match chance.below(20) {
                0 => "nobody-knows-it".to_owned(),
                1 => "no name, at all!".to_owned(),
                2 => "  \t ".to_owned(),
                3 => format!("stranger-{}", chance.below(5)),
                _ => self.any_name(chance),
            };
            list.push_str(&line);
            list.push_str(chance.pick(&["\n", "\r\n", " \n", ","]));
        }
        list
    }

    fn ask(&mut self, host: usize, asked: Asked, pending: Pending, now: Timestamp) {
        let Some(commands) = self.commands(host) else { return };
        let caller = self.caller.clone();
        let call = async move { asked.ask(&commands, &caller, now).await };
        self.call(host, Stimulus::Other, pending, call);
    }

    /// Repeats the call that made a job.
    pub(crate) fn create_again(&mut self, job: u64, host: usize, other: bool) {
        let Some(no) = self.job(job) else { return };
        let Some(host) = self.caller_host(host) else { return };
        let truly = self.now();
        let now = self.hosts[host].clock(truly);
        let (first, token) = {
            let inner = self.medium.lock();
            let noted = &inner.book.jobs[&no];
            (noted.id.clone(), noted.token.clone())
        };
        let Some(mut asked) = self.asked.get(&token).cloned().filter(|asked| !asked.is_dated()) else {
            return;
        };
        if other {
            asked.job().job_desc = text("another");
        }
        self.ask(host, asked, Pending::CreateAgain { first, other }, now);
    }

    /// A job for the named devices, at once and without haste; for the end.
    pub(crate) fn create_last(&mut self, host: usize, names: &[String]) -> Option<otaria_core::ids::JobNo> {
        let token = format!("token-{}", self.asked.len());
        let truly = self.now();
        let now = self.hosts[host].clock(truly);
        let job = JobParams {
            product_key: text(&self.product),
            firmware_id: self.firmwares.last().cloned(),
            maximum_per_minute: Some(10_000),
            timeout_in_minutes: Some(2),
            offer_timeout_in_minutes: Some(1),
            client_token: text(&token),
            ..JobParams::default()
        };
        let params = StaticUpgradeParams {
            job,
            target_selection: text("SPECIFIC"),
            target_device_name: names.to_vec(),
            ..StaticUpgradeParams::default()
        };
        let spec = Spec {
            promise: Promise {
                dest: VERSIONS[VERSIONS.len() - 1].to_owned(),
                retries: 0,
                retry_after: Duration::ZERO,
                timeout: Some(2 * MINUTE),
                offer_timeout: Some(MINUTE),
                need_confirm: false,
            },
            source: Source::Names(names.to_vec()),
            rate: 10_000,
            replaces: false,
            need_push: true,
            start: None,
            finish: None,
        };
        self.medium.lock().book.asked.insert(token.clone(), spec);
        self.asked.insert(token.clone(), Asked::Static(params.clone()));
        self.ask(host, Asked::Static(params), Pending::Create, now);
        let inner = self.medium.lock();
        inner.book.jobs.iter().find(|(_, noted)| noted.token == token).map(|(no, _)| *no)
    }
}
