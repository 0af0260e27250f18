# shellcheck shell=sh
# Asks a server as `monitor`: read by the programs that must know how a member is, also when it is out of connections.
# The client says the same of a host that is away and of a server that is not there; nc tells.
refuses() {
  case $(LC_ALL=C nc -v -z -w 3 "$1" "$2" 2>&1) in
    *'Connection refused'*) ;;
    *) return 1 ;;
  esac
}
# monitor ADDRESS STATEMENT: the answer, or the error, which begins with `refused:` when there is no server.
# Empty ADDRESS: this host's server. One from before it reserved connections answers at the usual port.
monitor() {
  settings="${0%/*}/monitor.cnf"
  address=${1:-$(sed -n 's/^host *= *//p' "$settings")}
  usual=$(sed -n 's/^port *= *//p' "$settings" | head -n 1)
  reserved=$(sed -n 's/^port *= *//p' "$settings" | tail -n 1)
  for port in $reserved $usual; do
    code=0
    said=$(mariadb --defaults-file="$settings" --host="$address" --port="$port" \
      --batch --skip-column-names --execute "$2" 2>&1) || code=$?
    case $code,$said in
      0,*) break ;;
      *'ERROR 2002'* | *'ERROR 2003'*) refuses "$address" "$port" || break ;;
      *) break ;;
    esac
    said="refused: $said"
  done
  printf '%s\n' "$said"
  return "$code"
}
