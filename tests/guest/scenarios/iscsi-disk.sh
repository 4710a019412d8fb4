# Discovery and login with CHAP both ways, I/O with and without digests, a file system, resize and mapping while the host looks on.
. /mnt/host/common.sh
. /mnt/host/common-iscsi.sh

portal=$address:$iscsi_port
echo -n "the guest's secret" >/mnt/host/secret
echo -n "the node's secret" >/mnt/host/mutual
check "host" host quarry host create guest --initiator $initiator \
    --chap-user guest --chap-secret-file "$host_share/secret" --mutual-user node --mutual-secret-file "$host_share/mutual"
volume first 96M iscsi --host guest --lun 0
volume second 96M iscsi --host guest --lun 1
volume third 96M iscsi --host guest --lun 2 --read-only
check "the second network" second_network

refuse "discovery without a secret" iscsiadm -m discovery -t sendtargets -p $portal
cat >>/etc/iscsi/iscsid.conf <<'CONF'
discovery.sendtargets.auth.authmethod = CHAP
discovery.sendtargets.auth.username = guest
discovery.sendtargets.auth.password = the guest's secret
CONF
check "discovery" iscsiadm -m discovery -t sendtargets -p $portal
same "discovery names the advertised addresses" \
    "$(iscsiadm -m node | cut -d , -f 1 | sort | xargs)" "$portal $second_address:$iscsi_port"
refuse "login without a secret" log_in $portal
check "a wrong secret" record $portal node.session.auth.authmethod CHAP node.session.auth.username guest \
    node.session.auth.password "some other secret"
refuse "login with a wrong secret" log_in $portal
check "the right secret" record $portal node.session.auth.password "the guest's secret" \
    node.session.auth.username_in node node.session.auth.password_in "the node's secret"
check "login" log_in $portal
become "the disks are there" 20 is_device 2
disk=$(device 0)
for page in 0x00 0x80 0x83 0x86 0xb0 0xb1 0xb2; do
    check "VPD page $page" sg_vpd --page=$page "$disk"
done
check "sg_opcodes" sg_opcodes "$disk"
same "the kernel unmaps" "$(cat "/sys/block/${disk#/dev/}/device/scsi_disk"/*/provisioning_mode)" unmap
check "data is what was written" verified "$disk"
check "discard" blkdiscard "$disk"
same "discarded blocks are zero" "$(head -c 33554432 "$disk" | tr -d '\0' | wc -c)" 0
filesystem "$disk"
check "zeroes" blkdiscard --zeroout --length 1M "$disk"
check "compare and write" sg_compare_and_write --in=/dev/zero --lba=0 --num=1 --xferlen=1024 "$disk"
refuse "a write to a read-only disk" dd if=/dev/zero of="$(device 2)" bs=4k count=1 oflag=direct

check "resize" host quarry volume resize first --size 128M
check "rescan" iscsiadm -m session --rescan
become "the new size is seen" 10 is_size "$disk" 128
check "unmap" host quarry export delete second --force
refuse "a disk that is gone is gone" dd if="$(device 1)" of=/dev/null bs=4k count=1 iflag=direct
export_volume second iscsi --host guest --lun 1
reads() { dd if="$(device 1)" of=/dev/null bs=4k count=1 iflag=direct; }
become "it is back" 10 reads
check "logout" iscsiadm -m node -u

for digests in CRC32C,CRC32C CRC32C,None None,CRC32C; do
    check "digests $digests" record $portal node.conn[0].iscsi.HeaderDigest ${digests%,*} \
        node.conn[0].iscsi.DataDigest ${digests#*,}
    check "login with digests $digests" log_in $portal
    become "the disk is there" 20 is_device 0
    check "data with digests $digests" verified "$(device 0)" 16m
    check "logout" iscsiadm -m node -u
done
