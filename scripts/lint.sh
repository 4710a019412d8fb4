#!/usr/bin/env bash
# Everything that judges the code without running it.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --quiet --workspace --all-targets -- --deny warnings
cargo xtask arrows
cargo xtask tidy
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --log-level warn check bans licenses sources
fi
echo "lint: clean"
