#!/bin/busybox sh
# First process of the guest: mounts, runs /job, sends /out back on the first disk, powers off.
B=/bin/busybox
$B mkdir -p /proc /sys /dev /tmp /out /mnt /root /etc /var/run /sbin /usr/bin /usr/sbin
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev 2>/dev/null
$B mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
$B mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
$B mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
$B mkdir -p /dev/pts /dev/shm
$B mount -t devpts devpts /dev/pts 2>/dev/null
$B mount -t tmpfs tmp /tmp
$B mount -t tmpfs shm /dev/shm
$B --install -s /bin
# uftrace 0.13 finds tracefs only on a line of mountinfo that has a peer group.
mount --make-rshared / 2>/dev/null
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root TERM=dumb LC_ALL=C
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd
echo 'nobody:x:65534:65534:nobody:/:/bin/sh' >>/etc/passwd
echo 'root:x:0:' >/etc/group
echo 'nogroup:x:65534:' >>/etc/group
ifconfig lo 127.0.0.1 up 2>/dev/null
hostname guest
for m in $(cat /modlist); do insmod /mod/$m || echo "insmod $m failed" >/dev/console; done
[ -e /netup ] && ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
# Disks are found by their serial numbers: which is nvme0 depends on which answered first.
mkdir -p /dev/bed
for d in /sys/block/nvme*; do ln -s /dev/${d##*/} /dev/bed/$(tr -d ' \n' <$d/device/serial); done
echo "VM-UP $(cut -d' ' -f1 /proc/uptime)" >/dev/console
cd /root
setsid sh /job </dev/null >/tmp/.job.log 2>&1
rc=$?
cat /tmp/.job.log >/out/job.log
D=/dev/bed/d0
(cd /out && tar cf - .) | dd of=$D bs=1M seek=1 2>/dev/null
echo "VMBED rc=$rc " | dd of=$D conv=notrunc,fsync 2>/dev/null
sync
echo "VM-RC $rc" >/dev/console
poweroff -f
