#!/bin/sh
# Runs a program in a throw-away copy of a Debian 12 with dnf and rpm in place of dpkg. $1: the folder that keeps that Debian,
# $2: the program, the others: its arguments. Has to run in a mount namespace of its own.
set -eu
kept=$1 program=$2
shift 2
if [ ! -e "$kept/made" ]; then
    rm -rf "$kept"
    mkdir -p "$kept"
    debootstrap --variant=minbase --include=dnf,createrepo-c,rpm,gpg,gpg-agent,python3 bookworm "$kept/root" >"$kept/log" 2>&1
    rm -rf "$kept"/root/var/cache/apt/archives/*.deb
    : >"$kept/made"
fi
# What is written goes with the namespace.
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$kept/root,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mount -t proc proc /mnt/root/proc
mount --bind /dev /mnt/root/dev
rm -f /mnt/root/usr/bin/dpkg* /mnt/root/usr/bin/apt*
# No systemd runs there, and none of its units failed.
printf '#!/bin/sh\n' >/mnt/root/usr/bin/systemctl
chmod 755 /mnt/root/usr/bin/systemctl
cp "$program" /mnt/root/test
exec unshare --net sh -c 'ip link set lo up && exec chroot /mnt/root /test "$@"' test "$@"
