//! A notice as devices read it.
//!
//! The part under `data` is the same for all devices of a job, so it is written once and kept with the
//! offer; the rest is two numbers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use otaria_ports::inbox::STREAM_FILE_ID;
use otaria_ports::pusher::{Offer, OfferedFile, SignMethod};
use serde::Serialize;

/// Offers kept at most; beyond that all are written anew.
const KEPT: usize = 1_024;

#[derive(Serialize)]
struct Data<'a> {
    version: &'a str,
    #[serde(rename = "isDiff", skip_serializing_if = "Option::is_none")]
    is_diff: Option<u8>,
    #[serde(rename = "signMethod")]
    sign_method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
    /// The flat form, for one file.
    #[serde(flatten)]
    file: Option<FlatFile<'a>>,
    /// The other form, for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<ListedFile<'a>>>,
    #[serde(rename = "extData")]
    ext_data: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct FlatFile<'a> {
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<&'a str>,
    sign: &'a str,
    /// In place of the URL, where the file is asked for in blocks.
    #[serde(flatten)]
    stream: Option<Stream>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stream {
    d_protocol: &'static str,
    stream_id: u32,
    stream_file_id: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedFile<'a> {
    file_name: &'a str,
    file_url: &'a str,
    file_size: u64,
    file_md5: &'a str,
    file_sign: &'a str,
}

fn sign(method: SignMethod, file: &OfferedFile) -> &str {
    match method {
        SignMethod::Md5 => &file.md5,
        SignMethod::Sha256 => &file.sha256,
    }
}

fn listed(method: SignMethod, file: &OfferedFile) -> ListedFile<'_> {
    ListedFile {
        file_name: &file.name,
        file_url: &file.url,
        file_size: file.size,
        file_md5: &file.md5,
        file_sign: sign(method, file),
    }
}

/// The JSON object under `data`.
pub(crate) fn data(offer: &Offer) -> Bytes {
    let method = offer.sign_method;
    let (file, files) = match offer.files.as_slice() {
        [file] => {
            let md5 = (method == SignMethod::Md5).then_some(file.md5.as_str());
            let stream_of = |id| Stream { d_protocol: "mqtt", stream_id: id, stream_file_id: STREAM_FILE_ID };
            let stream = offer.stream_id.map(stream_of);
            let url = stream.is_none().then_some(file.url.as_str());
            (Some(FlatFile { size: file.size, url, md5, sign: sign(method, file), stream }), None)
        }
        files => (None, Some(files.iter().map(|file| listed(method, file)).collect())),
    };
    let tags = offer.tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str()));
    let udi = offer.udi.as_deref().map(|udi| ("_package_udi", udi));
    let data = Data {
        version: offer.version.as_str(),
        is_diff: offer.is_diff.then_some(1),
        sign_method: match method {
            SignMethod::Md5 => "Md5",
            SignMethod::Sha256 => "SHA256",
        },
        module: (!offer.module.is_default()).then_some(offer.module.as_str()),
        file,
        files,
        ext_data: tags.chain(udi).collect(),
    };
    // Numbers and texts under text keys always have a JSON form.
    serde_json::to_vec(&data).unwrap_or_default().into()
}

