#!/usr/bin/env bash
# Installs tgt, beside which iSCSI is measured, on Debian. Without it the benchmark goes without that row.
set -euo pipefail

if command -v tgtd >/dev/null || ! command -v dpkg >/dev/null; then
    exit 0
fi
echo "setup: installing tgt"
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo)
fi
# The package starts a service on every address; the benchmark starts its own, so that one never runs.
if [ -d /etc/systemd/system ] && [ ! -e /etc/systemd/system/tgt.service ]; then
    "${sudo[@]}" ln -s /dev/null /etc/systemd/system/tgt.service
fi
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq --no-install-recommends tgt
