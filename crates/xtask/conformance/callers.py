"""The official cloud SDKs for Python behind one call: an action with parameters as they are on the wire.

Parameters are given by their wire names; lists as lists, structures as dictionaries. An answer is the body as a
dictionary, whether the action succeeded or not.
"""

import importlib
import json

from alibabacloud_iot20180120 import models
from alibabacloud_iot20180120.client import Client
from alibabacloud_tea_openapi import models as openapi
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from Tea.exceptions import TeaException

from server import KEY_ID, KEY_SECRET


class NewSdk:
    """`alibabacloud-iot20180120`; signs by V3, or by v1 when it is told to."""

    def __init__(self, server, v1=False, key=(KEY_ID, KEY_SECRET)):
        self.words = "the new SDK (v1)" if v1 else "the new SDK (V3)"
        config = openapi.Config(
            access_key_id=key[0],
            access_key_secret=key[1],
            endpoint=f"127.0.0.1:{server.ports['http']}",
            protocol="https" if server.certificates else "http",
            region_id="cn-shanghai",
        )
        if v1:
            config.signature_algorithm = "v2"
        if server.certificates:
            config.ca = str(server.certificates.ca)
        self.client = Client(config)
        self.methods = {name.replace("_", ""): name for name in dir(Client)}

    def __call__(self, action, **params):
        request = getattr(models, f"{action}Request")()
        # Structures in lists are of classes that the model knows.
        request = request.from_map(params)
        try:
            answer = (
                getattr(self.client, self.methods[action.lower()])(request)
                if params
                else self._bare(action, request)
            )
        except TeaException as error:
            return {"Success": False, "Code": error.code, "ErrorMessage": error.message, "Raised": True}
        return answer.body.to_map()

    def _bare(self, action, request):
        """Some actions have no request at all."""
        return getattr(self.client, self.methods[action.lower()])(request)


class OldSdk:
    """`aliyun-python-sdk-core` with `-iot`; signs by v1."""

    words = "the old SDK"

    def __init__(self, server, key=(KEY_ID, KEY_SECRET)):
        self.client = AcsClient(
            key[0], key[1], "cn-shanghai", verify=str(server.certificates.ca) if server.certificates else None
        )
        self.endpoint = f"127.0.0.1:{server.ports['http']}"
        self.protocol = "https" if server.certificates else "http"

    def __call__(self, action, **params):
        name = f"{action}Request"
        request = getattr(importlib.import_module(f"aliyunsdkiot.request.v20180120.{name}"), name)()
        request.set_endpoint(self.endpoint)
        request.set_protocol_type(self.protocol)
        request.set_accept_format("json")
        for param, value in params.items():
            setter = getattr(request, f"set_{param}s", None) if isinstance(value, list) else None
            setter = setter or getattr(request, f"set_{param}", None)
            if setter:
                setter(value)
            elif isinstance(value, list):
                for place, item in enumerate(value, 1):
                    request.add_query_param(f"{param}.{place}", item)
            else:
                request.add_query_param(param, value)
        try:
            return json.loads(self.client.do_action_with_exception(request))
        except ServerException as error:
            return {
                "Success": False,
                "Code": error.get_error_code(),
                "ErrorMessage": error.get_error_msg(),
                "Raised": True,
            }


def all_of(server):
    """Each SDK in each way of signing."""
    return [NewSdk(server), NewSdk(server, v1=True), OldSdk(server)]


def done(answer):
    """An answer that must be a success."""
    assert answer.get("Success") is True, f"{answer.get('Code')}: {answer.get('ErrorMessage')}"
    assert answer.get("RequestId"), "no RequestId"
    return answer


def refused(answer, code, naming=None):
    """An answer that must be a refusal with this code, or one that begins so with a `*` at its end."""
    assert answer.get("Success") is False, f"accepted: {answer}"
    found = answer.get("Code") or ""
    fits = found.startswith(code[:-1]) if code.endswith("*") else found == code
    assert fits, f"code {found} instead of {code}: {answer.get('ErrorMessage')}"
    if naming:
        assert naming in (answer.get("ErrorMessage") or ""), (
            f"{naming} is not named: {answer.get('ErrorMessage')}"
        )
    return answer