/// The whole notice.
pub(crate) fn notice(wire_id: i64, data: &[u8]) -> Bytes {
    let head = format!(r#"{{"id":{wire_id},"code":"1000","message":"success","data":"#);
    [head.as_bytes(), data, b"}"].concat().into()
}

/// The answer to a device that asked; `id` is JSON, as the device wrote it.
pub(crate) fn get_reply(id: &serde_json::Value, data: Option<&[u8]>) -> Bytes {
    let head = format!(r#"{{"id":{id},"code":200,"data":"#);
    [head.as_bytes(), data.unwrap_or(b"{}"), b"}"].concat().into()
}

/// Offers that were written before.
#[derive(Default)]
pub(crate) struct Written(HashMap<usize, (Arc<Offer>, Bytes)>);

impl Written {
    /// The offer's `data`, written at most once while the offer lives here.
    pub(crate) fn data(&mut self, offer: &Arc<Offer>) -> Bytes {
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        // The map holds the offer, so its address is not given to another one.
        let place = Arc::as_ptr(offer).addr();
        let (_, data) = self.0.entry(place).or_insert_with(|| (Arc::clone(offer), data(offer)));
        data.clone()
    }
}

#[cfg(test)]
mod tests {
    use otaria_core::ids::{ModuleName, Version};
    use otaria_core::job::Tag;
    use serde_json::{Value, json};

    use super::*;

    fn file(name: &str) -> OfferedFile {
        OfferedFile {
            name: name.into(),
            url: format!("http://127.0.0.1:8080/d/{name}"),
            size: 12_345,
            md5: "0cc175b9c0f1b6a831c399e269772661".into(),
            sha256: "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb".into(),
        }
    }

    fn offer() -> Offer {
        Offer {
            version: Version::parse("2.0.0").unwrap(),
            module: ModuleName::default_module(),
            files: vec![file("a")],
            stream_id: None,
            sign_method: SignMethod::Md5,
            is_diff: false,
            udi: None,
            tags: vec![],
        }
    }

    fn read(offer: &Offer) -> Value {
        serde_json::from_slice(&notice(1_711_111_111_111, &data(offer))).unwrap()
    }

    #[test]
    fn a_notice_of_one_file_is_flat() {
        assert_eq!(
            read(&offer()),
            json!({"id": 1_711_111_111_111_i64, "code": "1000", "message": "success", "data": {
                "version": "2.0.0", "size": 12345, "url": "http://127.0.0.1:8080/d/a",
                "md5": "0cc175b9c0f1b6a831c399e269772661", "sign": "0cc175b9c0f1b6a831c399e269772661",
                "signMethod": "Md5", "extData": {}}})
        );
    }

    #[test]
    fn the_longer_digest_a_module_a_difference_and_marks_are_told() {
        let tags = vec![Tag { key: "batch".into(), value: "\"7\"".into() }];
        let module = ModuleName::parse("mcu").unwrap();
        let udi = Some("udi".to_owned());
        let offer = Offer { sign_method: SignMethod::Sha256, module, is_diff: true, udi, tags, ..offer() };
        assert_eq!(
            read(&offer)["data"],
            json!({"version": "2.0.0", "size": 12345, "url": "http://127.0.0.1:8080/d/a", "isDiff": 1,
                "sign": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
                "signMethod": "SHA256", "module": "mcu",
                "extData": {"batch": "\"7\"", "_package_udi": "udi"}})
        );
    }

    #[test]
    fn a_file_to_be_read_over_mqtt_has_a_stream_and_no_url() {
        let data = &read(&Offer { stream_id: Some(7), ..offer() })["data"];
        assert_eq!(
            *data,
            json!({"version": "2.0.0", "size": 12345, "dProtocol": "mqtt", "streamId": 7, "streamFileId": 1,
                "md5": "0cc175b9c0f1b6a831c399e269772661", "sign": "0cc175b9c0f1b6a831c399e269772661",
                "signMethod": "Md5", "extData": {}})
        );
    }

    #[test]
    fn several_files_are_listed_and_there_is_no_flat_one() {
        let data = &read(&Offer { files: vec![file("a"), file("b")], ..offer() })["data"];
        assert_eq!(data["url"], Value::Null);
        assert_eq!(data["signMethod"], "Md5");
        assert_eq!(
            data["files"][1],
            json!({"fileName": "b", "fileUrl": "http://127.0.0.1:8080/d/b", "fileSize": 12345,
                "fileMd5": "0cc175b9c0f1b6a831c399e269772661",
                "fileSign": "0cc175b9c0f1b6a831c399e269772661"})
        );
    }

    #[test]
    fn a_reply_keeps_the_form_of_the_id() {
        for id in [json!("1"), json!(7)] {
            let reply: Value = serde_json::from_slice(&get_reply(&id, None)).unwrap();
            assert_eq!(reply, json!({"id": id, "code": 200, "data": {}}));
        }
    }

    #[test]
    fn an_offer_is_written_once() {
        let (mut written, offer) = (Written::default(), Arc::new(offer()));
        assert_eq!(written.data(&offer).as_ptr(), written.data(&offer).as_ptr());
    }
}
