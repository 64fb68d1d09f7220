use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000_000;
const MAX_DELAY_MICROS: i64 = 500_000;

fn rate(notices: u32) -> PerMinute {
    PerMinute::new(notices).unwrap()
}

fn at(micros: i64) -> Micros {
    Micros::from_micros(micros)
}

/// Notices that reach devices at one instant.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: i64,
    tokens: u32,
    rate: u32,
}

/// The fullest half-open minute: its notices, and the largest rate among them. Whichever window is worst
/// for its own rates is returned.
fn worst_minute(arrivals: &mut [Arrival]) -> (u32, u32) {
    arrivals.sort_by_key(|arrival| arrival.at);
    let mut rates: Vec<u32> = arrivals.iter().map(|arrival| arrival.rate).collect();
    rates.sort_unstable();
    rates.dedup();
    let place = |rate| rates.binary_search(&rate).unwrap();

    let (mut sum, mut of_rate, mut end, mut worst) = (0, vec![0_u32; rates.len()], 0, (0, u32::MAX));
    for start in 0..arrivals.len() {
        while end < arrivals.len() && arrivals[end].at < arrivals[start].at + MINUTE {
            sum += arrivals[end].tokens;
            of_rate[place(arrivals[end].rate)] += 1;
            end += 1;
        }
        let limit = rates[of_rate.iter().rposition(|count| *count > 0).unwrap()];
        if i64::from(sum) - i64::from(limit) > i64::from(worst.0) - i64::from(worst.1) {
            worst = (sum, limit);
        }
        sum -= arrivals[start].tokens;
        of_rate[place(arrivals[start].rate)] -= 1;
    }
    worst
}

/// What ends a time of steady work.
#[derive(Clone, Debug)]
enum Event {
    /// The caller does not come for so long.
    Stall(i64),
    /// The state is gone; the process that notices has a clock so far behind.
    Loss {
        behind: i64,
    },
    Rate(u32),
}

/// Steady work, and what ends it. A minute is only full when nothing stalls in it for longer than the
/// horizon.
#[derive(Clone, Debug)]
struct Phase {
    lasts: i64,
    every: i64,
    want: u32,
    event: Event,
}

fn any_rate() -> impl Strategy<Value = u32> {
    prop_oneof![10_u32..=100, 10_u32..=10_000, Just(10), Just(1_999), Just(2_999), Just(3_000), Just(10_000)]
}

fn phases(changes: u32) -> impl Strategy<Value = Vec<Phase>> {
    let lasts = prop_oneof![0..3_000_000_i64, 0..2 * MINUTE];
    let want = prop_oneof![1 => 1_u32..40, 9 => Just(u32::MAX)];
    let event = prop_oneof![
        1 => (0..5_000_000_i64).prop_map(Event::Stall),
        1 => (0..90_000_000_i64).prop_map(Event::Stall),
        2 => prop_oneof![Just(0), Just(200_000), 0..=200_000_i64].prop_map(|behind| Event::Loss { behind }),
        4 * changes => any_rate().prop_map(Event::Rate),
    ];
    let phase = (lasts, 10_000..900_000_i64, want, event).prop_map(|(lasts, every, want, event)| Phase {
        lasts,
        every,
        want,
        event,
    });
    proptest::collection::vec(phase, 1..6)
}

fn horizons() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(HORIZON_EMBEDDED), Just(HORIZON_CLUSTERED)]
}

/// How late notices are.
#[derive(Clone, Debug)]
enum Delays {
    /// As late as can be, up to an instant after the beginning; punctual from it on. The worst for the
    /// window that begins there.
    Until(i64),
    /// Anything.
    Drawn(Vec<i64>),
}

fn delays() -> impl Strategy<Value = Delays> {
    let delay = prop_oneof![Just(0), Just(MAX_DELAY_MICROS), 0..=MAX_DELAY_MICROS];
    prop_oneof![
        2 => (0..2 * MINUTE).prop_map(Delays::Until),
        1 => proptest::collection::vec(delay, 1..300).prop_map(Delays::Drawn),
    ]
}

