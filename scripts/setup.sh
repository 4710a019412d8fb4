#!/usr/bin/env bash
# Installs what the demo, the tests and the benchmark need on Debian. Quick when all of it is there.
set -euo pipefail

packages=(
    build-essential # linker, and a C compiler for build scripts
    e2fsprogs
    fio
    fish # judges its completions, as zsh does
    fuse3
    git
    libiscsi-bin
    libnbd-bin # with nbdfuse
    nbdkit
    python3-libnbd
    qemu-block-extra # QEMU's iSCSI driver
    qemu-utils
    util-linux
    xfsprogs
    zsh
)

is_installed() {
    dpkg -s "$1" 2>/dev/null | grep -q '^Status: install ok installed'
}

if ! command -v cargo >/dev/null && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
    echo "setup: no Rust found: install it from https://rustup.rs (1.95 or later), then run this again" >&2
    exit 1
fi

if ! command -v dpkg >/dev/null; then
    echo "setup: this is no Debian; install by hand: ${packages[*]}" >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo=(sudo)
    fi
    export DEBIAN_FRONTEND=noninteractive
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
