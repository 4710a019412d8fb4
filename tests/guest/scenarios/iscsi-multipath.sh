# dm-multipath over two portals, one of which goes away under load: without a word, and by a reset of its connections.
. /mnt/host/common.sh
. /mnt/host/common-iscsi.sh

cat >/etc/multipath.conf <<'CONF'
defaults {
    find_multipaths no
    polling_interval 1
    max_polling_interval 1
    user_friendly_names no
    no_path_retry queue
}
blacklist {
    devnode "^vd[a-z]"
}
CONF
modprobe dm-multipath
volume disk 128M iscsi
check "the second network" second_network
check "udev" start_udev
check "multipathd" multipathd
check "discovery" iscsiadm -m discovery -t sendtargets -p $address:$iscsi_port
for portal in $address:$iscsi_port $second_address:$iscsi_port; do
    check "lost paths are given up soon" record $portal node.session.timeo.replacement_timeout 3
    check "login at $portal" log_in $portal
done
become "the disks are there" 20 is_device "$number" 1
name=$(/lib/udev/scsi_id --whitelisted --device="$(device "$number")")
# paths COUNT: so many are in use.
paths() { [ "$(dmsetup status "$name" | grep -o ' [0-9]*:[0-9]* A ' | wc -l)" = "$1" ]; }
become "both paths are one disk" 30 paths 2
disk=/dev/mapper/$name
same "it is known by the volume's NAA identifier" "${name:0:8}" 36025159
begin_load "$disk"
check "one portal goes without a word" ip link set "$second_interface" down
become "its path is given up" 30 paths 1
progress "the load goes on over the other path"
check "it comes back" ip link set "$second_interface" up
become "both paths are there" 60 paths 2
progress "the load goes on over both"
check "the first portal is not reached any more" ip route add unreachable $address/32
check "its connections are reset" ss --kill dst $address dport = $iscsi_port
become "its path is given up" 30 paths 1
progress "the load goes on over the second path"
check "the way is there again" ip route del unreachable $address/32
become "both paths are there" 60 paths 2
check "the node goes" host kill
sleep 8
check "it comes back" host start
become "both paths are there" 60 paths 2
progress "the load goes on"
path_errors="dev sd[a-z]"
end_load "$disk"
check "the disk is let go" multipath -f "$name"
check "logout" iscsiadm -m node -u
