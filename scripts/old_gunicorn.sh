#!/usr/bin/env bash
# Installs gunicorn 23 into a folder of its own, outside of the tree, where tests/support/wsgi_servers.py finds it: an older line
# that hands over other paths than the newest. Does nothing when it is there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
target=${XDG_CACHE_HOME:-$HOME/.cache}/clef_wsgi/gunicorn-23

if [ ! -d "$target/gunicorn" ]; then
  mkdir -p "$(dirname "$target")"
  new=$(mktemp -d "$target.XXXXXX")
  "$python" -m pip --disable-pip-version-check --quiet install --no-deps --target "$new" "gunicorn==23.0.0"
  mv -T "$new" "$target"
fi
