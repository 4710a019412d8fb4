# What scenarios share. They run in the guest.
set -u
address=10.0.2.2
nqn=nqn.2026-11.io.quarry:00000000-0000-4000-8000-00000000beef

fail() {
    echo "FAILED: $*"
    dmesg | tail -20
    exit 1
}

# check WHAT COMMAND...: the command must succeed.
check() {
    local what=$1
    shift
    "$@" >/tmp/checked 2>&1 || { cat /tmp/checked; fail "$what"; }
    echo "ok: $what"
}

# refuse WHAT COMMAND...: the command must fail.
refuse() {
    local what=$1
    shift
    ! "$@" >/tmp/checked 2>&1 || { cat /tmp/checked; fail "$what"; }
    echo "ok: $what"
}

# same WHAT FOUND EXPECTED
same() {
    [ "$2" = "$3" ] || fail "$1: found '$2', not '$3'"
    echo "ok: $1"
}

# Has the host change its server.
order() {
    echo "$*" >/mnt/host/order
    for _ in $(seq 100); do
        [ -e /mnt/host/order ] || break
        sleep 0.1
    done
    sleep 1
}

# device CONTROLLER NAMESPACE: the name of a namespace's disk.
device() {
    local disk
    for disk in /sys/block/nvme"$1"n*; do
        [ "$(cat "$disk/nsid" 2>/dev/null)" = "$2" ] && basename "$disk" && return
    done
}

# Writes all of a disk at random, in blocks of all sizes, and reads it back.
verified() {
    fio --name=verify --filename="$1" --rw=randwrite --bsrange=512-300k --iodepth=16 --ioengine=libaio --direct=1 \
        --size="${2:-32m}" --verify=crc32c --do_verify=1
}
