#!/bin/sh
# Joins control groups, notes its process and becomes another program.
# usage: launch RECORD|- CGROUP... -- PROGRAM ARGUMENT...
#
# RECORD gets "PID START": a process number alone may belong to someone else later.
set -eu
record=$1
shift
while [ "$1" != -- ]; do
    echo $$ > "$1/cgroup.procs"
    shift
done
shift
if [ "$record" != - ]; then
    start=$(cut -d' ' -f22 "/proc/$$/stat")
    echo "$$ $start" > "$record.new"
    mv "$record.new" "$record"
fi
exec "$@"
