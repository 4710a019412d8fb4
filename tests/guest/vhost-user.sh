#!/usr/bin/env bash
# A virtual machine whose disk is a volume, over vhost-user-blk from quarryd itself: the daemon is killed and restarted, and the
# volume grows, while the machine's file system is mounted and in use. Ends with 0 when all of it went well.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=tests/guest
cargo build --quiet -p quarryd -p quarry
# Others may build into the same folder meanwhile.
work=$(mktemp -d /var/tmp/quarry-vhost-user.XXXXXX)
cp "$CARGO_TARGET_DIR"/debug/{quarryd,quarry} "$work/"
export QUARRY_ENDPOINT=http://127.0.0.1:17481
daemon=
orders=
end() {
    [ -z "$orders" ] || kill "$orders" 2>/dev/null || true
    [ ! -e "$work/pid" ] || kill -9 "$(cat "$work/pid")" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

start() {
    "$work/quarryd" --data-dir "$work/data" --api 127.0.0.1:17481 --nbd-unix "$work/nbd.sock" --vhost-user "$work/sockets" \
        --cores 2 --memory 256MiB >>"$work/log" 2>&1 &
    daemon=$!
    disown
    echo "$daemon" >"$work/pid"
    for _ in $(seq 100); do
        "$work/quarry" status >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "vhost-user: quarryd does not start"
    return 1
}

# What the guest asks for by a line in its folder.
obey() {
    daemon=$(cat "$work/pid")
    while sleep 0.1; do
        [ -s "$work/share/order" ] || continue
        read -r verb argument <"$work/share/order"
        case $verb in
            restart) kill "-$argument" "$daemon"; while kill -0 "$daemon" 2>/dev/null; do sleep 0.05; done; start ;;
            resize) "$work/quarry" volume resize disk --size "$argument" >/dev/null ;;
        esac
        rm "$work/share/order"
    done
}

mkdir "$work/share"
cp "$here/scenarios/common.sh" "$work/share/"
truncate -s 3G "$work/device"
start
"$work/quarry" pool create main --device "$work/device" >/dev/null
"$work/quarry" volume create disk --pool main --size 512MiB >/dev/null
"$work/quarry" volume create golden --pool main --size 64MiB >/dev/null
disk=$("$work/quarry" export create disk --protocol vhost-user)
golden=$("$work/quarry" export create golden --protocol vhost-user --read-only)
obey &
orders=$!

export QUARRY_GUEST_DEVICES="-object memory-backend-memfd,id=memory,size=1024M,share=on -machine memory-backend=memory
    -chardev socket,id=disk,path=$disk,reconnect-ms=300 -device vhost-user-blk-pci,chardev=disk,num-queues=2,queue-size=256
    -chardev socket,id=golden,path=$golden,reconnect-ms=300 -device vhost-user-blk-pci,chardev=golden,num-queues=1"
echo "== vhost-user"
status=0
"$here/run.sh" "$work/share" "$here/scenarios/vhost-user.sh" "${QUARRY_GUEST_SECONDS:-600}" || status=$?
kill "$orders" 2>/dev/null || true
daemon=$(cat "$work/pid")
if [ "$status" = 0 ]; then
    # What the machine has flushed is what the volume holds, for any other protocol.
    "$work/quarry" export create disk --protocol nbd >/dev/null
    expected=$(cut -d' ' -f1 "$work/share/first-mebibyte")
    qemu-img convert -f raw -O raw "nbd+unix:///disk?socket=$work/nbd.sock" "$work/copy"
    found=$(head -c 1M "$work/copy" | sha256sum | cut -d' ' -f1)
    [ "$expected" = "$found" ] || { echo "FAILED: NBD reads something else"; status=1; }
fi
while kill -0 "$daemon" 2>/dev/null; do kill "$daemon" 2>/dev/null || true; sleep 0.1; done
"$work/quarryd" check --data-dir "$work/data" || status=1
if [ "$status" != 0 ]; then
    echo "== vhost-user: FAILED; quarryd's last words:"
    tail -30 "$work/log"
    exit 1
fi
echo "== vhost-user: passed"
