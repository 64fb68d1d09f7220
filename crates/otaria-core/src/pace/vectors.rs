//! What [`Pace`](super::Pace) answers to fixed questions, for every implementation of the same rules.
//!
//! A script that runs elsewhere passes these as well as the function here does.

/// One question to the pace of one job. Instants and spans are in microseconds.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The job is new at `now`.
    New {
        /// The instant.
        now: i64,
        /// Notices a minute.
        rate: u32,
        /// The setting's version.
        version: u64,
    },
    /// The state is gone, and this is noticed at `now`.
    Lost {
        /// The instant.
        now: i64,
        /// Notices a minute.
        rate: u32,
        /// The setting's version.
        version: u64,
        /// How far ahead tokens are dated.
        horizon: u64,
    },
    /// The rate is set.
    Rate {
        /// Notices a minute.
        rate: u32,
        /// The setting's version.
        version: u64,
        /// Whether the setting counts.
        taken: bool,
    },
    /// Tokens are taken.
    Take {
        /// The instant.
        now: i64,
        /// At most so many.
        want: u32,
        /// How far ahead they may be dated.
        horizon: u64,
        /// The answer: date and number of each emission.
        emissions: &'static [(i64, u32)],
    },
}

/// A sequence of questions, each answered in the state that the ones before it left.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    /// What it shows.
    pub name: &'static str,
    /// The questions.
    pub steps: &'static [Step],
}

const EMBEDDED: u64 = 2_000_000;
const CLUSTERED: u64 = 400_000;

