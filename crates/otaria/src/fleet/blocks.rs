//! How a device downloads a package over its own MQTT connection: it asks for one block after the other and
//! checks each frame, as kits in C do.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::download::{Failure, Hash, Mode};
use super::notice::{Digest, Stream};

/// What kits ask for at a time unless they are told otherwise.
const BLOCK_BYTES: u64 = 5 << 10;
/// How long a kit waits for a block, and how often it asks for it.
const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;
/// Answers that may wait for a device; there is never more than one that it asked for.
const ANSWERS: usize = 4;

/// Hands answers to a download under way.
pub(crate) type Answers = mpsc::Sender<Bytes>;

/// What a device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) stream: Stream,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A download under way.
pub(crate) struct Blocks {
    stream: Stream,
    mode: Mode,
    size_bytes: u64,
    digest: Digest,
    hash: Hash,
    /// Bytes that came so far.
    offset: u64,
    /// How often the block at `offset` was asked for.
    asked: u32,
    patience: Duration,
    answers: mpsc::Receiver<Bytes>,
}

#[derive(Deserialize)]
struct Head {
    code: i64,
    data: Option<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    b_offset: u64,
    b_size: u64,
    file_length: u64,
}

impl Blocks {
    /// A download of a package of this size and digest, and where its answers go.
    pub(crate) fn new(stream: Stream, mode: Mode, size_bytes: u64, digest: Digest) -> (Self, Answers) {
        let (sender, answers) = mpsc::channel(ANSWERS);
        let hash = Hash::of(&digest);
        let (offset, asked, patience) = (0, 0, PATIENCE);
        (Self { stream, mode, size_bytes, digest, hash, offset, asked, patience, answers }, sender)
    }

    /// What to ask for next, once the answer to the last question is here; `None` at the end of a package
    /// that is right.
    pub(crate) async fn next(&mut self) -> Result<Option<Ask>, Failure> {
        if self.asked > 0 {
            match tokio::time::timeout(self.patience, self.answer()).await {
                Ok(taken) => taken?,
                Err(_) if self.asked == TRIES => {
                    let text = format!("no answer for the block at {} after {TRIES} tries", self.offset);
                    return Err(Failure::Download(text));
                }
                Err(_) => {}
            }
        }
        let enough = if self.mode == Mode::Full { self.size_bytes } else { self.size_bytes.min(1) };
        if self.mode == Mode::None {
            return Ok(None);
        }
        if self.offset < enough {
            self.asked += 1;
            let size = BLOCK_BYTES.min(self.size_bytes - self.offset);
            return Ok(Some(Ask { stream: self.stream, offset: self.offset, size }));
        }
        if self.mode == Mode::Full {
            self.hash.compare(&self.digest).map_err(Failure::Check)?;
        }
        Ok(None)
    }

    /// Waits for the block that was asked for. Others are late answers to what was asked for twice.
    async fn answer(&mut self) -> Result<(), Failure> {
        while let Some(frame) = self.answers.recv().await {
            let (part, bytes) = parse(&frame).map_err(Failure::Download)?;
            if part.file_length != self.size_bytes {
                let text = format!("the file has {} bytes, announced {}", part.file_length, self.size_bytes);
                return Err(Failure::Download(text));
            }
            if part.b_offset == self.offset && !bytes.is_empty() {
                self.hash.update(bytes);
                self.offset += part.b_size;
                self.asked = 0;
                return Ok(());
            }
        }
        Err(Failure::Download("interrupted".to_owned()))
    }
}

