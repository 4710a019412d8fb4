# The node restarts, in order and by force, under a file system that is mounted over NBD.
. /mnt/host/common.sh

modprobe nbd
volume disk 128M nbd
python3 /mnt/host/nbd-attach.py 0 $address $nbd_port disk >/tmp/attach 2>&1 &
attached=$!
has_size() { [ "$(size_mib /dev/nbd0)" = 128 ]; }
become "attached" 20 has_size
restarts /dev/nbd0
kill $attached
wait $attached || { cat /tmp/attach; fail "detach"; }
