"""A server of one's own: started on free ports in an empty folder, restarted, stopped, and asked by its own
command line. `OTARIA_BIN` names the binary, `OTARIA_WORK` a folder for whatever is written."""

import atexit
import datetime
import hashlib
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BINARY = os.environ["OTARIA_BIN"]
WORK = pathlib.Path(os.environ["OTARIA_WORK"])
KEY_ID = "conformance-key"
KEY_SECRET = "conformance-secret-0123456789"


class Certificates:
    """A private authority, and a certificate for 127.0.0.1 under it."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.chain, self.key = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Conformance CA")])
        ca = self._certificate(
            ca_name, ca_name, ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=0)
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        address = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        )
        chain = self._certificate(name, ca_name, key, ca_key, address)
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        self.chain.write_bytes(chain.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    @staticmethod
    def _certificate(subject, issuer, key, issuer_key, extension):
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        return builder.add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())


class Server:
    """`otaria serve`; with certificates, MQTT listens with and without TLS, and HTTP with TLS only."""

    def __init__(self, name, certificates=None, flags=("--api-quota", "off")):
        self.folder = WORK / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.certificates = certificates
        self.flags = list(flags)
        self.ports = {"grpc": 0, "http": 0, "mqtt": 0, "mqtt_tls": 0}
        self.process = None
        atexit.register(self.stop)
        self.start()

    def start(self):
        config = self.folder / "otaria.toml"
        text = ""
        if self.certificates:
            pair = f'tls_certificate = "{self.certificates.chain}"\ntls_key = "{self.certificates.key}"\n'
            tls_listen = f'tls_listen = "127.0.0.1:{self.ports["mqtt_tls"]}"\n'
            text = f"[http]\n{pair}[mqtt]\n{tls_listen}{pair}"
        config.write_text(text)
        command = [BINARY, "serve", "--json", "--config", config, "--data-dir", self.folder / "data"]
        for face in ("grpc", "http", "mqtt"):
            command += [f"--{face}", f"127.0.0.1:{self.ports[face]}"]
        keys = {"OTARIA_ACCESS_KEY_ID": KEY_ID, "OTARIA_ACCESS_KEY_SECRET": KEY_SECRET}
        self.process = subprocess.Popen(
            [str(part) for part in command + self.flags],
            env={**os.environ, **keys},
            stdout=subprocess.PIPE,
            stderr=open(self.folder / "log", "ab"),
        )
        ready = self.process.stdout.readline()
        if not ready:
            raise RuntimeError("the server did not start:\n" + (self.folder / "log").read_text()[-2000:])
        addresses = json.loads(ready)
        for face in self.ports:
            if addresses.get(face):
                self.ports[face] = int(addresses[face].rsplit(":", 1)[1])

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def restart(self, how=signal.SIGKILL):
        """Dies and comes back on the same ports, over what it left."""
        self.stop(how)
        self.start()

    def __call__(self, *arguments):
        """Asks by the command line; returns the lines of JSON that it answers with."""
        environment = {
            **os.environ,
            "OTARIA_ENDPOINT": f"http://127.0.0.1:{self.ports['grpc']}",
            "OTARIA_ACCESS_KEY_ID": KEY_ID,
            "OTARIA_ACCESS_KEY_SECRET": KEY_SECRET,
        }
        command = [BINARY, *(str(argument) for argument in arguments), "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"otaria {' '.join(command[1:])}: {done.stderr.strip()}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def package(self, name, size=100_000):
        """A file of that many bytes that differ from name to name; returns its path."""
        path = self.folder / name
        block = hashlib.sha256(name.encode()).digest()
        path.write_bytes((block * (size // len(block) + 1))[:size])
        return path
