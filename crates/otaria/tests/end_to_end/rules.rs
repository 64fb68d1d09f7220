//! Every rule of the calls that create jobs, over both faces of one running server: what it takes, and what it
//! refuses under the name of the parameter.
//!
//! The tables say what is called; each case is called once over gRPC and once over HTTP, with the same
//! parameters. The exact ends of what depends on the clock are in the tests of the rules themselves.

mod dynamic;
mod policy;
mod stage;
mod target;
mod verify;

use std::collections::BTreeSet;

use stage::{Face, Stage};

/// What the change of a case is made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// A static job for all devices of a product.
    All,
    /// One for a device by name.
    Specific,
    /// One for a list file.
    File,
    /// One for a half of nine devices, of which three run version 1.0.
    Gray,
    /// One for a static group.
    Group,
    /// A verify job of a new firmware, for one device.
    Verify,
    /// A dynamic job of a new firmware.
    Dynamic,
    /// One for a dynamic group of its own.
    DynamicGroup,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A job.
    Taken,
    /// A job with so many tasks.
    Tasks(u64),
    /// A refusal that names this parameter, under this code.
    Refused(&'static str, &'static str),
}

/// Parameters to be set; an empty value takes one away. [`stage`] tells which words stand for what.
type Change = &'static [(&'static str, &'static str)];

struct Case {
    rule: &'static str,
    base: Base,
    change: Change,
    outcome: Outcome,
    /// What the messages of gRPC cannot say is for HTTP alone.
    over_grpc: bool,
}

const fn taken(rule: &'static str, base: Base, change: Change) -> Case {
    Case { rule, base, change, outcome: Outcome::Taken, over_grpc: true }
}

const fn tasks(rule: &'static str, base: Base, change: Change, count: u64) -> Case {
    Case { rule, base, change, outcome: Outcome::Tasks(count), over_grpc: true }
}

const fn refused(
    rule: &'static str,
    base: Base,
    change: Change,
    parameter: &'static str,
    code: &'static str,
) -> Case {
    Case { rule, base, change, outcome: Outcome::Refused(parameter, code), over_grpc: true }
}

/// A text that no message of gRPC can hold.
const fn refused_text(
    rule: &'static str,
    base: Base,
    change: Change,
    parameter: &'static str,
    code: &'static str,
) -> Case {
    Case { over_grpc: false, ..refused(rule, base, change, parameter, code) }
}

/// Runs a table. All that deviates is told at once.
async fn run(rules: &[&str], cases: &[Case]) {
    check_coverage(rules, cases);
    let mut stage = Stage::new().await;
    let mut wrong = Vec::new();
    for case in cases {
        for face in [Face::Grpc, Face::Http] {
            if face == Face::Grpc && !case.over_grpc {
                continue;
            }
            let Case { rule, base, change, outcome, .. } = case;
            if let Err(found) = stage.play(face, *base, change, *outcome).await {
                wrong.push(format!("{rule}: {base:?} with {change:?} over {face:?}: {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    stage.assert_refusals_made_nothing().await;
    stage.server.assert_healthy().await;
}

/// Each rule has a case that is taken and one that is refused, and no case has a rule that is not listed.
fn check_coverage(rules: &[&str], cases: &[Case]) {
    let of = |wanted: fn(Outcome) -> bool| -> BTreeSet<&str> {
        cases.iter().filter(|case| wanted(case.outcome)).map(|case| case.rule).collect()
    };
    let all: BTreeSet<&str> = rules.iter().copied().collect();
    assert_eq!(of(|outcome| matches!(outcome, Outcome::Taken | Outcome::Tasks(_))), all, "taken");
    assert_eq!(of(|outcome| matches!(outcome, Outcome::Refused(..))), all, "refused");
}
