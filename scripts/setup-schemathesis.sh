#!/usr/bin/env bash
# Installs schemathesis, by which the REST API is tried (`make test-api`), from PyPI into a folder of its own.
set -euo pipefail

version=4.32.5
folder=$HOME/.cache/quarry-tools/schemathesis

if [ "$("$folder/bin/schemathesis" --version 2>/dev/null | grep -o '[0-9][0-9.]*$')" = "$version" ]; then
    exit 0
fi
echo "setup: installing schemathesis $version"
if ! python3 -m venv --clear "$folder" 2>/dev/null; then
    sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo=(sudo)
    fi
    export DEBIAN_FRONTEND=noninteractive
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" apt-get install -y -qq --no-install-recommends python3-venv
    python3 -m venv --clear "$folder"
fi
"$folder/bin/pip" install --quiet "schemathesis==$version"
