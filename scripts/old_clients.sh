#!/usr/bin/env bash
# Installs old client libraries of Clef, just as they were published, into build/old-clients, where
# tests/server/test_server_clients.py finds them. Does nothing when they are there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
target=build/old-clients
wanted=$(cat tests/clients/requirements.txt tests/clients/package.json tests/clients/package-lock.json)

if [ "$wanted" != "$(cat "$target/.installed" 2>/dev/null)" ]; then
  rm -rf "$target"
  mkdir -p "$target"
  "$python" -m pip --disable-pip-version-check --quiet --quiet install \
    --target "$target/python" --requirement tests/clients/requirements.txt
  cp tests/clients/package.json tests/clients/package-lock.json "$target/"
  (cd "$target" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  printf '%s\n' "$wanted" > "$target/.installed"
fi
