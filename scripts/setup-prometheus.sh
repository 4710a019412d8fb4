#!/usr/bin/env bash
# Installs Prometheus, by which the figures, the alert rules and the dashboards are tried (`cargo xtask metrics`), on Debian.
set -euo pipefail

if command -v promtool >/dev/null || ! command -v dpkg >/dev/null; then
    exit 0
fi
echo "setup: installing prometheus"
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo)
fi
# The package starts a service on every address; the scenario starts its own, so that one never runs.
if [ -d /etc/systemd/system ] && [ ! -e /etc/systemd/system/prometheus.service ]; then
    "${sudo[@]}" ln -s /dev/null /etc/systemd/system/prometheus.service
fi
# Where there is no systemd, the package asks this before it starts anything.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq --no-install-recommends prometheus
