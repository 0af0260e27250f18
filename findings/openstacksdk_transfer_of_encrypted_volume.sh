#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# openstacksdk 4.22.0: the version of Cinder's API with which it asks for the transfer of a volume.
#
# Expected: the newest that both sides know. Cinder moves encrypted volumes to another project from 3.70 on, and this
# service says that it has 3.71.
# Seen: 3.55, the newest that the class Transfer names. To Cinder that is a client which does not know that the key
# moves, too: it refuses an encrypted volume. There is no argument for another version; the request has to be written
# by hand, session.post(..., microversion="3.70").
set -euo pipefail
version=4.22.0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "openstacksdk==$version"
cat > "$folder/check.py" <<'CHECK'
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import openstack

asked = []


class Cinder(BaseHTTPRequestHandler):
    """Version discovery, and one call."""

    def do_GET(self):
        here = f"http://127.0.0.1:{self.server.server_port}/v3/"
        version = {"id": "v3.0", "status": "CURRENT", "version": "3.71", "min_version": "3.0"}
        self.answer(300, {"versions": [version | {"links": [{"rel": "self", "href": here}]}]})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        asked.append((self.path, self.headers["OpenStack-API-Version"]))
        self.answer(202, {"transfer": {"id": "t", "volume_id": "v", "auth_key": "k", "name": None}})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Cinder)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.server_port}/v3/project"
cloud = openstack.connect(auth_type="none", auth={"endpoint": endpoint}, block_storage_endpoint_override=endpoint)
cloud.block_storage.create_transfer(volume_id="v")
print(asked)
assert asked == [("/v3/project/volume-transfers", "volume 3.55")], asked
CHECK
"$folder/venv/bin/python" "$folder/check.py"
echo "as described"
