//! Memory that one input may hold, counted byte by byte.
//!
//! libFuzzer looks at the process's memory once a second, and its own limit of one allocation needs a sanitizer.
//! Here an allocation beyond the limit fails, which ends the process, which is a finding.

use std::alloc::System;

use cap::Cap;

/// Bytes that a target may hold at once, whatever its input of a few KiB says.
const ROOM: usize = 4 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Runs the target of this name within [`ROOM`].
///
/// # Panics
/// At a finding.
pub fn within_memory(name: &str, input: &[u8]) {
    // Fails only below what is allocated already, and this is above.
    let _ = ALLOCATOR.set_limit(ALLOCATOR.allocated().saturating_add(ROOM));
    super::run(name, input);
}
