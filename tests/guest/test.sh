#!/usr/bin/env bash
# Linux's own initiators against our servers, in a guest with a full kernel. Ends with the number of scenarios that failed.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=tests/guest
cargo build --quiet -p quarry-nvme-tcp --example serve_memory
work=$(mktemp -d)
server=
end() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

# A server of volumes in memory, with two portals; the guest changes it by lines in its folder.
start_nvme_tcp() {
    mkfifo "$work/orders"
    "$CARGO_TARGET_DIR/debug/examples/serve_memory" 127.0.0.1:4420 96 1 <"$work/orders" \
        >"$work/server" 2>"$work/server-log" &
    server=$!
    exec 3>"$work/orders"
    while kill -0 "$server" 2>/dev/null; do
        if [ -s "$work/share/order" ]; then
            cat "$work/share/order" >&3
            rm "$work/share/order"
        fi
        sleep 0.1
    done &
}

failed=0
mkdir "$work/share"
cp "$here/scenarios/common.sh" "$work/share/"
start_nvme_tcp
for scenario in ${*:-"$here"/scenarios/nvme-*.sh}; do
    name=$(basename "$scenario" .sh)
    echo "== $name"
    if "$here/run.sh" "$work/share" "$scenario" 300; then
        echo "== $name: passed"
    else
        echo "== $name: FAILED; the server's last words:"
        tail -20 "$work/server-log"
        failed=$((failed + 1))
    fi
done
exec 3>&-
echo "guest: $failed scenarios failed"
exit "$failed"
