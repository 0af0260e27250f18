#!/bin/sh
# Placement with a hypervisor, a stand-in for Keystone whose first token has ended, and what the exporter shows.
set -eu
show() {
  echo "== $1"
  curl --silent --show-error --fail 127.0.0.1:9180/metrics
}
cat > /tmp/placement.conf <<'X'
[api]
auth_strategy = noauth2
[placement_database]
connection = sqlite:////tmp/placement.sqlite
sync_on_startup = true
X
cat > /tmp/keystone.py <<'P'
import http.server, json
class Keystone(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["auth"]
        user = said["identity"]["password"]["user"]
        right = (self.path, user["name"], user["password"]) == ("/v3/auth/tokens", "openstack_exporter", "secret")
        right = right and said["scope"]["project"]["name"] == "service"
        Keystone.asked += 1
        self.send_response(201 if right else 401)
        # Placement takes `admin` for an administrator's token here
        self.send_header("X-Subject-Token", "admin")
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", 5000), Keystone).serve_forever()
P
mkdir /tmp/exporter
cp /exporters/*.py /tmp/exporter
echo '{"auth_url": "http://127.0.0.1:5000/v3", "username": "openstack_exporter", "password": "secret",
  "placement": "http://127.0.0.1:8778", "interval": 1}' > /tmp/exporter/openstack.json
python3 /tmp/exporter/openstack_exporter.py 9180 &
until curl --silent --fail 127.0.0.1:9180/; do sleep 0.1; done
sleep 1
show nothing
python3 /tmp/keystone.py &
OS_PLACEMENT_CONFIG_DIR=/tmp python3 /usr/bin/placement-api --port 8778 > /tmp/log 2>&1 &
until curl --silent --fail 127.0.0.1:8778/ > /dev/null; do sleep 0.2; done
api() {
  curl --silent --show-error --fail --output /dev/null --header 'X-Auth-Token: admin' \
    --header 'OpenStack-API-Version: placement 1.39' --header 'Content-Type: application/json' "$@"
}
id=11111111-2222-3333-4444-555555555555
api 127.0.0.1:8778/resource_providers --data "{\"name\": \"compute-1\", \"uuid\": \"$id\"}"
api 127.0.0.1:8778/resource_providers/$id/inventories --request PUT --data '{"resource_provider_generation": 0,
  "inventories": {"VCPU": {"total": 8, "allocation_ratio": 3.0}, "MEMORY_MB": {"total": 16000, "reserved": 512}}}'
api 127.0.0.1:8778/allocations/99999999-2222-3333-4444-555555555555 --request PUT --data "{\"allocations\": {\"$id\":
  {\"resources\": {\"VCPU\": 6, \"MEMORY_MB\": 4096}}}, \"project_id\": \"p\", \"user_id\": \"u\",
  \"consumer_generation\": null, \"consumer_type\": \"INSTANCE\"}"
sleep 3
show all
