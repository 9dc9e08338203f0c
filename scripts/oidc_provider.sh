#!/usr/bin/env bash
# Installs npm's oidc-provider with a Node of its own into a folder outside of the tree, where
# tests/support/oidc_provider finds it. Does nothing when this version is there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../tests/support/oidc_provider"
target=${XDG_CACHE_HOME:-$HOME/.cache}/clef_wsgi/oidc-provider

command -v npm >/dev/null || { echo "npm is needed to install oidc-provider." >&2; exit 2; }

if ! cmp --silent package-lock.json "$target/package-lock.json"; then
  mkdir -p "$(dirname "$target")"
  new=$(mktemp -d "$target.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  cp package.json package-lock.json "$new/"
  (cd "$new" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  rm -rf "$target"
  mv -T "$new" "$target"
fi
