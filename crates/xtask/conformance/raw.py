"""Requests signed by hand (RPC v1), to be wrong in one way at a time."""

import base64
import hashlib
import hmac
import time
import urllib.parse
import uuid

import requests

from server import KEY_ID, KEY_SECRET


def encoded(text):
    return urllib.parse.quote(str(text), safe="~")


def query(action, secret=KEY_SECRET, **params):
    """The signed parameters of a GET. A parameter given as None is left out."""
    common = {
        "AccessKeyId": KEY_ID,
        "Action": action,
        "Format": "JSON",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureNonce": uuid.uuid4().hex,
        "SignatureVersion": "1.0",
        "Timestamp": timestamp(),
        "Version": "2018-01-20",
    }
    all = {name: value for name, value in {**common, **params}.items() if value is not None}
    canonical = "&".join(f"{encoded(name)}={encoded(all[name])}" for name in sorted(all))
    text = f"GET&%2F&{encoded(canonical)}"
    digest = hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
    return {**all, "Signature": base64.b64encode(digest).decode()}


def timestamp(ahead_seconds=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ahead_seconds))


def get(server, params):
    scheme = "https" if server.certificates else "http"
    verify = str(server.certificates.ca) if server.certificates else None
    return requests.get(
        f"{scheme}://127.0.0.1:{server.ports['http']}/", params=params, verify=verify, timeout=30
    )
