#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# User data of the fault tests' guest: writes numbered blocks on its disk, one at a time, each flushed to the storage, and
# says so on its console with the uptime before and after. layout.py knows where they lie; each boot begins an area.
disk=DISK token=TOKEN block=BLOCK first=FIRST area=AREA boots=BOOTS pause=PAUSE

say() { echo "scs-guest: $*"; }

put() {
    printf '%s\n' "$2" >/tmp/number
    dd if=/tmp/number of="$disk" bs=$block seek=$((first + $1)) conv=sync,fsync,notrunc 2>/dev/null
}

boot=$(dd if="$disk" bs=$block skip=$first count=1 2>/dev/null | tr -d '\000' | sed -n "s/^$token boot \([0-9]*\)$/\1/p")
boot=$((${boot:-0} + 1))
if [ $boot -gt $boots ]; then
    say "writer full after $boots boots"
    exit 1
fi
# an area that is not taken for good is never written to
until put 0 "$token boot $boot"; do
    say "writer cannot take area $boot"
    sleep 5
done
say "writer boot=$boot"

write() {
    number=$((boot * area))
    while number=$((number + 1)) && [ $number -lt $(((boot + 1) * area)) ]; do
        read -r from _ </proc/uptime
        if put $number "$token $number"; then word=wrote; else word=failed; fi
        read -r to _ </proc/uptime
        say "$word $number $from $to"
        usleep $pause
    done
    say "writer full after $((number - 1))"
}
write &
