#!/usr/bin/env bash
# Runs every test: examples in the documentation, unit tests, end-to-end tests. Ends with the runner's own summary.
set -euo pipefail
cd "$(dirname "$0")/.."

# The binaries once, in the build that checks overflows and assertions; the end-to-end tests take them from there.
cargo build --workspace --bins
export QUARRY_BIN_DIR="$CARGO_TARGET_DIR/debug"

cargo test --quiet --workspace --doc
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace "$@"
else
    cargo test --workspace --lib --bins --tests --no-fail-fast "$@"
fi
