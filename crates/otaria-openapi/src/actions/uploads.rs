//! Forms for uploads: where a file goes, and the permission to send it there.

use otaria_ports::store::UploadKind;

use super::{Call, Done};
use crate::envelope::Fields;
use crate::forms::IssuedForm;
use crate::instant::utc;

pub(super) async fn package_form(call: &Call<'_>) -> Done {
    let suffix = call.params.owned("FileSuffix");
    let form = call.api.forms.issue(&call.caller, call.now, UploadKind::Package, suffix)?;
    Ok(answer(call, form, ("OSSAccessKeyId", "FirmwareUrl")))
}

pub(super) async fn list_form(call: &Call<'_>) -> Done {
    let form = call.api.forms.issue(&call.caller, call.now, UploadKind::NameList, None)?;
    Ok(answer(call, form, ("AccessKeyId", "FileUrl")))
}

fn answer(call: &Call<'_>, form: IssuedForm, (key_name, url_name): (&'static str, &'static str)) -> Fields {
    let data = Fields::new()
        .with("Host", form.host)
        .with("Key", form.key)
        .with(key_name, form.access_key_id)
        .with("Policy", form.policy)
        .with("Signature", form.signature)
        .with(url_name, form.url)
        .with("ObjectStorage", "OSS")
        .with("UtcCreate", utc(call.now));
    Fields::new().with("Data", data)
}
