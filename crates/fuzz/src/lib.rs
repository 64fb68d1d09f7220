//! What bytes of strangers may do here: a function for each way in, with what has to hold whatever comes, run by
//! a coverage-guided fuzzer (`cargo xtask fuzz`) and, over the kept inputs, by a plain test. Never opens a socket,
//! a file or a database, and never states a rule of the product a second time but to compare with it.
//!
//! Each function hands its input to the readers that a connection or a call uses, and panics where an answer
//! contradicts a plainer reading of the same bytes, or another spelling of them.
//!
//! Invariant: a target is a function of its input alone, so that every finding can be replayed.

#[cfg(feature = "libfuzzer")]
mod bounded;
mod connect;
mod list;
mod mqtt;
mod params;
mod payload;
mod policy;
mod signature;
mod topic;

#[cfg(feature = "libfuzzer")]
pub use bounded::within_memory;

/// Something that reads what strangers send.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its binary and of its folder below `corpus/`.
    pub name: &'static str,
    /// Takes any bytes; panics at a finding.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target { name: "connect", run: connect::run },
    Target { name: "list", run: list::run },
    Target { name: "params", run: params::run },
    Target { name: "payload", run: payload::run },
    Target { name: "policy", run: policy::run },
    Target { name: "signature", run: signature::run },
    Target { name: "topic", run: topic::run },
];

/// Runs the target of this name.
///
/// # Panics
/// At a finding, or when there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.run)(input);
}
