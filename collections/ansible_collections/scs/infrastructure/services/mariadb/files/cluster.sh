# shellcheck shell=sh
# The members of the cluster: read by start.sh, init.sh and gate.sh.
. "${0%/*}/cluster.env"
# synced ADDRESS SECONDS: whether mariadb_check of the member there says that it is Synced
synced() {
  case $1 in
    *:*) set -- "[$1]" "$2" ;;
  esac
  curl --fail --silent --output /dev/null --max-time "$2" "http://$1:4569/"
}
