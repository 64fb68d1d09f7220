//! What the server tells a device on its upgrade topic, read as strictly as the kits in the field read it.

use serde::Deserialize;

use super::draw::draw;

/// An offer of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The number of the message; of a text, a number that stands for it.
    pub(crate) wire_id: u64,
    pub(crate) version: String,
    pub(crate) source: Source,
    pub(crate) size_bytes: u64,
    pub(crate) digest: Digest,
}

/// Where the package is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Url(String),
    /// Behind the device's own MQTT connection.
    Stream(Stream),
}

/// How a file is asked for over MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) stream_id: u32,
    pub(crate) file_id: u32,
}

/// The digest that the package must have, as lower case hexadecimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    Md5(String),
    Sha256(String),
}

#[derive(Deserialize)]
struct Envelope {
    id: WireId,
    code: String,
    data: Data,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireId {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    size: u64,
    version: String,
    url: Option<String>,
    d_protocol: Option<String>,
    stream_id: Option<u32>,
    stream_file_id: Option<u32>,
    sign: String,
    sign_method: String,
    md5: Option<String>,
    #[serde(rename = "extData")]
    _ext_data: serde_json::Map<String, serde_json::Value>,
}

impl Notice {
    /// Reads a notice. `Err` says what a device would miss in it.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        let envelope: Envelope = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        let data = envelope.data;
        if envelope.code != "1000" {
            return Err(format!("code {} instead of 1000", envelope.code));
        }
        let sign = data.sign.to_ascii_lowercase();
        let digest = match data.sign_method.as_str() {
            "Md5" if data.md5.as_deref() != Some(data.sign.as_str()) => {
                return Err("md5 differs from sign".to_owned());
            }
            "Md5" => Digest::Md5(sign),
            "SHA256" => Digest::Sha256(sign),
            other => return Err(format!("signMethod {other}, neither Md5 nor SHA256")),
        };
        let source = match (data.d_protocol.as_deref(), data.url, data.stream_id, data.stream_file_id) {
            (None, Some(url), None, None) => Source::Url(url),
            (Some("mqtt"), None, Some(stream_id), Some(file_id)) => {
                Source::Stream(Stream { stream_id, file_id })
            }
            (protocol, ..) => {
                let protocol = protocol.unwrap_or("none");
                return Err(format!("dProtocol {protocol} with neither a url alone nor a stream alone"));
            }
        };
        let wire_id = match envelope.id {
            WireId::Number(number) => number,
            WireId::Text(text) => text.bytes().fold(1, |hash, byte| draw(hash, u64::from(byte), 0)),
        };
        Ok(Self { wire_id, version: data.version, source, size_bytes: data.size, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(change: impl Fn(&mut serde_json::Value)) -> Result<Notice, String> {
        let mut value = serde_json::json!({
            "id": 1_711_111_111_111_u64, "code": "1000", "message": "success",
            "data": {"size": 12345, "version": "2.0.0", "isDiff": 0, "url": "http://h/d/t", "md5": "ab",
                     "sign": "ab", "signMethod": "Md5", "extData": {}}
        });
        change(&mut value);
        Notice::parse(value.to_string().as_bytes())
    }

    #[test]
    fn a_whole_notice_is_read() {
        let read = notice(|_| ()).unwrap();
        assert_eq!(read.wire_id, 1_711_111_111_111);
        assert_eq!((read.version.as_str(), read.size_bytes), ("2.0.0", 12_345));
        assert_eq!(read.digest, Digest::Md5("ab".to_owned()));
        let sha = notice(|value| value["data"]["signMethod"] = "SHA256".into()).unwrap();
        assert_eq!(sha.digest, Digest::Sha256("ab".to_owned()));
    }

    #[test]
    fn a_stream_takes_the_place_of_the_url() {
        let streamed = |value: &mut serde_json::Value| {
            let data = value["data"].as_object_mut().unwrap();
            data.remove("url");
            data.extend([
                ("dProtocol".to_owned(), "mqtt".into()),
                ("streamId".to_owned(), 7.into()),
                ("streamFileId".to_owned(), 1.into()),
            ]);
        };
        assert_eq!(notice(streamed).unwrap().source, Source::Stream(Stream { stream_id: 7, file_id: 1 }));
        for field in ["dProtocol", "streamId", "streamFileId"] {
            let cut = notice(|value| {
                streamed(value);
                value["data"].as_object_mut().unwrap().remove(field);
            });
            assert!(cut.is_err(), "{field}");
        }
        let both = notice(|value| {
            streamed(value);
            value["data"]["url"] = "http://h/d/t".into();
        });
        assert!(both.is_err());
    }

    #[test]
    fn ids_as_text_are_told_apart() {
        let of = |id: &str| notice(|value| value["id"] = id.into()).unwrap().wire_id;
        assert_eq!(of("7"), of("7"));
        assert_ne!(of("7"), of("8"));
        assert_ne!(of("78"), of("87"));
    }

    #[test]
    fn a_notice_that_a_kit_would_drop_is_refused() {
        for field in ["size", "version", "url", "sign", "signMethod", "md5", "extData"] {
            let cut = notice(|value| {
                value["data"].as_object_mut().unwrap().remove(field);
            });
            assert!(cut.is_err(), "{field}");
        }
        assert!(notice(|value| value["code"] = 1000.into()).is_err());
        assert!(notice(|value| value["data"]["signMethod"] = "MD5".into()).is_err());
        assert!(Notice::parse(b"{").is_err());
    }
}
