//! What happens in a world, as data: drawn from a seed, printed, read back, cut down.
//!
//! Never knows what becomes of it. A number that names a job, a host or a letter is taken modulo how many there
//! are, so that every list of operations means something, whatever was cut out of it.

use std::fmt;

use crate::chance::Chance;

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident { $($field:ident),* }),* $(,)?) => {
        /// One operation; every field is a whole number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "fields are numbers that the text of the variant explains")]
        pub enum Op { $($(#[$doc])* $name { $($field: u64),* }),* }

        impl fmt::Display for Op {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name { $($field),* } => {
                        f.write_str(stringify!($name))?;
                        $(write!(f, " {}={}", stringify!($field), $field)?;)*
                        Ok(())
                    })*
                }
            }
        }

        impl Op {
            /// Reads one line as [`fmt::Display`] writes it.
            #[must_use]
            pub fn parse(line: &str) -> Option<Self> {
                let mut words = line.split_whitespace();
                let name = words.next()?;
                let mut number = |field: &str| words.next()?.strip_prefix(field)?.strip_prefix('=')?.parse().ok();
                match name {
                    $(stringify!($name) => Some(Self::$name { $($field: number(stringify!($field))?),* }),)*
                    _ => None,
                }
            }

            /// The name of the variant.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name { .. } => stringify!($name)),* }
            }
        }
    };
}

ops! {
    /// A job is asked for: of which kind, by which host, for how many devices, at which rate, with which rules.
    Create { kind, host, devices, rate, retry, rules, salt },
    /// A create call is repeated with its token; `other` with another body.
    CreateAgain { job, host, other },
    /// The strategy of a dynamic job ends.
    EndStrategy { job, host },
    /// Tasks are cancelled: bit 0 queued, 1 notified, 2 in progress, 3 unconfirmed; 15 is everything.
    Cancel { job, host, flags },
    /// Deliveries stop.
    Pause { job, host },
    /// And go on.
    Resume { job, host },
    /// Tasks that wait for it are confirmed.
    Confirm { job, host, salt },
    /// Failed and cancelled tasks are started again.
    Reupgrade { job, host, salt },
    /// Another rate.
    Rate { job, host, rate },
    /// Devices come, so many of 1,000; those that are there log in once more.
    Connect { of, salt },
    /// Devices go, so many of 1,000; `clean` when their gateway sees it at once.
    Disconnect { of, clean, salt },
    /// Devices ask for their update.
    Fetch { of, salt },
    /// Everything runs for so long, in an order that the salt decides.
    Run { millis, salt },
    /// Everybody stops for so long, and then goes on.
    Jump { millis },
    /// A loop of a host runs once, due or not.
    Tick { host, which },
    /// A loop of a host runs to its so-manieth yield point and stands there for so long.
    Hold { host, which, calls, millis },
    /// A loop of a host runs, and a call of a port fails: before it is done, or after. From 100 on, only calls
    /// that write count.
    Fault { host, which, calls, after },
    /// A host dies in the middle of a loop's turn.
    CrashIn { host, which, calls },
    /// A host dies.
    Crash { host },
    /// A host that died starts again.
    Start { host },
    /// A host stops for so long.
    Freeze { host, millis },
    /// The renewals of a host's membership fail for so long: others take its shards while it works on.
    Steal { host, millis },
    /// The clock of a host is off by so much: 50 is none.
    Skew { host, millis },
    /// Of 1,000 letters so many get lost, come twice; the others take up to so long. Of 1,000 notices so many
    /// find a full socket; of 1,000 turns and calls so many stand still at some yield point, or a port call fails.
    Mood { loss, double, delay, jams, stalls, faults },
    /// Owners hear of presence so much later.
    Lag { millis },
    /// A letter on its way gets lost.
    Lose { nth },
    /// It comes twice.
    Double { nth },
    /// It takes so much longer.
    Delay { nth, millis },
    /// It comes at once, before all others.
    Deliver { nth },
    /// What limiters remember is lost; with `all` also who is online.
    Flush { all },
    /// Somebody of another account asks for a job, and a device speaks on another one's topic.
    Trespass { job, host },
}

/// How a world begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Hosts with loops and commands.
    pub dispatchers: u64,
    /// Hosts with devices.
    pub gateways: u64,
    /// Hosts with commands only.
    pub apis: u64,
    /// Devices; their tempers follow in turn.
    pub devices: u64,
}

/// A world and what happens in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// How it begins.
    pub setup: Setup,
    /// What happens, in order.
    pub ops: Vec<Op>,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { dispatchers, gateways, apis, devices } = self.setup;
        writeln!(f, "world {dispatchers} {gateways} {apis} {devices}")?;
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

