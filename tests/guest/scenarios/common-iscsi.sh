# What the scenarios over iSCSI share.
modprobe -a iscsi_tcp sd_mod sg
initiator=iqn.2026-11.io.quarry.test:guest
echo "InitiatorName=$initiator" >/etc/iscsi/initiatorname.iscsi
# Lost sessions are tried again at once; how long disks wait for them is each scenario's choice.
sed -i 's/^node.startup.*/node.startup = manual/; s/^node.conn\[0\].timeo.noop_out_\(interval\|timeout\) =.*/node.conn[0].timeo.noop_out_\1 = 2/' \
    /etc/iscsi/iscsid.conf
iscsid

# record PORTAL [NAME VALUE]...: settings of the target there.
record() {
    local portal=$1
    shift
    while [ $# -gt 0 ]; do
        iscsiadm -m node -T "$target" -p "$portal" -o update -n "$1" -v "$2" || return 1
        shift 2
    done
}

# log_in PORTAL
log_in() { iscsiadm -m node -T "$target" -p "$1" --login; }

# device LUN [SESSION]: a LUN's disk, of the first session or of that with a number.
device() {
    local disk
    for disk in /sys/block/sd*; do
        case $(basename "$(readlink -f "$disk/device")") in
            ${2:-*}:0:0:"$1") echo "/dev/${disk##*/}" && return ;;
        esac
    done
}

is_device() { [ -b "$(device "$@")" ]; }
is_size() { [ "$(size_mib "$1")" = "$2" ]; }

# multipathd hears of disks from udev.
start_udev() {
    /lib/systemd/systemd-udevd --daemon && udevadm control --reload && udevadm trigger && udevadm settle
}