/// Takes a frame apart: length, JSON, bytes, checksum.
fn parse(frame: &[u8]) -> Result<(Part, &[u8]), String> {
    let cut = || "a frame is cut short".to_owned();
    let (length, rest) = frame.split_first_chunk().ok_or_else(cut)?;
    let (head, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(cut)?;
    let head: Head = serde_json::from_slice(head).map_err(|error| format!("a frame's head: {error}"))?;
    let part = match head.data {
        Some(part) if head.code == 200 => part,
        _ => return Err(format!("refused with code {}", head.code)),
    };
    let (bytes, sum) = rest.split_last_chunk().ok_or_else(cut)?;
    if u64::try_from(bytes.len()) != Ok(part.b_size) {
        return Err(format!("a frame has {} bytes and says {}", bytes.len(), part.b_size));
    }
    if crc16(bytes) != u16::from_le_bytes(*sum) {
        return Err(format!("the checksum of the block at {} is wrong", part.b_offset));
    }
    Ok((part, bytes))
}

/// CRC-16/ARC, bit by bit: written apart from the server's, so that the two check each other.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream { stream_id: 7, file_id: 1 };

    fn frame(offset: u64, length: u64, bytes: &[u8]) -> Bytes {
        let size = bytes.len();
        let data = serde_json::json!({"bOffset": offset, "bSize": size, "fileLength": length});
        let head = serde_json::json!({"id": "1", "code": 200, "data": data}).to_string();
        let length = u16::try_from(head.len()).unwrap().to_be_bytes();
        [&length[..], head.as_bytes(), bytes, &crc16(bytes).to_le_bytes()].concat().into()
    }

    fn blocks(mode: Mode) -> (Blocks, Answers) {
        let digest = Digest::Md5("5d41402abc4b2a76b9719d911017c592".to_owned()); // of "hello"
        Blocks::new(STREAM, mode, 5, digest)
    }

    #[test]
    fn the_checksum_is_the_one_of_the_catalogue() {
        assert_eq!(crc16(b"123456789"), 0xbb3d);
    }

    #[tokio::test]
    async fn blocks_are_asked_for_in_order_and_put_together() {
        let (mut blocks, answers) = blocks(Mode::Full);
        let first = blocks.next().await.unwrap().unwrap();
        assert_eq!(first, Ask { stream: STREAM, offset: 0, size: 5 });
        // Less comes than was asked for, and the same again, late.
        answers.send(frame(0, 5, b"hel")).await.unwrap();
        assert_eq!(blocks.next().await.unwrap().unwrap(), Ask { offset: 3, size: 2, ..first });
        answers.send(frame(0, 5, b"hel")).await.unwrap();
        answers.send(frame(3, 5, b"lo")).await.unwrap();
        assert_eq!(blocks.next().await, Ok(None));
    }

    #[tokio::test]
    async fn a_wrong_package_is_found_at_its_end() {
        let (mut blocks, answers) = blocks(Mode::Full);
        blocks.next().await.unwrap();
        answers.send(frame(0, 5, b"hallo")).await.unwrap();
        assert!(matches!(blocks.next().await, Err(Failure::Check(_))));
    }

    #[tokio::test]
    async fn one_block_is_enough_to_look_at_the_head_and_none_to_measure_pushes() {
        let (mut head, answers) = blocks(Mode::Head);
        head.next().await.unwrap();
        answers.send(frame(0, 5, b"hel")).await.unwrap();
        assert_eq!(head.next().await, Ok(None));
        assert_eq!(blocks(Mode::None).0.next().await, Ok(None));
    }

    #[tokio::test]
    async fn a_frame_with_a_fault_is_noticed() {
        let good = frame(0, 5, b"hello");
        let mut flipped = good.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let refused = [&17_u16.to_be_bytes()[..], br#"{"id":1,"code":4}"#].concat();
        let (short, longer) = (good.slice(..good.len() - 1), frame(0, 6, b"hello"));
        let none = Bytes::from_static(&[0, 200, 1]);
        for bad in [flipped.into(), refused.into(), short, longer, Bytes::new(), none] {
            let (mut blocks, answers) = blocks(Mode::Full);
            blocks.next().await.unwrap();
            answers.send(bad).await.unwrap();
            assert!(matches!(blocks.next().await, Err(Failure::Download(_))));
        }
    }

    #[tokio::test]
    async fn a_block_that_does_not_come_is_asked_for_three_times() {
        let (mut blocks, _answers) = blocks(Mode::Full);
        blocks.patience = Duration::from_millis(1);
        for _ in 0..3 {
            assert!(matches!(blocks.next().await, Ok(Some(_))));
        }
        assert!(matches!(blocks.next().await, Err(Failure::Download(_))));
    }
}
