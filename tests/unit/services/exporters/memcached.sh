#!/bin/sh
# memcached as the region runs it, with too little memory for what it is given, and what the exporter shows.
set -eu
show() {
  echo "== $1"
  curl --silent --show-error --fail 127.0.0.1:9150/metrics
}
serve() {
  memcached --user=memcache --listen=127.0.0.1 --port=11212 --memory-limit=8 --conn-limit=200 --enable-ssl \
    --extended=ssl_chain_cert=/test/host.crt,ssl_key=/test/host.key,ssl_min_version=2 --auth-file="$1" &
  server=$!
}
cp /test/ca.crt /etc/scs/ca.crt
python3 /exporters/memcached_exporter.py 127.0.0.1 9150 &
until curl --silent --fail 127.0.0.1:9150/; do sleep 0.1; done
show nothing
echo 'scs:other' > /run/others
serve /run/others
sleep 1
show refused
kill "$server"
sleep 1
serve /exporters/users
sleep 1
python3 - <<'P'
import socket, ssl
context = ssl.create_default_context(cafile="/etc/scs/ca.crt")
connection = context.wrap_socket(socket.create_connection(("127.0.0.1", 11212)), server_hostname="127.0.0.1")
connection.sendall(b"set login 0 0 10\r\nscs secret\r\n")
value = b"x" * 500_000
for number in range(40):
    connection.sendall(b"set key%d 0 0 %d noreply\r\n%s\r\n" % (number, len(value), value))
connection.sendall(b"get key39\r\nget key0\r\nquit\r\n")
while connection.recv(1 << 20):
    pass
P
show all
