# Two initiators on one disk: persistent reservations, over a restart of the node too.
. /mnt/host/common.sh
. /mnt/host/common-iscsi.sh

volume disk 96M iscsi
portal=$address:$iscsi_port
for name in one two; do
    check "interface $name" iscsiadm -m iface -I $name -o new
    check "its name" iscsiadm -m iface -I $name -o update -n iface.initiatorname -v iqn.2026-11.io.quarry.test:$name
    check "its transport" iscsiadm -m iface -I $name -o update -n iface.transport_name -v tcp
done
check "discovery" iscsiadm -m discovery -t sendtargets -p $portal -I one -I two
for name in one two; do
    check "$name logs in" iscsiadm -m node -T "$target" -p $portal -I $name --login
done
become "one has the disk" 20 is_device "$number" 0
become "two has the disk" 20 is_device "$number" 1
one=$(device "$number" 0) two=$(device "$number" 1)
put() { dd if=/dev/zero of="$1" bs=4k count=1 oflag=direct; }
get() { dd if="$1" of=/dev/null bs=4k count=1 iflag=direct; }
holder() { sg_persist --no-inquiry --in --read-reservation "$1" | grep -o 'Key=0x[0-9a-f]*' || echo none; }

# The last registration says whether all of them outlive the loss of power.
check "one registers" sg_persist --out --register --param-sark=0x11 --param-aptpl "$one"
check "two registers" sg_persist --out --register --param-sark=0x22 --param-aptpl "$two"
check "one reserves" sg_persist --out --reserve --param-rk=0x11 --prout-type=1 "$one"
refuse "two cannot reserve" sg_persist --out --reserve --param-rk=0x22 --prout-type=1 "$two"
check "one writes" put "$one"
refuse "two does not write" put "$two"
check "two reads" get "$two"
same "two sees who holds it" "$(holder "$two")" Key=0x11
same "both are registered" "$(sg_persist --no-inquiry --in --read-keys "$two" | grep -c '^ *0x')" 2

check "the node goes" host kill
check "it comes back" host start
become "one writes after the restart" 30 put "$one"
become "two reads after the restart" 30 get "$two"
same "the reservation has outlived it" "$(holder "$two")" Key=0x11
refuse "two still does not write" put "$two"

check "two preempts" sg_persist --out --preempt --param-rk=0x22 --param-sark=0x11 --prout-type=3 "$two"
refuse "one does not write" put "$one"
refuse "one does not read" get "$one"
check "two writes" put "$two"
check "two releases" sg_persist --out --release --param-rk=0x22 --prout-type=3 "$two"
check "one reads again" get "$one"
check "two clears" sg_persist --out --clear --param-rk=0x22 "$two"
same "nobody is registered" "$(sg_persist --no-inquiry --in --read-keys "$one" | grep -c '^ *0x')" 0
check "one reserves the disk by SCSI-2" sg_raw "$one" 16 00 00 00 00 00
refuse "two does not read" get "$two"
check "one releases it" sg_raw "$one" 17 00 00 00 00 00
check "two reads" get "$two"
check "logout" iscsiadm -m node -u
