#!/usr/bin/env bash
# Runs a script in the guest and ends with its status:   run.sh FOLDER SCRIPT [SECONDS]
# FOLDER is shared with the guest as /mnt/host. It has two networks; what listens on the host's 127.0.0.1 is 10.0.2.2 on one of
# them and 10.0.3.2 on the other.
# QUARRY_GUEST_DEVICES are more arguments for QEMU.
set -euo pipefail

guest=${QUARRY_GUEST_DIR:-$HOME/.cache/quarry-guest}
folder=$1 script=$2 seconds=${3:-300}
"$(dirname "$0")/build.sh"
cp "$script" "$folder/command.sh"
rm -f "$folder/status"

# By emulation, which works everywhere: inside of virtual machines /dev/kvm is often there and of no use.
acceleration=(-accel tcg,thread=multi,tb-size=512 -cpu max)
if [ "${QUARRY_GUEST_ACCELERATION:-}" = kvm ]; then
    acceleration=(-accel kvm -cpu host)
fi
: >"$folder/output"
tail -f -n +1 --pid=$$ "$folder/output" &
tail=$!
# Whatever becomes of this script, the guest does not outlive it.
setpriv --pdeathsig TERM -- timeout "$seconds" qemu-system-x86_64 -M q35 -m 1024 -smp 2 "${acceleration[@]}" \
    -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$guest/vmlinux" -initrd "$guest/early.cpio" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable random.trust_cpu=on" \
    -drive file="$guest/root.img",if=none,id=root,format=raw,snapshot=on -device virtio-blk-pci,drive=root \
    -netdev user,id=network -device virtio-net-pci,netdev=network,romfile= \
    -netdev user,id=second,net=10.0.3.0/24 -device virtio-net-pci,netdev=second,romfile= \
    -virtfs local,path="$folder",mount_tag=host,security_model=none \
    ${QUARRY_GUEST_DEVICES:-} -serial file:"$folder/console" -serial file:"$folder/output" </dev/null || true
sleep 0.2
kill "$tail" 2>/dev/null || true
wait "$tail" 2>/dev/null || true
if [ ! -e "$folder/status" ]; then
    echo "guest: it did not come to an end; the last lines of its console:" >&2
    tail -30 "$folder/console" >&2
    exit 1
fi
exit "$(cat "$folder/status")"
