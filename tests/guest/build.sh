#!/usr/bin/env bash
# Builds a Debian guest with a full kernel, once: into $QUARRY_GUEST_DIR, some minutes and 3 GiB. Needs no network afterwards.
set -euo pipefail

guest=${QUARRY_GUEST_DIR:-$HOME/.cache/quarry-guest}
root=$guest/root
suite=bookworm
meta=linux-image-6.12-amd64
tools=kmod,udev,iproute2,busybox-static,nvme-cli,open-iscsi,nbd-client,multipath-tools,e2fsprogs,xfsprogs,util-linux,procps,sg3-utils,fio,netbase

[ -e "$guest/built" ] && exit 0
mkdir -p "$guest/kernel"

package=$(apt-cache depends "$meta" | awk '/Depends: linux-image/ { print $2; exit }')
release=${package#linux-image-}
if [ ! -e "$guest/kernel/boot/vmlinuz-$release" ]; then
    (cd "$guest" && apt-get download -qq "$package" && dpkg -x "$package"_*.deb kernel && rm "$package"_*.deb)
fi
if [ ! -e "$root/.complete" ]; then
    echo "guest: installing Debian $suite"
    debootstrap --variant=minbase --include="$tools" "$suite" "$root" >"$guest/debootstrap.log"
    rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    touch "$root/.complete"
fi

# QEMU boots an uncompressed kernel at once; unpacking itself takes it seconds without virtualization.
python3 - "$guest/kernel/boot/vmlinuz-$release" "$guest/vmlinux" <<'PYTHON'
import lzma, struct, subprocess, sys

image = open(sys.argv[1], "rb").read()
offset, length = struct.unpack_from("<II", image, 0x248)
start = (image[0x1F1] + 1) * 512 + offset
payload = image[start : start + length]
if payload[:6] == b"\xfd7zXZ\0":
    kernel = lzma.LZMADecompressor().decompress(payload)
else:
    # Behind the compressed kernel stands its size.
    kernel = subprocess.run(["zstd", "-dc"], input=payload[:-4], stdout=subprocess.PIPE, check=True).stdout
assert kernel[:4] == b"\x7fELF", "an uncompressed kernel"
open(sys.argv[2], "wb").write(kernel)
PYTHON

# The modules that storage needs, uncompressed.
modules=lib/modules/$release
rm -rf "${root:?}/$modules"
mkdir -p "$root/$modules"
cp "$guest/kernel/$modules"/modules.{builtin,builtin.modinfo,order} "$root/$modules/"
(
    cd "$guest/kernel/$modules"
    folders=(kernel/arch kernel/block kernel/crypto kernel/fs kernel/lib kernel/net kernel/drivers/block kernel/drivers/md
        kernel/drivers/net kernel/drivers/nvme kernel/drivers/scsi kernel/drivers/target kernel/drivers/virtio
        kernel/drivers/char kernel/drivers/vhost)
    find "${folders[@]}" -name '*.ko*' -print0 | tar --null -T - -cf - | tar -C "$root/$modules" -xf -
)
find "$root/$modules" -name '*.ko.xz' -print0 | xargs -0r -n64 -P2 unxz
chroot "$root" depmod "$release"

cp "$(dirname "$0")/guest-init" "$root/guest-init"
chmod +x "$root/guest-init"
echo '127.0.0.1 localhost guest' >"$root/etc/hosts"
rm -f "$guest/root.img"
truncate -s 2G "$guest/root.img"
mkfs.ext4 -q -F -O ^has_journal -d "$root" "$guest/root.img"

# An initramfs with what reaches the root device and the shared folder, loaded in order.
early=$guest/early
rm -rf "$early"
mkdir -p "$early"/{bin,modules,proc,sys,dev,new}
cp "$root/bin/busybox" "$early/bin/"
for module in crc32c_generic virtio_pci virtio_blk ext4 virtio_net 9pnet_virtio 9p configfs; do
    chroot "$root" modprobe -S "$release" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" { print $2 }' || true
done | awk '!seen[$0]++' | while read -r file; do
    cp "$root$file" "$early/modules/"
    echo "/modules/${file##*/}" >>"$early/list"
done
cat >"$early/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in $($b cat /list); do $b insmod $module; done
$b mount -t ext4 -o rw,noatime /dev/vda /new || { $b dmesg | $b tail -20; $b poweroff -f; }
$b mount --move /dev /new/dev
exec $b switch_root /new /guest-init
INIT
chmod +x "$early/init"
(cd "$early" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null) >"$guest/early.cpio"
touch "$guest/built"
