# Linux's virtio-blk over vhost-user, while the daemon behind it comes and goes.
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

check "a file system" mkfs.ext4 -q "/dev/$disk"
mkdir -p /mnt/disk
check "mount" mount -o discard "/dev/$disk" /mnt/disk
head -c 64M /dev/urandom >/mnt/disk/first
sync
sum=$(sha256sum </mnt/disk/first)

# The daemon goes under load, in order and not, and comes back.
fio --name=load --directory=/mnt/disk --rw=randrw --bsrange=4k-128k --iodepth=16 --ioengine=libaio --direct=1 --size=48m \
    --time_based --runtime=25 --verify=crc32c --verify_backlog=64 --fsync=32 >/tmp/fio 2>&1 &
load=$!
for signal in KILL TERM KILL KILL; do
    sleep 4
    order restart $signal
    echo "ok: the daemon was restarted (SIG$signal)"
done
wait $load || { cat /tmp/fio; fail "the load goes on over restarts"; }
echo "ok: the load goes on over restarts"
echo 3 >/proc/sys/vm/drop_caches
same "what was written before" "$(sha256sum </mnt/disk/first)" "$sum"

order resize 768MiB
same "the new size" "$(cat "/sys/block/$disk/size")" $((768 * 2048))
check "the file system grows" resize2fs "/dev/$disk"
head -c 300M /dev/zero | tr '\0' x >/mnt/disk/second
check "flush" sync
check "trim" fstrim /mnt/disk
rm /mnt/disk/second
check "trim what was deleted" fstrim /mnt/disk
echo 3 >/proc/sys/vm/drop_caches
same "what was written before" "$(sha256sum </mnt/disk/first)" "$sum"
check "unmount" umount /mnt/disk
check "the file system is whole" fsck.ext4 -f -n "/dev/$disk"
! dmesg | grep -E 'I/O error|EXT4-fs error|critical' || fail "no error in the kernel's log"
head -c 1M "/dev/$disk" | sha256sum >/mnt/host/first-mebibyte
