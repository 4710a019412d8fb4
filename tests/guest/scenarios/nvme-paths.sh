# Two portals: one path goes while the disk is in use, in order and without a word, and the other one is reset.
. /mnt/host/common.sh
. /mnt/host/common-nvme.sh

volume disk 128M nvme-tcp
check "the second network" second_network
for portal in $address $second_address; do
    check "connect to $portal" nvme connect -t tcp -a "$portal" -s $nvme_port -n "$target" --reconnect-delay=1 --keep-alive-tmo=3
done
become "the namespace is there" 10 is_device 1
disk=$(device 1)
same "all paths are optimized" "$(cat /sys/block/nvme0c*n*/ana_state | sort -u)" optimized
begin_load "$disk"
check "one path goes without a word" ip link set "$second_interface" down
progress "the load goes on over the other path"
check "it comes back" ip link set "$second_interface" up
become "both paths are there" 30 are_live 2
progress "the load goes on over both"
for _ in 1 2 3; do
    check "reset" nvme reset /dev/nvme1
    sleep 0.5
done
progress "resets do no harm"
check "one path goes in order" nvme disconnect -d nvme0
progress "the disk lives on"
end_load "$disk"
check "disconnect" nvme disconnect -n "$target"
