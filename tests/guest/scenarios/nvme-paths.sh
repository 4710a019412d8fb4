# Two portals: one path goes while the disk is in use, and the other one is reset.
. /mnt/host/common.sh
modprobe nvme_core multipath=Y
modprobe nvme-tcp

for port in 4420 4421; do
    check "connect to $port" nvme connect -t tcp -a $address -s $port -n $nqn
done
sleep 1
disk=/dev/$(device 0 1)
same "all paths are optimized" "$(cat /sys/block/nvme0c*n*/ana_state | sort -u)" optimized
verified "$disk" 48m >/tmp/fio 2>&1 &
work=$!
sleep 1
check "one path goes" nvme disconnect -d nvme0
wait $work || { cat /tmp/fio; fail "the disk lives on"; }
echo "ok: the disk lives on"
verified "$disk" 16m >/tmp/fio 2>&1 &
work=$!
for _ in 1 2 3; do
    check "reset" nvme reset /dev/nvme1
    sleep 0.5
done
wait $work || { cat /tmp/fio; fail "resets do no harm"; }
echo "ok: resets do no harm"
check "disconnect" nvme disconnect -n $nqn
