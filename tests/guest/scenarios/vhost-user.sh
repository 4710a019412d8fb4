# Linux's virtio-blk over vhost-user, while the daemon behind it comes and goes. The disks that it has from the start:
# disk: disk 512M
# disk: golden 64M --read-only
. /mnt/host/common.sh

# The disk of so many bytes.
disk_of() {
    local size
    for size in /sys/block/vd*/size; do
        [ "$(cat "$size")" = "$(($1 / 512))" ] && basename "$(dirname "$size")" && return
    done
}

disk=$(disk_of $((512 << 20)))
golden=$(disk_of $((64 << 20)))
[ -n "$disk" ] && [ -n "$golden" ] || fail "both disks are there: $(ls /sys/block)"
queue=/sys/block/$disk/queue
same "a serial number of 20 digits" "$(tr -d 0-9a-f <"/sys/block/$disk/serial" | wc -c) $(wc -c <"/sys/block/$disk/serial")" "0 20"
same "two queues" "$(ls "/sys/block/$disk/mq" | wc -l)" 2
same "blocks" "$(cat "$queue/logical_block_size" "$queue/physical_block_size" | xargs)" "512 4096"
same "discards" "$(cat "$queue/discard_granularity")" 4096
same "a cache that is flushed" "$(cat "$queue/write_cache")" "write back"
same "a read-only disk" "$(cat "/sys/block/$golden/ro")" 1
refuse "it is not written" dd if=/dev/zero of="/dev/$golden" bs=4k count=1 oflag=direct
check "it is read" dd if="/dev/$golden" of=/dev/null bs=1M

check "all sizes, verified" verified "/dev/$disk" 64m
check "zeroes" fallocate -z -o 0 -l $((16 << 20)) "/dev/$disk"
check "they are zeroes" cmp -n $((16 << 20)) "/dev/$disk" /dev/zero
check "discard" blkdiscard "/dev/$disk"

restarts "/dev/$disk"

check "mount" mount -o discard "/dev/$disk" $mount_point
head -c 64M /dev/urandom >$mount_point/first
sync
sum=$(sha256sum <$mount_point/first)
is_size() { [ "$(size_mib "/dev/$disk")" = "$1" ]; }
check "resize" host quarry volume resize disk --size 768M
become "the new size is seen" 10 is_size 768
check "the file system grows" resize2fs "/dev/$disk"
head -c 300M /dev/zero | tr '\0' x >$mount_point/second
check "flush" sync
check "trim" fstrim $mount_point
rm $mount_point/second
check "trim what was deleted" fstrim $mount_point
echo 3 >/proc/sys/vm/drop_caches
same "what was written before" "$(sha256sum <$mount_point/first)" "$sum"
check "unmount" umount $mount_point
check "the file system is whole" fsck.ext4 -f -n "/dev/$disk"
no_errors

# What the machine has flushed is what the volume holds, for any other protocol.
modprobe nbd
export_volume disk nbd
check "attach it over NBD" nbd-client -N disk $address $nbd_port /dev/nbd0 -block-size 4096
same "NBD reads the same" "$(head -c 16M /dev/nbd0 | sha256sum)" "$(head -c 16M "/dev/$disk" | sha256sum)"
check "detach" nbd-client -d /dev/nbd0