/// What devices see when `phases` are played from a new job on. No token is used before it is taken.
fn play(first: u32, phases: &[Phase], delays: &Delays, horizon: Duration) -> Vec<Arrival> {
    let begin = 1_700_000_000_000_000_i64;
    let (mut now, mut version, mut seen) = (begin, 1, Vec::new());
    let mut pace = Pace::new(rate(first), version, at(now));
    for phase in phases {
        let end = now + phase.lasts;
        while now <= end {
            for Emission { date, tokens } in pace.take(at(now), phase.want, horizon) {
                let late = match delays {
                    Delays::Until(turn) if date.micros() < begin + turn => MAX_DELAY_MICROS,
                    Delays::Until(_) => 0,
                    Delays::Drawn(delays) => delays[seen.len() % delays.len()],
                };
                seen.push(Arrival { at: now.max(date.micros() + late), tokens, rate: pace.rate().get() });
            }
            now += phase.every;
        }
        match phase.event {
            Event::Stall(span) => now += span,
            Event::Loss { behind } => {
                pace = Pace::after_loss(pace.rate(), version, at(now - phase.every - behind), horizon);
            }
            Event::Rate(notices) => {
                version += 1;
                assert!(pace.set_rate(rate(notices), version));
                assert!(!pace.set_rate(rate(1), version - 1));
            }
        }
    }
    seen
}

proptest! {
    #[test]
    fn no_minute_at_the_devices_holds_more_than_the_rate(
        notices in any_rate(),
        phases in phases(0),
        delays in delays(),
        horizon in horizons(),
    ) {
        let (most, _) = worst_minute(&mut play(notices, &phases, &delays, horizon));
        prop_assert!(most <= notices, "{most} of {notices}");
    }

    #[test]
    fn no_minute_holds_more_than_the_largest_rate_in_it(
        notices in any_rate(),
        phases in phases(1),
        delays in delays(),
        horizon in horizons(),
    ) {
        let (most, limit) = worst_minute(&mut play(notices, &phases, &delays, horizon));
        prop_assert!(most <= limit, "{most} of {limit}");
    }

    #[test]
    fn every_rate_is_used_to_ninety_nine_percent(notices in 1_u32..) {
        let cadence = Cadence::of(rate(notices));
        let in_a_minute = f64::from(cadence.tokens) * 60.0 / cadence.period.as_secs_f64();
        prop_assert!((0.99..1.0).contains(&(in_a_minute / f64::from(notices))), "{in_a_minute} of {notices}");
    }

    #[test]
    fn taking_is_bounded_by_the_horizon_at_any_rate(notices in 1_u32.., want in 1_u32..) {
        let mut pace = Pace::new(rate(notices), 1, at(0));
        prop_assert!(pace.take(at(0), want, HORIZON_EMBEDDED).len() <= 67);
    }
}

/// Dates of a job that is never short of work, over `minutes`.
fn busy(notices: u32, minutes: i64) -> Vec<Emission> {
    let mut pace = Pace::new(rate(notices), 1, at(0));
    let mut emissions = Vec::new();
    for now in (0..minutes * MINUTE).step_by(250_000) {
        emissions.extend(pace.take(at(now), u32::MAX, HORIZON_CLUSTERED));
    }
    emissions
}

#[test]
fn the_mean_is_close_to_the_rate_and_the_fullest_minute_is_exactly_the_rate() {
    for notices in [10, 600, 10_000] {
        let emissions = busy(notices, 20);
        let (first, last) = (emissions[0].date.micros(), emissions.last().unwrap().date.micros());
        let tokens: u32 = emissions.iter().map(|emission| emission.tokens).sum();
        let spacing = (last - first) as f64 / (emissions.len() - 1) as f64 * emissions.len() as f64;
        let mean = f64::from(tokens) * MINUTE as f64 / spacing;
        assert!(mean >= 0.99 * f64::from(notices), "{mean} of {notices}");

        // The worst that delays can do: all before an instant late, all from it on punctual.
        let turn = 300_500_000;
        let late = |date| if date < turn { MAX_DELAY_MICROS } else { 0 };
        let arrive = |emission: &Emission| Arrival {
            at: emission.date.micros() + late(emission.date.micros()),
            tokens: emission.tokens,
            rate: notices,
        };
        let mut seen: Vec<Arrival> = emissions.iter().map(arrive).collect();
        assert_eq!(worst_minute(&mut seen), (notices, notices));
    }
}

