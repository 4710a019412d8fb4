# What the scenarios over NVMe/TCP share.
modprobe nvme_core multipath=${native_multipath:-Y}
modprobe nvme-tcp

# device CONTROLLER NAMESPACE: a namespace's disk.
device() {
    local disk
    for disk in /sys/block/nvme"$1"n*; do
        [ "$(cat "$disk/nsid" 2>/dev/null)" = "$2" ] && echo "/dev/$(basename "$disk")" && return
    done
}

is_device() { [ -b "$(device "$1" "$2")" ]; }
is_no_device() { ! is_device "$1" "$2"; }
is_size() { [ "$(size_mib "$1")" = "$2" ]; }
# are_live COUNT: so many controllers are connected.
are_live() { [ "$(cat /sys/class/nvme/nvme*/state | grep -c live)" = "$1" ]; }
