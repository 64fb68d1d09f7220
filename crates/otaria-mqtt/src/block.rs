//! Blocks of a package over MQTT: what a device asks for, and the frame of the answer.
//!
//! A frame is the length of the JSON (2 bytes, big endian), the JSON, the raw bytes, and the CRC-16/ARC of
//! the raw bytes (2 bytes, little endian). A refusal is a frame of the first two only, with another code
//! than 200 and no data.

use bytes::{BufMut, Bytes, BytesMut};
use otaria_ports::inbox::{BLOCK_MAX, Block, BlockAsked};
use serde_json::Value;

use crate::payload::{self, BadPayload};

/// The longest `fileToken` that is handed back, in bytes.
const TOKEN_MAX: usize = 128;

/// A device's question, read as far as it has sense.
#[derive(Debug, PartialEq)]
pub(crate) struct Question {
    /// As the device wrote it, number or text.
    pub(crate) id: Value,
    /// Handed back as it came.
    token: Option<String>,
    /// `None` where it does not say what it wants, or wants too much.
    pub(crate) asked: Option<BlockAsked>,
}

/// Why there is no block, as the code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed = 400,
    NotOffered = 404,
    OutOfRange = 416,
    Unavailable = 500,
}

impl Question {
    /// Reads a question. One that has an id but no sense is read, so that it can be refused.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, BadPayload> {
        let root = payload::parse(payload)?;
        let id = payload::id(&root)?;
        let params = &root["params"];
        let token = params["fileToken"].as_str().filter(|token| token.len() <= TOKEN_MAX);
        Ok(Self { id, token: token.map(str::to_owned), asked: asked(params) })
    }

    /// The answer with the bytes.
    pub(crate) fn answer(&self, offset: u64, block: &Block) -> Bytes {
        let token =
            self.token.as_ref().map(|token| format!(r#""fileToken":{},"#, Value::from(token.as_str())));
        let json = format!(
            r#"{{"id":{},"code":200,"data":{{{}"bOffset":{offset},"bSize":{},"fileLength":{}}}}}"#,
            self.id,
            token.unwrap_or_default(),
            block.bytes.len(),
            block.file_size,
        );
        let mut frame = head(&json, block.bytes.len() + 2);
        frame.put_slice(&block.bytes);
        frame.put_u16_le(crc16_arc(&block.bytes));
        frame.freeze()
    }

    /// The answer without.
    pub(crate) fn refuse(&self, why: Refusal) -> Bytes {
        head(&format!(r#"{{"id":{},"code":{}}}"#, self.id, why as u16), 0).freeze()
    }
}

fn head(json: &str, more: usize) -> BytesMut {
    // An id and a token have at most 128 bytes; escaped they stay far below 65,535.
    let length = u16::try_from(json.len()).unwrap_or(u16::MAX);
    let mut frame = BytesMut::with_capacity(2 + json.len() + more);
    frame.put_u16(length);
    frame.put_slice(json.as_bytes());
    frame
}

fn asked(params: &Value) -> Option<BlockAsked> {
    let (info, block) = (&params["fileInfo"], &params["fileBlock"]);
    let size = u32::try_from(number(&block["size"])?).ok()?;
    Some(BlockAsked {
        stream_id: u32::try_from(number(&info["streamId"])?).ok()?,
        file_id: u32::try_from(number(&info["fileId"])?).ok()?,
        offset: number(&block["offset"])?,
        size: Some(size).filter(|size| (1..=BLOCK_MAX).contains(size))?,
    })
}

/// A number, also one written as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// CRC-16/ARC: polynomial 0x8005 reflected, beginning with 0.
fn crc16_arc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        let [low, _] = crc.to_le_bytes();
        (crc >> 8) ^ CRC_TABLE[usize::from(low ^ byte)]
    })
}

const CRC_TABLE: [u16; 256] = crc_table();

const fn crc_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        let mut crc = index as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(json: &str) -> Question {
        Question::parse(json.as_bytes()).unwrap()
    }

    fn block(bytes: &'static [u8]) -> Block {
        Block { bytes: Bytes::from_static(bytes), file_size: u64::try_from(bytes.len()).unwrap() }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const ASKED: BlockAsked = BlockAsked { stream_id: 7, file_id: 1, offset: 0, size: 5_120 };

    #[test]
    fn a_frame_is_what_kits_expect_byte_for_byte() {
        let frame = question(r#"{"id":"1","params":{}}"#).answer(0, &block(b"123456789"));
        assert_eq!(
            hex(&frame),
            "00437b226964223a2231222c22636f6465223a3230302c2264617461223a7b22624f6666736574223a302c226253\
             697a65223a392c2266696c654c656e677468223a397d7d3132333435363738393dbb"
        );
    }

    #[test]
    fn the_checksum_is_the_one_of_the_catalogue() {
        assert_eq!(crc16_arc(b"123456789"), 0xbb3d);
        assert_eq!(crc16_arc(b""), 0);
    }

    #[test]
    fn a_token_is_handed_back_and_an_id_keeps_its_form() {
        let frame = question(r#"{"id":9,"params":{"fileToken":"a\"b"}}"#).answer(4, &block(b"x"));
        let json: Value = serde_json::from_slice(&frame[2..frame.len() - 3]).unwrap();
        let data = json!({"fileToken": "a\"b", "bOffset": 4, "bSize": 1, "fileLength": 1});
        assert_eq!(json, json!({"id": 9, "code": 200, "data": data}));
    }

    #[test]
    fn a_refusal_is_a_frame_without_data() {
        let frame = question(r#"{"id":"1"}"#).refuse(Refusal::NotOffered);
        assert_eq!(&frame[..], b"\0\x15{\"id\":\"1\",\"code\":404}");
    }

    #[test]
    fn the_comma_that_a_kit_in_c_writes_too_many_does_no_harm() {
        let c = r#"{"id":"1","version":"1.0","params":{"fileToken":"","fileInfo":{"streamId":7,"fileId":1,},"fileBlock":{"size":5120,"offset":0}}}"#;
        assert_eq!(question(c).asked, Some(ASKED));
    }

    #[test]
    fn what_has_no_sense_or_wants_too_much_is_not_asked_for() {
        let asked = |info: Value, block: Value| {
            question(&json!({"id": 1, "params": {"fileInfo": info, "fileBlock": block}}).to_string()).asked
        };
        let info = || json!({"streamId": 7, "fileId": 1});
        let sized = |size: Value| asked(info(), json!({"size": size, "offset": 0}));
        assert_eq!(sized(json!(5_120)), Some(ASKED));
        assert_eq!(sized(json!("5120")), Some(ASKED));
        assert_eq!(sized(json!(131_072)).map(|asked| asked.size), Some(BLOCK_MAX));
        for bad in [json!(0), json!(131_073), json!(-1), json!(1.5), json!(null), json!([5_120])] {
            assert_eq!(sized(bad), None);
        }
        assert_eq!(asked(info(), json!({"size": 1, "offset": -1})), None);
        assert_eq!(asked(info(), json!(7)), None);
        assert_eq!(asked(json!({"streamId": 4_294_967_296_u64, "fileId": 1}), json!({"size": 1})), None);
        assert_eq!(asked(json!({"fileId": 1}), json!({"size": 1, "offset": 0})), None);
    }
}
