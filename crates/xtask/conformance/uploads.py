"""Upload forms as clients of the API fill them in."""

import hashlib

import requests


def post(server, form, data, forged=None, **more):
    """Posts a file by a form that the API gave; returns the HTTP answer. `forged` replaces fields."""
    access_key = form.get("OSSAccessKeyId") or form.get("OssAccessKeyId") or form.get("AccessKeyId")
    fields = {
        "key": form["Key"],
        "policy": form["Policy"],
        "OSSAccessKeyId": access_key,
        "Signature": form["Signature"],
        "success_action_status": "200",
        **(forged or {}),
        **more,
    }
    host = form["Host"]
    if "://" not in host:
        host = f"{'https' if server.certificates else 'http'}://{host}"
    verify = str(server.certificates.ca) if server.certificates else None
    return requests.post(host, data=fields, files={"file": ("f", data)}, verify=verify, timeout=60)


def package(call, server, data, suffix="bin"):
    """Uploads a package and returns its FirmwareUrl."""
    answer = call("GenerateOTAUploadURL", FileSuffix=suffix)
    assert answer["Success"], answer
    form = answer["Data"]
    posted = post(server, form, data)
    assert posted.status_code == 200, f"{posted.status_code}: {posted.text}"
    return form["FirmwareUrl"]


def names(call, server, lines):
    """Uploads a device list and returns its FileUrl."""
    answer = call("GenerateDeviceNameListURL")
    assert answer["Success"], answer
    form = answer["Data"]
    posted = post(server, form, "\n".join(lines).encode())
    assert posted.status_code == 200, f"{posted.status_code}: {posted.text}"
    return form["FileUrl"]


def md5(data):
    return hashlib.md5(data).hexdigest()
