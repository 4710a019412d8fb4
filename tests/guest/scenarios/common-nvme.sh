# What the scenarios over NVMe/TCP share.
modprobe nvme_core multipath=${native_multipath:-Y}
modprobe nvme-tcp

# device NAMESPACE [CONTROLLER]: a namespace's disk, of any controller or that with a number.
device() {
    local disk
    # Paths of a disk have no device file.
    for disk in /sys/block/nvme${2:-*}n*; do
        [ "$(cat "$disk/nsid" 2>/dev/null)" = "$1" ] && [ -b "/dev/${disk##*/}" ] && echo "/dev/${disk##*/}" && return
    done
}

is_device() { [ -n "$(device "$@")" ]; }
is_no_device() { ! is_device "$@"; }
is_size() { [ "$(size_mib "$1")" = "$2" ]; }
# are_live COUNT: so many controllers are connected.
are_live() { [ "$(cat /sys/class/nvme/nvme*/state | grep -c live)" = "$1" ]; }
