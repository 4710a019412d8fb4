# Two hosts on one namespace: reservations, over a restart of the node too.
# Each host with disks of its own.
native_multipath=N
. /mnt/host/common.sh
. /mnt/host/common-nvme.sh

volume disk 96M nvme-tcp
check "the second network" second_network
# connect NAME PORTAL NUMBER
connect() {
    check "connect $1" nvme connect -t tcp -a "$2" -s $nvme_port -n "$target" -q "nqn.$1" \
        -I "11111111-2222-3333-4444-55555555555$3" --reconnect-delay=1
}
connect one $address 1
connect two $second_address 2
become "one has the disk" 10 is_device 1 0
become "two has the disk" 10 is_device 1 1
one=$(device 1 0) two=$(device 1 1)
put() { dd if=/dev/zero of="$1" bs=4k count=1 oflag=direct; }
get() { dd if="$1" of=/dev/null bs=4k count=1 iflag=direct; }

check "one registers" nvme resv-register "$one" --nrkey=0x11 --rrega=0 --cptpl=3
check "two registers" nvme resv-register "$two" --nrkey=0x22 --rrega=0 --cptpl=3
check "one reserves" nvme resv-acquire "$one" --crkey=0x11 --rtype=1 --racqa=0
refuse "two cannot reserve" nvme resv-acquire "$two" --crkey=0x22 --rtype=1 --racqa=0
check "one writes" put "$one"
refuse "two does not write" put "$two"
check "two reads" get "$two"
same "the report has both" "$(nvme resv-report "$two" --eds | grep -c rkey)" 2

check "the node goes" host kill
check "it comes back" host start
become "one writes after the restart" 30 put "$one"
become "two reads after the restart" 30 get "$two"
refuse "two still does not write" put "$two"
same "the report still has both" "$(nvme resv-report "$two" --eds | grep -c rkey)" 2

check "two preempts" nvme resv-acquire "$two" --crkey=0x22 --prkey=0x11 --rtype=2 --racqa=2
refuse "one does not write" put "$one"
refuse "one does not read" get "$one"
check "two writes" put "$two"
same "one was told" "$(nvme resv-notif-log /dev/nvme0 | grep -c 'Page Count.*: 1')" 1
check "two releases" nvme resv-release "$two" --crkey=0x22 --rtype=2 --rrela=0
check "one reads again" get "$one"
check "two clears" nvme resv-release "$two" --crkey=0x22 --rrela=1
same "nobody is registered" "$(nvme resv-report "$one" --eds | grep -c rkey)" 0
check "disconnect" nvme disconnect -n "$target"
