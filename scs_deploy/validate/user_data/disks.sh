#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# User data of a guest: watches the disks that are attached to it, says what the first and the last sector of each hold
# and how large it is, and writes a word where none is, flushed to the storage.
word=WORD

# The word in sector $2 of a disk. An encrypted volume to which nobody has written holds noise.
get() {
    : >/tmp/sector
    dd if="/dev/$1" bs=512 skip="$2" count=1 of=/tmp/sector 2>/dev/null
    tr -cd '[:alnum:]-' </tmp/sector | cut -c 1-40
}

put() {
    echo "$word" | dd of="/dev/$1" bs=512 seek="$2" conv=sync,fsync,notrunc 2>/dev/null
    echo 3 >/proc/sys/vm/drop_caches
}

watch() {
    while :; do
        for known in /tmp/vd[b-z]; do
            [ -e "/sys/block/${known##*/}" ] || rm -f "$known"
        done
        for disk in /sys/block/vd[b-z]; do
            [ -e "$disk/serial" ] || continue
            name=${disk##*/}
            serial=$(cat "$disk/serial" 2>/dev/null)
            sectors=$(cat "$disk/size" 2>/dev/null)
            # one that is just coming or going lacks them
            if [ -z "$serial" ] || [ "${sectors:-0}" -eq 0 ]; then continue; fi
            [ "$serial $sectors" = "$(cat "/tmp/$name" 2>/dev/null)" ] && continue
            end=$((sectors - 1))
            found=$(get "$name" 0)
            last=$(get "$name" $end)
            reads=1
            if [ "$found" = "$word" ] && [ "$last" != "$word" ]; then
                # Grown, or not what it should be: what is written now would hide which. So it is read once more.
                read_bytes=$(wc -c </tmp/sector)
                sleep 2
                echo 3 >/proc/sys/vm/drop_caches
                last=$(get "$name" $end)
                reads=2,first-of-$read_bytes-bytes
            fi
            # what was read while it went says nothing
            [ "$(cat "$disk/serial" 2>/dev/null)" = "$serial" ] || continue
            wrote=
            [ "$last" = "$word" ] || put "$name" $end
            if [ "$found" != "$word" ]; then
                put "$name" 0
                wrote=$(get "$name" 0)
            fi
            read -r uptime _ </proc/uptime
            echo "scs-guest: disk-$serial sectors=$sectors found=$found last=$last wrote=$wrote reads=$reads uptime=$uptime"
            echo "$serial $sectors" >"/tmp/$name"
        done
        sleep 1
    done
}
watch &
