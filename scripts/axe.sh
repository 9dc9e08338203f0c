#!/usr/bin/env bash
# Installs axe-core into build/axe, where tests/server/test_server_browser_axe.py finds it. Does nothing when it is there
# already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=build/axe
wanted=$(cat tests/axe/package.json tests/axe/package-lock.json)

if [ "$wanted" != "$(cat "$target/.installed" 2>/dev/null)" ]; then
  rm -rf "$target"
  mkdir -p "$target"
  cp tests/axe/package.json tests/axe/package-lock.json "$target/"
  (cd "$target" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  printf '%s\n' "$wanted" > "$target/.installed"
fi
