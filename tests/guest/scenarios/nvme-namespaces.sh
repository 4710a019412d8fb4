# Discovery, namespaces with and without digests, a file system, resize and mapping while the host looks on.
. /mnt/host/common.sh
. /mnt/host/common-nvme.sh

volume first 96M nvme-tcp --nsid 1
volume second 96M nvme-tcp --nsid 2
volume third 96M nvme-tcp --nsid 3 --read-only
check "the second network" second_network
check "discover" nvme discover -t tcp -a $address -s $nvme_port
same "discovery names the advertised addresses" \
    "$(nvme discover -t tcp -a $address -s $nvme_port | awk '/traddr/ { print $2 }' | sort -u | xargs)" \
    "$address $second_address"
check "connect-all" nvme connect-all -t tcp -a $address -s $nvme_port
become "the namespaces are there" 10 is_device 3
same "both portals are connected" "$(cat /sys/class/nvme/nvme*/state | xargs)" "live live"
disk=$(device 1)
controller=/dev/$(ls /sys/class/nvme | head -1)
for page in smart-log error-log fw-log ana-log supported-log-pages fid-support-effects-log id-ctrl; do
    check "nvme $page" nvme $page "$controller"
done
check "nvme id-ns" nvme id-ns "$disk"
check "data is what was written" verified "$disk"
check "discard" blkdiscard "$disk"
same "discarded blocks are zero" "$(head -c 33554432 "$disk" | tr -d '\0' | wc -c)" 0
filesystem "$disk"

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
refuse "a write to a read-only namespace" dd if=/tmp/data of="$(device 3)" bs=4k oflag=direct

check "resize" host quarry volume resize first --size 128M
become "the new size is seen" 10 is_size "$disk" 128
check "unmap" host quarry export delete second --force
become "a namespace that is gone is gone" 10 is_no_device 2
export_volume second nvme-tcp --nsid 2
become "it is back" 10 is_device 2
check "rescan" nvme ns-rescan "$controller"
check "disconnect" nvme disconnect -n "$target"

for options in "-g -G" -g -G --disable-sqflow "--disable-sqflow -g -G"; do
    # shellcheck disable=SC2086 # several options
    check "connect $options" nvme connect -t tcp -a $address -s $nvme_port -n "$target" $options
    become "the namespace is there" 10 is_device 1
    check "data with $options" verified "$(device 1)" 16m
    check "disconnect" nvme disconnect -n "$target"
done
