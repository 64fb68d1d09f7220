//! Whoever kills the server, at moments drawn from a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::server::{Addresses, Server};

/// Drawn numbers that a seed repeats (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 up to and without `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// The same for what has a place in memory.
    pub(super) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap())).unwrap()
    }

    fn span(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(most.as_micros()).unwrap()))
    }

    /// Puts things into a drawn order.
    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for end in (1..things.len()).rev() {
            things.swap(end, self.place(end + 1));
        }
    }
}

/// A server on fixed ports and one directory, and what happened to it.
pub(super) struct Killer {
    pub(super) server: Server,
    pub(super) dice: Dice,
    kills: BTreeMap<&'static str, u32>,
    starts: Vec<Duration>,
}

impl Killer {
    pub(super) async fn start(seed: u64) -> Self {
        let mut server = Server::new(Addresses::fixed(), &["--api-quota", "off"]);
        server.up().await;
        Self { server, dice: Dice(seed), kills: BTreeMap::new(), starts: Vec::new() }
    }

    /// Kills at a drawn moment within a span from now, and starts again. One time in five the next kill
    /// comes during that start, and perhaps once more.
    pub(super) async fn kill_within(&mut self, phase: &'static str, span: Duration) {
        sleep(self.dice.span(span)).await;
        self.server.kill().await;
        *self.kills.entry(phase).or_default() += 1;
        while self.dice.below(5) == 0 {
            self.server.launch();
            sleep(self.dice.span(Duration::from_millis(500))).await;
            self.server.kill().await;
            *self.kills.entry("start").or_default() += 1;
        }
        let begun = Instant::now();
        self.server.up().await;
        self.starts.push(begun.elapsed());
    }

    pub(super) fn kills(&self) -> u32 {
        self.kills.values().sum()
    }

    pub(super) fn report(&self) {
        let slowest = self.starts.iter().max().copied().unwrap_or_default();
        println!("{} kills {:?}, slowest start {} ms", self.kills(), self.kills, slowest.as_millis());
        let warnings = self.server.warnings();
        println!("{} warnings in the log", warnings.len());
        for line in warnings.iter().take(10) {
            println!("  {line}");
        }
    }
}
