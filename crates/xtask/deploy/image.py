"""The container image as far as it goes without a container engine: its recipe is read, and its root folder is put together
and started, read-only, as the account that is nobody."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tomllib
import urllib.request

import rendered
from checks import check, equal

BINARY = os.environ["OTARIA_BIN"]
WORK = pathlib.Path(os.environ["OTARIA_WORK"])
DEPLOY = rendered.ROOT / "deploy"
ID = 65532

# What a container has besides its image: a root that cannot be written, and folders in memory that can.
INSIDE = """
set -e
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
mount -t tmpfs -o size=64m tmpfs "$root/tmp"
mount -t tmpfs -o size=1g,uid=65532,gid=65532,mode=0700 tmpfs "$root/var/lib/otaria"
exec chroot --userspec=65532:65532 "$root" /usr/local/bin/otaria "$@"
"""


def recipe():
    text = (DEPLOY / "Dockerfile").read_text()
    with check("the Dockerfile has no known faults"):
        done = subprocess.run(
            [rendered.TOOLS / "hadolint", "--failure-threshold", "info", DEPLOY / "Dockerfile"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout.strip()
    with check("the Dockerfile builds with the toolchain of the workspace, and by the script"):
        wanted = tomllib.loads((rendered.ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
        equal(re.search(r"^FROM \S+/rust:([0-9.]+)-", text, re.M).group(1), wanted)
        assert "deploy/rootfs.sh target/release/otaria /rootfs" in text
        equal(re.search(r"^USER (\S+)$", text, re.M).group(1), f"{ID}:{ID}")
    with check("everything that the build needs is handed to it"):
        given = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
        equal(given[0], "*")
        for path in given[1:]:
            assert (rendered.ROOT / path.removeprefix("!")).exists(), path
        members = tomllib.loads((rendered.ROOT / "Cargo.toml").read_text())["workspace"]["members"]
        for member in members:
            assert "!" + member.split("/")[0] in given, member


def root_folder():
    root = WORK / "rootfs"
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    with check("the script puts a root folder together"):
        done = subprocess.run([DEPLOY / "rootfs.sh", BINARY, root], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr.strip()
    with check("the root folder has the program, its libraries and certificates, and nothing to run besides"):
        assert (root / "etc/ssl/certs/ca-certificates.crt").stat().st_size > 100_000
        files = [path for path in root.rglob("*") if path.is_file()]
        other = [
            str(path.relative_to(root))
            for path in files
            if path.stat().st_mode & 0o111 and ".so" not in path.name and path.name != "otaria"
        ]
        equal(other, [])
    with check("the script refuses a folder that is there, and a program that is not"):
        for arguments in ((BINARY, root), (root / "none", WORK / "none")):
            assert subprocess.run([DEPLOY / "rootfs.sh", *arguments], capture_output=True).returncode != 0
    return root


def inside(root, *arguments):
    unshare = ["unshare", "--mount", "--propagation", "private"]
    return [*unshare, "sh", "-c", INSIDE, "sh", root, *arguments]


def start(root):
    with check("the program starts in it, read-only and as nobody, and says its version"):
        done = subprocess.run(inside(root, "--version"), env={}, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and done.stdout.startswith("otaria "), done.stderr.strip()
    with check("the server answers there, and ends within 25 s of SIGTERM"):
        faces = [part for face in ("grpc", "http", "mqtt") for part in (f"--{face}", "127.0.0.1:0")]
        command = inside(root, "serve", "--json", "--data-dir", "/var/lib/otaria", *faces)
        process = subprocess.Popen(command, env={}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()[-600:]
            http = json.loads(line)["http"]
            for path in ("healthz", "readyz", "metrics"):
                with urllib.request.urlopen(f"http://{http}/{path}", timeout=5) as answer:
                    equal(answer.status, 200)
            process.send_signal(signal.SIGTERM)
            equal(process.wait(25), 0)
        finally:
            process.kill()
            process.communicate()


def all_of():
    """Returns the root folder."""
    recipe()
    root = root_folder()
    start(root)
    return root
