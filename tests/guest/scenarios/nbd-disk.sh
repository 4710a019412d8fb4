# The kernel's NBD with nbd-client: I/O, a file system, a read-only export, a new size at the next connection.
. /mnt/host/common.sh

modprobe nbd
attach() { nbd-client -N "$1" $address $nbd_port "$2" -block-size 4096; }
is_size() { [ "$(size_mib "$1")" = "$2" ]; }

volume first 96M nbd
volume second 96M nbd --read-only
check "list" nbd-client -l $address $nbd_port
check "attach" attach first /dev/nbd0
become "the disk has its size" 10 is_size /dev/nbd0 96
check "data is what was written" verified /dev/nbd0
check "discard" blkdiscard /dev/nbd0
same "discarded blocks are zero" "$(head -c 33554432 /dev/nbd0 | tr -d '\0' | wc -c)" 0
filesystem /dev/nbd0
check "attach a read-only export" attach second /dev/nbd1
refuse "a write to it" dd if=/dev/zero of=/dev/nbd1 bs=4k count=1 oflag=direct
check "detach it" nbd-client -d /dev/nbd1
check "resize" host quarry volume resize first --size 128M
check "detach" nbd-client -d /dev/nbd0
check "attach again" attach first /dev/nbd0
become "the new size is seen" 10 is_size /dev/nbd0 128
check "detach" nbd-client -d /dev/nbd0
refuse "an export that is not there" attach third /dev/nbd0
