#!/bin/sh
# `scs node drain` leaves this file.
[ ! -e /run/scs/haproxy/drained ]
