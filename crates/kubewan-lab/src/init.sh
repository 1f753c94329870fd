#!/bin/sh
# A lab host's first process: undoes what systemd-nspawn made read-only, then becomes systemd.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin

# The /sys that systemd-nspawn mounts shows the network cards of the machine outside.
aside=/run/kubewan-lab/cgroup
mkdir -p "$aside"
mount --rbind /sys/fs/cgroup "$aside"
umount -R -l /sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs /sys
mount --rbind "$aside" /sys/fs/cgroup
umount -R -l "$aside"
rmdir "$aside"

# A kubelet makes control groups and writes kernel settings.
while read -r _ target kind _; do
    case $kind in
        cgroup | cgroup2) mount -o remount,bind,rw "$target" ;;
    esac
done < /proc/self/mounts
mount -o remount,bind,rw /proc/sys

# systemd-nspawn leaves out controllers of version 1 that are hierarchies of their own where it
# expects a joint one (cpu, cpuacct); a kubelet wants them all.
while IFS=: read -r _ controllers _; do
    target=/sys/fs/cgroup/$controllers
    case $controllers in
        "" | name=*) continue ;;
    esac
    if [ -d "$target" ] && ! mountpoint -q "$target"; then
        mount -t cgroup -o "$controllers" cgroup "$target"
    fi
done < /proc/self/cgroup

# Volumes that a pod mounts have to reach other pods.
mount --make-rshared /

# The machine's own swap and mainboard are no business of its hosts'.
mount --bind /run/kubewan-lab/swaps /proc/swaps
if [ -e /sys/class/dmi/id/product_uuid ]; then
    mount --bind /run/kubewan-lab/product_uuid /sys/class/dmi/id/product_uuid
fi

exec /sbin/init
