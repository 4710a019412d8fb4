# Discovery, namespaces with and without digests, a file system, resize and mapping while the host looks on.
. /mnt/host/common.sh
modprobe nvme-tcp
mkdir -p /tmp/mount

check "discover" nvme discover -t tcp -a $address -s 4420
same "discovery names the subsystem" "$(nvme discover -t tcp -a $address -s 4420 | grep -c "subnqn:  $nqn")" 1
check "connect" nvme connect -t tcp -a $address -s 4420 -n $nqn
sleep 1
disk=/dev/$(device 0 1)
for page in smart-log error-log fw-log ana-log supported-log-pages fid-support-effects-log id-ctrl; do
    check "nvme $page" nvme $page /dev/nvme0
done
check "nvme id-ns" nvme id-ns "$disk"
check "data is what was written" verified "$disk"
check "discard" blkdiscard "$disk"
same "discarded blocks are zero" "$(head -c 33554432 "$disk" | tr -d '\0' | wc -c)" 0
check "mkfs" mkfs.ext4 -q "$disk"
check "mount" mount -o discard "$disk" /tmp/mount
dd if=/dev/urandom of=/tmp/mount/file bs=64k count=200 conv=fsync 2>/dev/null
sum=$(sha256sum </tmp/mount/file)
check "fstrim" fstrim /tmp/mount
check "umount" umount /tmp/mount
check "mount again" mount "$disk" /tmp/mount
same "the file is whole" "$(sha256sum </tmp/mount/file)" "$sum"
check "umount again" umount /tmp/mount
check "fsck" fsck.ext4 -fn "$disk"

head -c 8192 /dev/urandom >/tmp/data
check "write" dd if=/tmp/data of="$disk" bs=4k oflag=direct
check "compare" nvme compare "$disk" -s 0 -c 7 -z 4096 -d /tmp/data
refuse "compare of something else" nvme compare "$disk" -s 16 -c 7 -z 4096 -d /tmp/data
check "copy" nvme copy "$disk" --sdlba=2048 --slbs=0,8 --blocks=7,7
same "the copy is the same" "$(dd if="$disk" bs=512 skip=2048 count=16 iflag=direct 2>/dev/null | cmp - /tmp/data)" ""
check "write zeroes" nvme write-zeroes "$disk" -s 0 -c 7
check "verify" nvme verify "$disk" -s 0 -c 255
check "deallocate" nvme dsm "$disk" -d -s 8 -b 8
check "flush" nvme flush "$disk"
refuse "a write to a read-only namespace" dd if=/tmp/data of="/dev/$(device 0 3)" bs=4k oflag=direct

order resize 128
same "the new size is seen" "$(cat "/sys/block/${disk#/dev/}/size")" $((128 * 2048))
order unmap
same "a namespace that is gone is gone" "$(device 0 2)" ""
order map
refuse "it is back" test -z "$(device 0 2)"
check "rescan" nvme ns-rescan /dev/nvme0
check "disconnect" nvme disconnect -n $nqn

for options in "-g -G" -g -G --disable-sqflow "--disable-sqflow -g -G"; do
    # shellcheck disable=SC2086 # several options
    check "connect $options" nvme connect -t tcp -a $address -s 4420 -n $nqn $options
    sleep 1
    check "data with $options" verified "/dev/$(device 0 1)" 16m
    check "disconnect" nvme disconnect -n $nqn
done