#[test]
fn a_change_of_rate_that_changes_the_size_of_emissions_makes_no_token_too_many() {
    let mut pace = Pace::new(rate(2_999), 1, at(0));
    let mut seen = Vec::new();
    let mut note = |pace: &mut Pace, now, want| {
        for emission in pace.take(at(now), want, Duration::ZERO) {
            let rate = pace.rate().get();
            seen.push(Arrival { at: emission.date.micros(), tokens: emission.tokens, rate });
        }
    };
    note(&mut pace, 0, 2);
    note(&mut pace, 40_361, 2);
    pace.set_rate(rate(3_000), 2);
    for now in (41_000..2 * MINUTE).step_by(100) {
        note(&mut pace, now, 3);
    }
    // What is early is so late that it falls into the same window as what comes at its end.
    for arrival in &mut seen {
        arrival.at = arrival.at.max(MAX_DELAY_MICROS);
    }
    let (most, limit) = worst_minute(&mut seen);
    assert!(most <= limit && most >= 2_990, "{most}");
}

/// Seven notices of an emission of ten, written late and under a rate of ten a minute, would make that minute
/// too full together with what follows them: found by chance, kept here.
#[test]
fn a_rate_that_falls_takes_back_what_is_left_of_an_emission() {
    for late in [0, MAX_DELAY_MICROS] {
        let mut pace = Pace::new(rate(10_000), 1, at(0));
        assert_eq!(pace.take(at(0), 3, HORIZON_EMBEDDED).len(), 1);
        assert!(pace.set_rate(rate(10), 2));
        let mut seen = Vec::new();
        for now in (0..2 * MINUTE).step_by(100_000) {
            for Emission { date, tokens } in pace.take(at(now), 9, HORIZON_EMBEDDED) {
                let late = if seen.is_empty() { late } else { 0 };
                seen.push(Arrival { at: now.max(date.micros() + late), tokens, rate: 10 });
            }
        }
        assert_eq!(worst_minute(&mut seen), (10, 10));
    }
}

#[test]
fn a_lifted_ceiling_gives_more_than_a_hundred_thousand_tokens_a_second() {
    let mut pace = Pace::new(rate(100_000_000), 1, at(0));
    let tokens: u64 = (0..10)
        .flat_map(|tick| pace.take(at(tick * 100_000), u32::MAX, Duration::ZERO))
        .map(|emission| u64::from(emission.tokens))
        .sum();
    assert!(tokens > 900_000, "{tokens}");
}

#[test]
fn the_next_token_comes_exactly_when_it_is_said_to() {
    let mut pace = Pace::new(rate(10), 1, at(0));
    assert_eq!(pace.take(at(0), 9, HORIZON_CLUSTERED).len(), 1);
    let next = pace.next_at(HORIZON_CLUSTERED);
    assert!(pace.take(next - Duration::from_micros(1), 9, HORIZON_CLUSTERED).is_empty());
    assert_eq!(pace.take(next, 9, HORIZON_CLUSTERED).len(), 1);
}

#[test]
fn a_date_is_rounded_up_to_the_millisecond() {
    assert_eq!(at(1_000).ceil(), Timestamp::from_millis(1));
    assert_eq!(at(1_001).ceil(), Timestamp::from_millis(2));
    assert_eq!(at(-1_001).ceil(), Timestamp::from_millis(-1));
    assert_eq!(Micros::from(Timestamp::from_millis(-3)), at(-3_000));
}

#[test]
fn the_table_holds() {
    for Vector { name, steps } in VECTORS {
        let mut pace = None;
        for (n, step) in steps.iter().enumerate() {
            match *step {
                Step::New { now, rate: notices, version } => {
                    pace = Some(Pace::new(rate(notices), version, at(now)));
                }
                Step::Lost { now, rate: notices, version, horizon } => {
                    let horizon = Duration::from_micros(horizon);
                    pace = Some(Pace::after_loss(rate(notices), version, at(now), horizon));
                }
                Step::Rate { rate: notices, version, taken } => {
                    let did = pace.as_mut().unwrap().set_rate(rate(notices), version);
                    assert_eq!(did, taken, "{name}, step {n}");
                }
                Step::Take { now, want, horizon, emissions } => {
                    let got = pace.as_mut().unwrap().take(at(now), want, Duration::from_micros(horizon));
                    let got: Vec<_> = got.iter().map(|e| (e.date.micros(), e.tokens)).collect();
                    assert_eq!(got, emissions, "{name}, step {n}");
                }
            }
        }
    }
}
