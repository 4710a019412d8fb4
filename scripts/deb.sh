#!/usr/bin/env bash
# Builds the Debian package: the binaries, and what they make of their own definition. PROFILE=debug packs what a debug build made.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${PROFILE:-release}
if ! cargo deb --version >/dev/null 2>&1; then
    echo "deb: installing cargo-deb"
    env -u CARGO_TARGET_DIR cargo install --quiet --locked cargo-deb
fi
flags=()
if [ "$profile" = release ]; then
    flags=(--release)
fi
# Of the whole workspace, so that what other targets of make have built serves here.
cargo build --locked --workspace "${flags[@]}" --bin quarryd --bin quarry --bin quarry-extract

built=$CARGO_TARGET_DIR/$profile
pack=$CARGO_TARGET_DIR/deb
rm -rf "$pack"
mkdir -p "$pack"/{bin,man1,man8,bash,zsh,fish,doc}
install -m 755 "$built"/{quarryd,quarry,quarry-extract} "$pack/bin"
strip "$pack"/bin/*
"$built/quarry" man "$pack/man1"
"$built/quarry-extract" man "$pack/man1"
"$built/quarryd" man "$pack/man8"
"$built/quarry" completions bash >"$pack/bash/quarry"
"$built/quarry" completions zsh >"$pack/zsh/_quarry"
"$built/quarry" completions fish >"$pack/fish/quarry.fish"
gzip -9nk <deploy/debian/changelog >"$pack/doc/changelog.Debian.gz"
gzip -9n "$pack"/man1/* "$pack"/man8/*

# cargo-deb takes its files from the package's folder or below the target directory, so the way to them is a link.
ln -sfn "$pack" bin/quarryd/packed
trap 'rm -f bin/quarryd/packed' EXIT
cargo deb --no-build --no-strip -p quarryd --output "$CARGO_TARGET_DIR/"
ls -l "$CARGO_TARGET_DIR"/*.deb