impl Scenario {
    /// Reads what [`fmt::Display`] writes; empty lines and those that begin with `#` say nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut world = lines.next()?.strip_prefix("world ")?.split_whitespace().map(|n| n.parse().ok());
        let mut number = || world.next().flatten();
        let setup =
            Setup { dispatchers: number()?, gateways: number()?, apis: number()?, devices: number()? };
        Some(Self { setup, ops: lines.map(Op::parse).collect::<Option<_>>()? })
    }

    /// Draws a world from a seed: at least 100 operations.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x5EED);
        let devices = match chance.below(200) {
            0 => chance.between(1_000, 3_000),
            1..=9 => chance.between(100, 400),
            10..=59 => chance.between(2, 12),
            _ => chance.between(13, 50),
        };
        let setup = Setup {
            dispatchers: chance.pick(&[1, 2, 2, 3, 3]),
            gateways: chance.pick(&[1, 2, 2, 3]),
            apis: chance.below(2),
            devices,
        };
        let count = chance.between(100, 160);
        let mut ops = vec![
            Op::Connect { of: 700, salt: chance.next() },
            Op::Run { millis: 1_000, salt: chance.next() },
            create(&mut chance, devices),
        ];
        while (ops.len() as u64) < count {
            ops.push(any(&mut chance, devices));
        }
        Self { setup, ops }
    }
}

fn create(chance: &mut Chance, devices: u64) -> Op {
    Op::Create {
        // 0–2 a list, 3 names, 4–5 all, 6 a part, 7 dynamic.
        kind: chance.below(8),
        host: chance.next() % 64,
        devices: chance.between(1, devices.max(30) * 5 / 4),
        rate: chance.pick(&[10, 10, 15, 30, 60, 600, 1_000, 3_000, 10_000]),
        // 0–1 none, 2–4 at once, 5 after ten minutes.
        retry: chance.below(6),
        // Bits: see `world::create`.
        rules: chance.below(4_096),
        salt: chance.next(),
    }
}

/// Which loop, most often the dispatcher's; 5 is the host's next call.
fn which(chance: &mut Chance) -> u64 {
    chance.pick(&[0, 1, 1, 1, 2, 3, 3, 4, 5])
}

fn any(chance: &mut Chance, devices: u64) -> Op {
    let host = chance.next() % 64;
    let job = chance.next() % 64;
    let salt = chance.next();
    let calls = chance.pick(&[0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 9, 12]);
    match chance.below(100) {
        0..=30 => Op::Run { millis: chance.between(20, 1_500), salt },
        31..=33 => Op::Run { millis: chance.between(2_000, 12_000), salt },
        34 => Op::Run { millis: chance.between(20_000, 70_000), salt },
        35 => match chance.below(12) {
            0 => Op::Jump { millis: chance.pick(&[300_000, 660_000, 3_700_000]) },
            _ => Op::Jump { millis: chance.between(50, 9_000) },
        },
        36..=39 => create(chance, devices),
        40 => match chance.below(3) {
            0 => Op::EndStrategy { job, host },
            _ => Op::CreateAgain { job, host, other: chance.below(2) },
        },
        41..=42 => Op::Cancel { job, host, flags: chance.pick(&[15, 15, 1, 3, 2, 4, 6, 8, 9]) },
        43..=44 => Op::Pause { job, host },
        45..=46 => Op::Resume { job, host },
        47..=49 => Op::Confirm { job, host, salt },
        50..=51 => Op::Reupgrade { job, host, salt },
        52 => Op::Rate { job, host, rate: chance.pick(&[10, 12, 60, 600, 2_999, 3_000, 10_000]) },
        53..=56 => Op::Connect { of: chance.pick(&[50, 200, 600]), salt },
        57..=58 => Op::Disconnect { of: chance.pick(&[50, 200, 500]), clean: chance.below(2), salt },
        59 => Op::Fetch { of: chance.pick(&[50, 300]), salt },
        60..=63 => Op::Tick { host, which: which(chance) },
        64..=69 => Op::Hold {
            host,
            which: which(chance),
            calls,
            millis: chance.pick(&[5, 40, 150, 400, 900, 4_000]),
        },
        70..=75 => Op::Fault {
            host,
            which: which(chance),
            calls: chance.pick(&[calls, 100, 100, 101]),
            after: chance.below(2),
        },
        76..=78 => Op::CrashIn { host, which: which(chance), calls },
        79 => Op::Crash { host },
        80..=82 => Op::Start { host },
        83 => Op::Freeze { host, millis: chance.pick(&[50, 300, 1_000, 3_500, 6_000]) },
        84 => Op::Steal { host, millis: chance.pick(&[1_500, 4_500, 7_000]) },
        85..=86 => Op::Skew { host, millis: chance.between(0, 100) },
        87..=89 => Op::Mood {
            loss: chance.pick(&[0, 0, 20, 200, 600]),
            double: chance.pick(&[0, 50, 300]),
            delay: chance.pick(&[5, 50, 300, 1_500]),
            jams: chance.pick(&[0, 0, 100, 400]),
            stalls: chance.pick(&[0, 0, 20, 150]),
            faults: chance.pick(&[0, 0, 20, 100]),
        },
        90 => Op::Lag { millis: chance.pick(&[1, 20, 200, 2_000]) },
        91..=92 => Op::Lose { nth: host },
        93..=94 => Op::Double { nth: host },
        95 => Op::Delay { nth: host, millis: chance.pick(&[30, 300, 2_000]) },
        96 => Op::Deliver { nth: host },
        97 => Op::Flush { all: chance.below(2) },
        _ => Op::Trespass { job, host },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for seed in 0..50 {
            let scenario = Scenario::draw(seed);
            assert!(scenario.ops.len() >= 100);
            assert_eq!(Scenario::parse(&scenario.to_string()), Some(scenario));
        }
        assert_eq!(Op::parse("Run millis=5"), None);
        assert_eq!(Op::parse("Walk millis=5"), None);
    }
}
