#!/usr/bin/env bash
# PostgreSQL and Redis for the tests. Those that answer already are used as they are; what does not is started,
# with all that it writes in DIRECTORY, and ended by "stop".
#
#   scripts/services.sh start DIRECTORY
#   scripts/services.sh stop DIRECTORY
#
# CLEF_POSTGRESQL_PORT and CLEF_REDIS_PORT say where on 127.0.0.1 they are (5432 and 6379).
set -euo pipefail

postgresql_port=${CLEF_POSTGRESQL_PORT:-5432}
redis_port=${CLEF_REDIS_PORT:-6379}
usage="usage: scripts/services.sh start|stop DIRECTORY"
directory=$(realpath -- "${2:?$usage}")
data=$directory/postgresql

for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done # Debian keeps these off the path

as_postgres() { # its programs refuse to be root
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- env "PATH=$PATH" "$@"); else "$@"; fi
}

postgresql_answers() { pg_isready -q -h 127.0.0.1 -p "$postgresql_port"; }
redis_answers() { [ "$(redis-cli -h 127.0.0.1 -p "$redis_port" ping 2>/dev/null)" = PONG ]; }

start_postgresql() {
  mkdir "$data"
  if [ "$(id -u)" = 0 ]; then chmod 711 "$directory" && chown postgres "$data"; fi
  as_postgres initdb -D "$data" -U postgres -A trust -E UTF8 --no-locale --no-sync >/dev/null
  as_postgres pg_ctl -D "$data" -l "$data/log" -w -t 60 \
    -o "-h 127.0.0.1 -p $postgresql_port -k '$data' -c fsync=off" start >/dev/null
  createdb -h 127.0.0.1 -p "$postgresql_port" -U postgres test
}

start_redis() {
  redis-server --bind 127.0.0.1 --port "$redis_port" --save "" --dir "$directory" \
    --daemonize yes --pidfile "$directory/redis.pid" --logfile "$directory/redis.log" >/dev/null
  for _ in {1..100}; do redis_answers && return; sleep 0.1; done
  echo "Redis does not answer on port $redis_port: see $directory/redis.log" >&2
  return 1
}

start() {
  if ! postgresql_answers; then start_postgresql; fi
  if ! psql -h 127.0.0.1 -p "$postgresql_port" -U postgres --no-password -qAtc "select" test >/dev/null; then
    echo "PostgreSQL on port $postgresql_port must let the user postgres into a database test without a password." >&2
    return 1
  fi
  if ! redis_answers; then start_redis; fi
}

stop() {
  if [ -f "$data/postmaster.pid" ]; then as_postgres pg_ctl -D "$data" -m fast -w stop >/dev/null; fi
  if [ -f "$directory/redis.pid" ]; then
    kill "$(cat "$directory/redis.pid")"
    for _ in {1..100}; do [ -f "$directory/redis.pid" ] || return 0; sleep 0.1; done # it removes the file last
  fi
}

case ${1:-} in
  start | stop) "$1" ;;
  *) echo "$usage" >&2 && exit 2 ;;
esac
