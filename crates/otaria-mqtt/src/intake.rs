//! Reading without a buffer per connection.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use crate::link::Link;
use crate::wire::{self, Malformed};

/// Bytes read at once. More than any device sends in one go; one per thread.
const SCRATCH_BYTES: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// What was read and not understood yet. Holds no memory while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    held: Vec<u8>,
    start: usize,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadSome {
    Some,
    Nothing,
    End,
}

impl Intake {
    /// Takes what the socket has right now.
    pub(crate) fn read(&mut self, link: &Arc<Link>) -> io::Result<ReadSome> {
        SCRATCH.with_borrow_mut(|scratch| match link.try_read(scratch) {
            Ok(0) => Ok(ReadSome::End),
            Ok(count) => {
                self.held.extend_from_slice(&scratch[..count]);
                Ok(ReadSome::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadSome::Nothing),
            Err(error) => Err(error),
        })
    }

    /// The next whole packet, `None` while there is none. The memory goes with the last one.
    pub(crate) fn next(&mut self, max: usize) -> Result<Option<&[u8]>, Malformed> {
        match wire::frame(&self.held[self.start..], max)? {
            Some(length) => {
                let start = self.start;
                self.start += length;
                Ok(Some(&self.held[start..start + length]))
            }
            None => {
                self.held.drain(..self.start);
                self.start = 0;
                if self.held.is_empty() {
                    self.held = Vec::new();
                }
                Ok(None)
            }
        }
    }

    /// What is held, for a look at the first bytes of a stranger.
    pub(crate) fn peek(&self) -> &[u8] {
        &self.held[self.start..]
    }
}