/// The table.
pub const VECTORS: &[Vector] = &[
    Vector {
        name: "a new job begins at once and goes on at its period",
        steps: &[
            Step::New { now: 1_000_000, rate: 10, version: 1 },
            Step::Take { now: 1_000_000, want: 100, horizon: EMBEDDED, emissions: &[(1_000_000, 1)] },
            Step::Take { now: 5_049_999, want: 100, horizon: EMBEDDED, emissions: &[] },
            Step::Take { now: 5_050_000, want: 100, horizon: EMBEDDED, emissions: &[(7_050_000, 1)] },
        ],
    },
    Vector {
        name: "tokens are dated up to the horizon and not beyond",
        steps: &[
            Step::New { now: 0, rate: 600, version: 1 },
            Step::Take {
                now: 0,
                want: 100,
                horizon: CLUSTERED,
                emissions: &[(0, 1), (100_834, 1), (201_668, 1), (302_502, 1)],
            },
            Step::Take { now: 1, want: 100, horizon: CLUSTERED, emissions: &[] },
            Step::Take { now: 3_336, want: 100, horizon: CLUSTERED, emissions: &[(403_336, 1)] },
        ],
    },
    Vector {
        name: "idle time is not made up for",
        steps: &[
            Step::New { now: 0, rate: 600, version: 1 },
            Step::Take {
                now: 90_000_000,
                want: 2,
                horizon: CLUSTERED,
                emissions: &[(90_000_000, 1), (90_100_834, 1)],
            },
        ],
    },
    Vector {
        name: "the rest of an emission is there until its date is past, and then lost",
        steps: &[
            Step::New { now: 0, rate: 10_000, version: 1 },
            Step::Take { now: 0, want: 13, horizon: CLUSTERED, emissions: &[(0, 10), (60_500, 3)] },
            Step::Take { now: 60_500, want: 9, horizon: CLUSTERED, emissions: &[(60_500, 7), (121_000, 2)] },
            Step::Take { now: 121_001, want: 9, horizon: CLUSTERED, emissions: &[(181_500, 9)] },
        ],
    },
    Vector {
        name: "an emission is taken in pieces and never twice",
        steps: &[
            Step::New { now: 0, rate: 10_000, version: 1 },
            Step::Take { now: 0, want: 3, horizon: 0, emissions: &[(0, 3)] },
            Step::Take { now: 0, want: 4, horizon: 0, emissions: &[(0, 4)] },
            Step::Take { now: 0, want: 9, horizon: CLUSTERED, emissions: &[(0, 3), (60_500, 6)] },
            Step::Take { now: 60_500, want: 9, horizon: 0, emissions: &[(60_500, 4)] },
        ],
    },
    Vector {
        name: "what is left of an emission is lost when the rate changes",
        steps: &[
            Step::New { now: 0, rate: 10_000, version: 1 },
            Step::Take { now: 0, want: 3, horizon: 0, emissions: &[(0, 3)] },
            Step::Rate { rate: 10_000, version: 1, taken: false },
            Step::Take { now: 0, want: 1, horizon: 0, emissions: &[(0, 1)] },
            Step::Rate { rate: 10, version: 2, taken: true },
            Step::Take { now: 0, want: 9, horizon: 0, emissions: &[] },
            Step::Take { now: 6_110_499, want: 9, horizon: 0, emissions: &[] },
            Step::Take { now: 6_110_500, want: 9, horizon: 0, emissions: &[(6_110_500, 1)] },
        ],
    },
    Vector {
        name: "nothing is wanted, nothing is used",
        steps: &[
            Step::New { now: 0, rate: 10, version: 1 },
            Step::Take { now: 0, want: 0, horizon: CLUSTERED, emissions: &[] },
            Step::Take { now: 5, want: 1, horizon: CLUSTERED, emissions: &[(5, 1)] },
        ],
    },
    Vector {
        name: "a clock that steps back does not shorten a period",
        steps: &[
            Step::New { now: 1_000_000, rate: 600, version: 1 },
            Step::Take { now: 1_000_000, want: 1, horizon: 0, emissions: &[(1_000_000, 1)] },
            Step::Take { now: 900_000, want: 1, horizon: CLUSTERED, emissions: &[(1_100_834, 1)] },
        ],
    },
    Vector {
        name: "after a loss the tokens that may be out there come first",
        steps: &[
            Step::Lost { now: 0, rate: 600, version: 4, horizon: CLUSTERED },
            Step::Take { now: 300_833, want: 1, horizon: CLUSTERED, emissions: &[] },
            Step::Take { now: 300_834, want: 1, horizon: CLUSTERED, emissions: &[(700_834, 1)] },
        ],
    },
    Vector {
        name: "a faster rate waits for the slower period, and for both when emissions differ in size",
        steps: &[
            Step::New { now: 0, rate: 10, version: 1 },
            Step::Take { now: 0, want: 1, horizon: 0, emissions: &[(0, 1)] },
            Step::Rate { rate: 600, version: 2, taken: true },
            Step::Take { now: 6_049_999, want: 1, horizon: 0, emissions: &[] },
            Step::Take { now: 6_050_000, want: 1, horizon: 0, emissions: &[(6_050_000, 1)] },
            Step::Rate { rate: 10_000, version: 3, taken: true },
            Step::Take { now: 6_211_333, want: 10, horizon: 0, emissions: &[] },
            Step::Take { now: 6_211_334, want: 10, horizon: 0, emissions: &[(6_211_334, 10)] },
        ],
    },
    Vector {
        name: "a slower rate counts from the last emission",
        steps: &[
            Step::New { now: 0, rate: 600, version: 1 },
            Step::Take { now: 0, want: 1, horizon: 0, emissions: &[(0, 1)] },
            Step::Rate { rate: 10, version: 2, taken: true },
            Step::Take { now: 100_834, want: 1, horizon: 0, emissions: &[] },
            Step::Take { now: 6_050_000, want: 1, horizon: 0, emissions: &[(6_050_000, 1)] },
        ],
    },
    Vector {
        name: "an older setting of the rate is ignored",
        steps: &[
            Step::New { now: 0, rate: 10, version: 7 },
            Step::Rate { rate: 10_000, version: 7, taken: false },
            Step::Rate { rate: 10_000, version: 6, taken: false },
            Step::Take { now: 0, want: 5, horizon: 0, emissions: &[(0, 1)] },
            Step::Rate { rate: 20, version: 9, taken: true },
            Step::Rate { rate: 10_000, version: 8, taken: false },
            Step::Take {
                now: 6_050_000,
                want: 5,
                horizon: 3_025_000,
                emissions: &[(6_050_000, 1), (9_075_000, 1)],
            },
        ],
    },
    Vector {
        name: "a lifted ceiling costs no more",
        steps: &[
            Step::New { now: 0, rate: 100_000_000, version: 1 },
            Step::Take {
                now: 0,
                want: 250_000,
                horizon: CLUSTERED,
                emissions: &[(0, 100_000), (60_500, 100_000), (121_000, 50_000)],
            },
        ],
    },
];
