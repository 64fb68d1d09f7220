"""The HTTP face, driven by nothing but the official cloud SDKs for Python: the new one with both ways of
signing, and the old one; over https at the end."""

import doors
import dynamic
import rollouts
import things
from callers import NewSdk, OldSdk, all_of, done
from checks import check, end, equal
from server import WORK, Certificates, Server


def walk(call, server):
    for part in (things.products, things.devices, things.groups, things.modules):
        guarded(call, part, call)
    for part in (
        things.presence,
        things.packages,
        rollouts.verification,
        rollouts.kinds,
        dynamic.groups,
        dynamic.modes,
        dynamic.scopes,
        dynamic.beside,
        dynamic.endings,
        rollouts.tasks,
    ):
        guarded(call, part, call, server)


def guarded(call, part, *arguments):
    """What a part needs before its first check may fail, too."""
    try:
        part(*arguments)
    except Exception as error:
        with check(
            f"{getattr(call, 'words', 'by hand')}: {part.__module__}.{part.__name__} goes on to its end"
        ):
            raise error


plain = Server("cloud")
for call in all_of(plain):
    walk(call, plain)
guarded(None, doors.signatures, plain)
guarded(None, doors.forms, NewSdk(plain), plain)
for call in (NewSdk(plain), OldSdk(plain)):
    guarded(call, doors.rules, call, plain)

plain.stop()
secure = Server("cloud-tls", Certificates(WORK / "certificates"))
for call in all_of(secure):
    with check(f"{call.words}: speaks https with a private CA"):
        key = things.product(call)
        equal(done(call("QueryProduct", ProductKey=key))["Data"]["ProductKey"], key)
        things.firmware(call, secure, key, "2.0.0", b"data")
end()
