#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Alertmanager 0.28.1 (Debian's build): POST /api/v2/silences with the id of an active silence and a later end.
#
# Expected: the silence of that id ends later; when it is said to begin does not matter, since it has begun already.
# Seen: only if `startsAt` is, to the second, what Alertmanager stored. With any other one, such as the present, the old
# silence expires at once and a new one is made: the answer is 200 in both cases, and tells only by another id. A client
# that prolongs its silence by the id that it knows works as expected within the first second, when it is tried by hand,
# and leaves one more active silence behind each time later on.
set -euo pipefail
version=0.28.1+ds-1
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2> /dev/null; rm -rf "$folder"' EXIT
file="prometheus-alertmanager_${version}_amd64.deb"
curl --fail --silent --show-error --location --output "$folder/$file" \
  "http://deb.debian.org/debian/pool/main/p/prometheus-alertmanager/$file"
dpkg-deb --extract "$folder/$file" "$folder/root"
printf 'route: {receiver: nobody}\nreceivers: [{name: nobody}]\n' > "$folder/config.yml"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cp "$folder/config.yml" "$folder/root/"
ldd "$folder/root/usr/bin/prometheus-alertmanager" | grep -o '/[^ ]*' | xargs cp --dereference --parents --target-directory "$folder/root"
# Debian's build looks for its templates in /usr/share
unshare --user --map-root-user chroot "$folder/root" /usr/bin/prometheus-alertmanager \
  --config.file=/config.yml --storage.path=/data \
  --web.listen-address="127.0.0.1:$port" --cluster.listen-address= 2> "$folder/log" &
server=$!
curl --fail --silent --retry 60 --retry-delay 1 --retry-connrefused --output /dev/null "http://127.0.0.1:$port/-/ready"
cat > "$folder/check.py" <<'CHECK'
import datetime
import json
import sys
import time
import urllib.request

API = f"http://127.0.0.1:{sys.argv[1]}/api/v2"
MATCHERS = [{"name": "host", "value": "a", "isRegex": False, "isEqual": True}]


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def silence(minutes, begin=None, identifier=None):
    """Make or prolong one; its id."""
    now = datetime.datetime.now(datetime.timezone.utc)
    body = {
        "matchers": MATCHERS, "createdBy": "me", "comment": "x", "startsAt": begin or now.isoformat(),
        "endsAt": (now + datetime.timedelta(minutes=minutes)).isoformat(),
    }
    return ask("/silences", body | ({"id": identifier} if identifier else {}))["silenceID"]


def active():
    return {s["id"] for s in ask("/silences") if s["status"]["state"] == "active"}


first = silence(60)
print("prolonged within the second:", "same id" if silence(90, None, first) == first else "another id")
stored = ask(f"/silence/{first}")["startsAt"]
time.sleep(1.5)
second = silence(120, stored, first)
print("later, with the begin that is stored:", "same id" if second == first else "another id")
third = silence(150, None, first)
print("later, with the present as its begin:", "same id" if third == first else "another id")
silence(180, None, first)
print("once more by the id known at first:", len(active()), "silences are active")
assert (second == first, third == first, first in active(), len(active())) == (True, False, False, 2)
CHECK
python3 "$folder/check.py" "$port"
echo "as described"
