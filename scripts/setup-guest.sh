#!/usr/bin/env bash
# Installs what the guest of the tests needs on Debian. Quick when all of it is there.
set -euo pipefail

missing=()
for package in debootstrap e2fsprogs python3 xz-utils zstd; do
    dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing+=("$package")
done
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
if ! command -v qemu-system-x86_64 >/dev/null; then
    # Of bookworm's two versions only the backport leaves qemu-utils in place.
    echo "setup: installing qemu-system-x86"
    source=bookworm-backports
    grep -rqs "$source" /etc/apt || echo "deb http://deb.debian.org/debian $source main" |
        "${sudo[@]}" tee /etc/apt/sources.list.d/quarry-backports.list >/dev/null
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" apt-get install -y -qq --no-install-recommends -t "$source" qemu-system-x86
fi
