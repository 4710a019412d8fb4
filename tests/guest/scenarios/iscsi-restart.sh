# The node restarts, in order and by force, under a file system that is mounted over iSCSI.
. /mnt/host/common.sh
. /mnt/host/common-iscsi.sh

volume disk 128M iscsi
check "discovery" iscsiadm -m discovery -t sendtargets -p $address:$iscsi_port
check "login" log_in $address:$iscsi_port
become "the disk is there" 20 is_device "$number"
restarts "$(device "$number")"
check "logout" iscsiadm -m node -u
