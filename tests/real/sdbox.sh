#!/bin/bash
# Becomes systemd: pid 1 of a machine made of namespaces, whose disk is ROOT with a layer in memory over it.
# Called by sdbox.py inside the namespaces:  sdbox.sh SCRATCH ROOT SHARED=INSIDE...
# /proc/sys and /sys are read-only inside, /dev and the network are its own, so nothing of the host can be changed; each SHARED folder
# of the host is there as INSIDE.
set -eu
scratch=$1 root=$2
shift 2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$scratch"
m=$scratch/machine
mkdir "$m" "$scratch/upper" "$scratch/work"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" "$m"

mount -t proc proc "$m/proc"
mount --bind "$m/proc/sys" "$m/proc/sys"
mount -o remount,bind,ro "$m/proc/sys"
mount -t sysfs sysfs "$m/sys"
mount -t cgroup2 none "$m/sys/fs/cgroup"
mount -o remount,bind,ro "$m/sys"
for place in run:755 tmp:1777 dev:755; do
    mount -t tmpfs -o "mode=${place#*:}" tmpfs "$m/${place%:*}"
done
for device in null zero full random urandom tty; do
    touch "$m/dev/$device"
    mount --bind "/dev/$device" "$m/dev/$device"
done
mkdir "$m/dev/pts" "$m/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$m/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$m/dev/shm"
ln -s pts/ptmx "$m/dev/ptmx"
ln -s /proc/self/fd "$m/dev/fd"
ln -s fd/0 "$m/dev/stdin"
ln -s fd/1 "$m/dev/stdout"
ln -s fd/2 "$m/dev/stderr"
for pair; do
    mkdir -p "$m${pair#*=}"
    mount --rbind "${pair%%=*}" "$m${pair#*=}"
done

ln -sf /dev/null "$m/etc/systemd/system/systemd-modules-load.service"
echo box > "$m/etc/hostname"
tr -d - < /proc/sys/kernel/random/uuid > "$m/etc/machine-id"
cd "$m"
mkdir -p old
pivot_root . old
umount -l /old
rmdir /old
ip link set lo up
exec env -i container=sdbox PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system systemd.unit=basic.target
