#!/usr/bin/env bash
# Installs a real S3 server, from crates.io, by which the object tier is tried (`cargo xtask object-tier`).
set -euo pipefail

server=s3s-fs
version=0.14.1

if command -v "$server" >/dev/null || [ -x "$HOME/.cargo/bin/$server" ]; then
    exit 0
fi
echo "setup: building $server $version, which takes some minutes once"
env -u CARGO_TARGET_DIR "${CARGO:-cargo}" install --quiet --locked "$server" --version "$version" --features binary
