//! Forms for uploads: where a file goes, and the permission to send it there.

use otaria_engine::command::IssuedUpload;
use otaria_ports::store::UploadKind;

use super::{Call, Done};
use crate::envelope::Fields;
use crate::forms::{Form, PATH};
use crate::instant::utc;

pub(super) async fn package_form(call: &Call<'_>) -> Done {
    let suffix = call.params.owned("FileSuffix");
    let issued = call.commands().issue_upload(&call.caller, UploadKind::Package, suffix)?;
    Ok(form(call, UploadKind::Package, &issued, ("OSSAccessKeyId", "FirmwareUrl")))
}

pub(super) async fn list_form(call: &Call<'_>) -> Done {
    let issued = call.commands().issue_upload(&call.caller, UploadKind::NameList, None)?;
    Ok(form(call, UploadKind::NameList, &issued, ("AccessKeyId", "FileUrl")))
}

fn form(
    call: &Call<'_>,
    kind: UploadKind,
    issued: &IssuedUpload,
    (key_name, url_name): (&'static str, &'static str),
) -> Fields {
    let form = Form::new(kind, issued, &call.caller.key, call.now);
    let signed = call.api.form_key.sign(&form);
    let data = Fields::new()
        .with("Host", format!("{}{PATH}", call.commands().deps().download_base))
        .with("Key", form.key)
        .with(key_name, form.access_key)
        .with("Policy", signed.policy)
        .with("Signature", signed.signature)
        .with(url_name, issued.url.as_str())
        .with("ObjectStorage", "OSS")
        .with("UtcCreate", utc(call.now));
    Fields::new().with("Data", data)
}
