"""Starts a server for `cloud.mjs`, the suite of the SDKs for Node.js."""

import os
import pathlib
import subprocess
import sys

from server import KEY_ID, KEY_SECRET, Server

server = Server("node")
done = subprocess.run(
    ["node", pathlib.Path(__file__).with_name("cloud.mjs")],
    env={
        **os.environ,
        "OTARIA_HTTP": f"127.0.0.1:{server.ports['http']}",
        "OTARIA_ACCESS_KEY_ID": KEY_ID,
        "OTARIA_ACCESS_KEY_SECRET": KEY_SECRET,
    },
)
sys.exit(done.returncode)
