# The node restarts, in order and by force, under a file system that is mounted over NVMe/TCP.
. /mnt/host/common.sh
. /mnt/host/common-nvme.sh

volume disk 128M nvme-tcp
check "connect" nvme connect -t tcp -a $address -s $nvme_port -n "$target" --reconnect-delay=1
become "the namespace is there" 10 is_device 1
restarts "$(device 1)"
check "disconnect" nvme disconnect -n "$target"
