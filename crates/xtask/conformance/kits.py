"""Devices: the official Python kit with its callbacks kept, and a bare client that logs in the way other kits do."""

import hashlib
import hmac
import json
import queue
import struct
import threading

import paho.mqtt.client as mqtt
from linkkit import linkkit

HASHES = {"hmacmd5": hashlib.md5, "hmacsha1": hashlib.sha1, "hmacsha256": hashlib.sha256}


def login(product, device, method="hmacsha256", id=None, timestamp=None, extra="", secret=None, upper=False):
    """Client id, user name and password of a device, by the documented formula."""
    name, secret = device[0], secret or device[1]
    id = id or f"{product}.{name}"
    text = f"clientId{id}deviceName{name}productKey{product}"
    options = f"securemode=3,signmethod={method}"
    if timestamp:
        text += f"timestamp{timestamp}"
        options += f",timestamp={timestamp}"
    password = hmac.new(secret.encode(), text.encode(), HASHES[method]).hexdigest()
    return f"{id}|{options}{extra}|", f"{name}&{product}", password.upper() if upper else password


class Kit:
    """The official kit. `device` is (name, secret); a `given` login replaces the kit's own."""

    def __init__(self, server, product, device, tls=False, given=None, secret=None):
        self.product, self.name = product, device[0]
        self.connects, self.disconnects = queue.Queue(), queue.Queue()
        self.offers, self.messages, self.subscribed = queue.Queue(), queue.Queue(), queue.Queue()
        if given:
            client_id, user, password = given
            self.kit = linkkit.LinkKit(
                "127.0.0.1", product, device[0], "", client_id=client_id, username=user, password=password
            )
        else:
            self.kit = linkkit.LinkKit("127.0.0.1", product, device[0], secret or device[1])
        # It trusts the authority for its downloads, too.
        authority = server.certificates.ca.read_text() if server.certificates else None
        port = server.ports["mqtt_tls" if tls else "mqtt"]
        self.kit.config_mqtt(port=port, secure="TLS" if tls else "", cadata=authority)
        self.kit.on_connect = lambda session, rc, data: self.connects.put(rc)
        self.kit.on_disconnect = lambda rc, data: self.disconnects.put(rc)
        self.kit.on_ota_message_arrived = lambda *offer: self.offers.put(Offer(*offer))
        self.kit.on_topic_message = lambda topic, payload, qos, data: self.messages.put((topic, payload))
        self.kit.on_subscribe_topic = lambda mid, granted, data: self.subscribed.put(granted)
        self.kit.connect_async()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Taken apart while it connects again, the kit may wait for itself for ever: it is not waited for longer.
        def destruct():
            try:
                self.kit.destruct()
            except Exception:
                pass

        end = threading.Thread(target=destruct, daemon=True)
        end.start()
        end.join(timeout=10)

    def connected(self, seconds=10):
        assert self.connects.get(timeout=seconds) == 0
        return self

    def refused(self, seconds=3):
        """The kit says nothing of a refusal and tries again for ever: it must not get in."""
        try:
            code = self.connects.get(timeout=seconds)
        except queue.Empty:
            return
        assert code != 0, "it connected"

    def offer(self, seconds=10):
        return self.offers.get(timeout=seconds)

    def silence(self, seconds=1.5):
        try:
            heard = self.offers.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError(f"heard {heard.__dict__}")

    def report(self, version, module=None):
        # Its answer is an error code although it publishes.
        self.kit.ota_report_version(module, version)

    def progress(self, step, desc="", module=None):
        params = {"step": str(step), "desc": desc}
        if module:
            params["module"] = module
        topic = f"/ota/device/progress/{self.product}/{self.name}"
        code, _ = self.kit.publish_topic(topic, json.dumps({"id": "1", "params": params}))
        assert code == 0, f"publish_topic answered {code}"


class Offer:
    """What the kit tells of a notice: kind 1 was pushed, kind 2 was asked for."""

    def __init__(self, kind, version, size, url, method, sign, module, extra):
        self.kind, self.version, self.size, self.url = kind, version, size, url
        self.method, self.sign, self.module, self.extra = method, sign, module, extra


class Bare:
    """A client without a kit, for what the kit hides or cannot do."""

    def __init__(self, server, given, tls=False, subscribe=()):
        client_id, user, password = given
        self.packets, self.codes, self.lost = queue.Queue(), queue.Queue(), queue.Queue()
        self.granted = queue.Queue()
        self.client = mqtt.Client(client_id=client_id, protocol=mqtt.MQTTv311)
        self.client.username_pw_set(user, password)
        self.client.on_connect = lambda client, data, flags, rc: self.codes.put(rc)
        self.client.on_disconnect = lambda client, data, rc: self.lost.put(rc)
        self.client.on_message = lambda client, data, message: self.packets.put(message)
        self.client.on_subscribe = lambda client, data, mid, granted: self.granted.put(list(granted))
        if tls:
            self.client.tls_set(str(server.certificates.ca))
        self.client.connect("127.0.0.1", server.ports["mqtt_tls" if tls else "mqtt"], 60)
        self.client.loop_start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.loop_stop()
        self.client.disconnect()

    def code(self, seconds=10):
        """The code of the CONNACK."""
        return self.codes.get(timeout=seconds)

    def subscribe(self, topic, qos=1):
        self.client.subscribe(topic, qos)
        return self.granted.get(timeout=10)

    def say(self, topic, payload, qos=1):
        if not isinstance(payload, (str, bytes)):
            payload = json.dumps(payload)
        self.client.publish(topic, payload, qos)

    def message(self, seconds=10):
        return self.packets.get(timeout=seconds)


def crc16(data):
    """CRC-16/ARC."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def block(payload):
    """A frame of a download over MQTT: its JSON, and its bytes (None where there are none)."""
    (length,) = struct.unpack(">H", payload[:2])
    head, rest = json.loads(payload[2 : 2 + length]), payload[2 + length :]
    if not rest:
        return head, None
    body, (sum,) = rest[:-2], struct.unpack("<H", rest[-2:])
    assert crc16(body) == sum, "the checksum is wrong"
    return head, body
