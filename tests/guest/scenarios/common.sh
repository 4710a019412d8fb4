# What scenarios share. They run in the guest; the host has a node with the pool "pool", and does what it is asked by `host`.
set -u
. /mnt/host/node.sh
mount_point=/tmp/mount
mkdir -p $mount_point

fail() {
    echo "FAILED: $*"
    dmesg | tail -15
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

# become WHAT SECONDS COMMAND...: the command must succeed in the end.
become() {
    local what=$1 tries=$(($2 * 5))
    shift 2
    for _ in $(seq $tries); do
        "$@" >/tmp/checked 2>&1 && { echo "ok: $what"; return; }
        sleep 0.2
    done
    cat /tmp/checked
    fail "$what"
}

# host WORD...: `quarry` with words, `kill`, `stop` or `start` of the node. Prints what the host says and ends as it did there.
host() {
    local status
    rm -f /mnt/host/answer
    printf '%s\n' "$@" >/mnt/host/order.part
    mv /mnt/host/order.part /mnt/host/order
    until [ -e /mnt/host/answer ]; do
        sleep 0.05
    done
    status=$(head -1 /mnt/host/answer)
    tail -n +2 /mnt/host/answer
    return "$status"
}

# volume NAME SIZE PROTOCOL [OPTION...]: makes a volume and exports it; sets uri, and name and number of the unit from it.
volume() {
    local volume=$1 size=$2 protocol=$3
    shift 3
    check "volume $volume" host quarry volume create "$volume" --pool pool --size "$size"
    export_volume "$volume" "$protocol" "$@"
}

# export_volume NAME PROTOCOL [OPTION...]
export_volume() {
    local volume=$1 protocol=$2
    shift 2
    uri=$(host quarry export create "$volume" --protocol "$protocol" "$@") || fail "export $volume: $uri"
    target=$(echo "$uri" | cut -d / -f 4)
    number=$(echo "$uri" | cut -d / -f 5)
    echo "ok: exported as $uri"
}

# The guest's interface on the second network, at first down.
second_interface=$(ls /sys/class/net | grep '^e' | tail -1)
second_network() {
    ip address add 10.0.3.15/24 dev "$second_interface" && ip link set "$second_interface" up
}

# Writes all of a disk at random, in blocks of all sizes, and reads it back.
verified() {
    fio --name=verify --filename="$1" --rw=randwrite --bsrange="$(blockdev --getss "$1")-300k" --iodepth=16 --ioengine=libaio --direct=1 \
        --size="${2:-32m}" --verify=crc32c --do_verify=1
}

# size_mib DISK: as the kernel knows it.
size_mib() {
    echo $(($(cat "/sys/class/block/${1#/dev/}/size") / 2048))
}

# A file system on a disk: what is written is read again, freed blocks are told, and fsck agrees.
filesystem() {
    local disk=$1 sum
    check "mkfs" mkfs.ext4 -q "$disk"
    check "mount" mount "$disk" $mount_point
    dd if=/dev/urandom of=$mount_point/file bs=64k count=200 conv=fsync 2>/dev/null
    sum=$(sha256sum <$mount_point/file)
    check "fstrim" fstrim $mount_point
    check "umount" umount $mount_point
    check "mount again" mount "$disk" $mount_point
    same "the file is whole" "$(sha256sum <$mount_point/file)" "$sum"
    check "umount again" umount $mount_point
    check "fsck" fsck.ext4 -fn "$disk"
}

# Files that come and go on the mounted file system, each with its checksum, until /tmp/enough is there.
write_files() {
    local count=0
    while [ ! -e /tmp/enough ]; do
        count=$((count + 1))
        head -c 1500000 /dev/urandom >/tmp/new
        cp /tmp/new $mount_point/file.$((count % 20)) && sync $mount_point/file.$((count % 20)) || return 1
        sha256sum </tmp/new >/tmp/sum.$((count % 20))
        echo $count >/tmp/count
    done
}

# Direct I/O at random that is verified, over and over, until /tmp/enough is there.
write_blocks() {
    while [ ! -e /tmp/enough ]; do
        fio --name=load --filename=$mount_point/blocks --size=12m --rw=randwrite --bsrange=4k-64k --ioengine=libaio \
            --direct=1 --iodepth=8 --verify=crc32c --do_verify=1 >/tmp/fio 2>&1 || return 1
        echo >>/tmp/rounds
    done
}

# begin_load DISK: a file system with load on it, mounted.
begin_load() {
    check "mkfs" mkfs.ext4 -q "$1"
    check "mount" mount "$1" $mount_point
    dmesg --clear
    rm -f /tmp/enough /tmp/count /tmp/rounds
    write_files &
    files=$!
    write_blocks &
    blocks=$!
    progress "load runs"
}

# progress WHAT: the load must get on from where it is.
progress() {
    local before
    before=$(cat /tmp/count 2>/dev/null || echo 0)
    more() { [ "$(cat /tmp/count 2>/dev/null || echo 0)" -gt $((before + 2)) ]; }
    become "$1" 120 more
    kill -0 $files $blocks 2>/dev/null || { cat /tmp/fio; fail "$1: the load has ended"; }
}

# end_load DISK: everything that was written is there, the file system is whole, and nobody saw an error.
end_load() {
    local name
    touch /tmp/enough
    wait $files || fail "writing files"
    wait $blocks || { cat /tmp/fio; fail "verified writing"; }
    same "blocks were verified" "$([ -s /tmp/rounds ] && echo yes)" yes
    check "umount" umount $mount_point
    check "fsck" fsck.ext4 -fn "$1"
    check "mount again" mount "$1" $mount_point
    for name in /tmp/sum.*; do
        [ "$(sha256sum <$mount_point/file.${name##*.})" = "$(cat "$name")" ] || fail "file ${name##*.} is damaged"
    done
    echo "ok: $(cat /tmp/count) files were written; the last ones are whole"
    check "umount again" umount $mount_point
    no_errors
}

# The kernel has told nobody of an error; those that match path_errors are of one path of several.
no_errors() {
    local errors
    errors=$(dmesg | grep -iE 'I/O error|Buffer I/O|EXT4-fs (error|warning)|Medium Error|critical .* error|Remounting|aborting' |
        grep -vE "${path_errors:-^$}") || true
    [ -z "$errors" ] || { echo "$errors"; fail "no error reaches the file system"; }
    echo "ok: no error reached the file system"
}

# Restarts of the node under the load on a mounted disk, in order and by force.
restarts() {
    begin_load "$1"
    for how in stop kill stop kill kill; do
        check "the node goes: $how" host $how
        sleep 2
        check "it comes back" host start
        progress "the load goes on"
    done
    end_load "$1"
}
