"""Keep logout records in Redis (6.2 or newer) or Valkey, for several machines.

What has to happen in one step is a Lua script in the
server; Lua's numbers are doubles, exact up to 2**53 microseconds, and never become text but by ``%.0f``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import redis
from redis.exceptions import NoScriptError, RedisError

from clef_wsgi.base.errors import ConfigurationError, StoreUnavailable
from clef_wsgi.base.options import Faults
from clef_wsgi.interfaces import EVERYONE

from .keys import digest, listed, microseconds

_PRUNED_AT_ONCE = 5000

_BEGIN = """
local key, everyone_name = KEYS[1], ARGV[1]
local seen = tonumber(ARGV[2])
local found = redis.call('ZMSCORE', key, 'm', everyone_name)
local mark, everyone = tonumber(found[1] or '0'), tonumber(found[2] or '0')

local function text(number)
  return string.format('%.0f', number)
end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function new_stamp()
  mark = math.max(now(), mark + 1, seen + 1)
  redis.call('ZADD', key, text(mark), 'm')
  return mark
end

if not found[1] or not found[2] or mark < seen then
  local newest = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
  mark = tonumber(newest[2] or '0')
  everyone = new_stamp()
  redis.call('ZADD', key, text(everyone), everyone_name)
end
"""
"""Born, or born again when records were lost; lost is also a mark below a stamp that this process saw.

Everyone's new record is above all that is left: the mark may have gone alone, and the clock may be behind.
"""

_TICK = f"{_BEGIN} return {{text(new_stamp())}}"

_RECORD = f"""{_BEGIN}
local idempotency_key = ARGV[3]
if idempotency_key ~= '' and redis.call('ZSCORE', key, idempotency_key) then
  return {{text(mark), 0}}
end
local stamp = text(new_stamp())
for index = 4, #ARGV do
  redis.call('ZADD', key, stamp, ARGV[index])
end
if idempotency_key ~= '' then
  redis.call('ZADD', key, stamp, idempotency_key)
end
return {{stamp, 1}}
"""

# A replica answers reads, however far behind it is, and refuses writes. PERSIST writes nothing to a key that
# never expires, and is a write to the server all the same.
_NEWEST = f"""{_BEGIN}
local refusal = redis.pcall('PERSIST', key)
if type(refusal) == 'table' and refusal.err and string.find(refusal.err, 'READONLY') then
  return refusal
end
local newest = everyone
if #ARGV > 2 then
  for _, stamp in ipairs(redis.call('ZMSCORE', key, unpack(ARGV, 3))) do
    newest = math.max(newest, tonumber(stamp or '0'))
  end
end
return {{text(mark), text(newest)}}
"""

# The mark goes along with everyone's record: a stamp below it would be a login that is dead at birth.
_PRUNE = f"""{_BEGIN}
local cut = now() - tonumber(ARGV[3])
redis.call('ZADD', key, 'GT', text(cut), 'm', text(cut), everyone_name)
local old = redis.call('ZRANGEBYSCORE', key, '-inf', '(' .. text(cut), 'LIMIT', 0, {_PRUNED_AT_ONCE})
local dropped = 0
for _, name in ipairs(old) do
  redis.call('ZREM', key, name)
  if string.sub(name, 1, 1) == 'k' then
    dropped = dropped + 1
  end
end
return {{text(math.max(mark, cut)), dropped, #old}}
"""


class RedisLogoutStore:
    """Keep stamps in one sorted set of a Redis server, shared by all machines that reach it.

    Stamps are the server's time. All records are one Redis key, without an end of life: they are in one slot of
    a cluster, and an eviction takes all of them or none, so it signs everybody out and brings no login back to
    life. How much a crash may lose is the server's setting (``appendonly``, ``appendfsync``). When records are
    lost and the set comes back empty, everybody has to sign in again. Older records, as after a failover or from a
    backup, are noticed by a process alone that has seen newer ones: record a logout of everyone then.

    Nothing is asked of the server before the first call. Every method raises ``StoreUnavailable`` when the
    server can't be asked in time, or is a replica; the cause is attached, and the next call tries again. All
    methods may be called by many threads at once, and after a fork.

    :param url: ``redis://``, ``rediss://`` or ``unix://``; or a client of the redis package, a ``RedisCluster``
        too, which brings time-outs of its own and must have a ``socket_timeout``.
    :param prefix: begins the Redis key's name; stores of one server with different prefixes are apart.
    :param connect_timeout_seconds: the longest that connecting takes. For a URL only.
    :param read_timeout_seconds: the longest that an answer takes. For a URL only.
    :raises ConfigurationError: an argument is wrong; ``faults`` has the sentences.
    """

    def __init__(
        self,
        url: str | redis.Redis,
        *,
        prefix: str = "clef:",
        connect_timeout_seconds: float = 0.5,
        read_timeout_seconds: float = 0.5,
    ) -> None:
        faults = Faults()
        limits = (
            faults.seconds("connect_timeout_seconds", connect_timeout_seconds),
            faults.seconds("read_timeout_seconds", read_timeout_seconds),
        )
        if not isinstance(prefix, str) or not prefix.isprintable():
            faults.add("prefix must be printable text, such as clef:.")
        try:
            self._client = _client_of(url, *limits)
        except ConfigurationError as error:
            faults.add(error.message)
        faults.raise_all()
        self._is_ours = isinstance(url, str)
        self.prefix = prefix
        self._key = f"{prefix}logouts"
        self._seen = 0

    def __repr__(self) -> str:
        return f"RedisLogoutStore({self._key!r})"

    def tick(self) -> int:
        """Return a new stamp in microseconds, greater than all that anybody got from this server."""
        return self._run(_TICK)[0]

    def record_logout(self, keys: Iterable[str], *, idempotency_key: str | None = None) -> bool:
        """Record a logout of all ``keys`` under one new stamp, in one step of the server.

        :param keys: any text, however long; a single ``str`` in place of a list is refused.
        :param idempotency_key: a digest; when the server knows it already, nothing is done.
        :returns: True when recorded, False when ``idempotency_key`` was known.
        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        known = b"" if idempotency_key is None else _member(b"n", idempotency_key)
        return bool(self._run(_RECORD, known, *_members(keys))[1])

    def newest_logout(self, keys: Iterable[str]) -> int:
        """Return the newest stamp, in microseconds, among ``keys`` and ``everyone``.

        :raises TypeError: ``keys`` is a ``str``, or holds something else than ``str``.
        """
        return self._run(_NEWEST, *_members(keys))[1]

    def prune(self, older_than: float) -> int:
        """Drop records and idempotency keys older than ``older_than`` seconds, and raise ``everyone`` to that moment.

        It goes in steps, so that no other call waits long.

        :returns: the number of logout records dropped.
        :raises ConfigurationError: ``older_than`` is negative or not a finite number.
        """
        age = str(microseconds(older_than))
        total, found = 0, _PRUNED_AT_ONCE
        while found == _PRUNED_AT_ONCE:
            _, dropped, found = self._run(_PRUNE, age)
            total += dropped
        return total

    def close(self) -> None:
        """Close this process's connections. The next call of any method opens new ones."""
        self._client.close()

    def _run(self, script: str, *arguments: bytes | str) -> list[int]:
        """Run a script in one round trip. Its first number is the mark, or a stamp that became it."""
        try:
            found = self._evaluate(script, _EVERYONE, str(self._seen), *arguments)
        except (RedisError, OSError) as error:
            self._drop_idle()
            raise StoreUnavailable() from error
        numbers = [int(number) for number in found]
        # Not under a lock: what another thread saw may be forgotten, which only makes the check less sharp.
        self._seen = max(self._seen, numbers[0])
        return numbers

    def _evaluate(self, script: str, *arguments: bytes | str) -> Sequence[Any]:
        try:
            found = self._client.evalsha(_DIGESTS[script], 1, self._key, *arguments)
        except NoScriptError:  # the server has forgotten its scripts, or never had this one
            found = self._client.eval(script, 1, self._key, *arguments)
        return found  # type: ignore[no-any-return]

    def _drop_idle(self) -> None:
        """Close idle connections: beside a broken one they are no better, and each would cost somebody a time-out."""
        if self._is_ours:
            self._client.connection_pool.disconnect(inuse_connections=False)


def _digest_of_script(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


_DIGESTS = {script: _digest_of_script(script) for script in (_TICK, _RECORD, _NEWEST, _PRUNE)}


def _member(kind: bytes, key: str) -> bytes:
    return kind + digest(key)


_EVERYONE = _member(b"k", EVERYONE)


def _members(keys: Iterable[str]) -> list[bytes]:
    return [_member(b"k", key) for key in listed(keys)]


def _fault(what: str) -> ConfigurationError:
    return ConfigurationError(f"RedisLogoutStore: {what}.")


def _client_of(url: Any, connect_timeout_seconds: float, read_timeout_seconds: float) -> Any:
    if not isinstance(url, str):
        return _checked(url)
    try:
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=connect_timeout_seconds,
            socket_timeout=read_timeout_seconds,
            # RESP2 needs no greeting: one round trip less for a new connection.
            protocol=2,
        )
    except ValueError:
        # The text of others may hold the URL's password.
        raise _fault("url must be such as redis://10.0.0.5:6379/0, with rediss:// for TLS, or unix:///path") from None


def _checked(client: Any) -> Any:
    if isinstance(client, type) or not callable(getattr(client, "evalsha", None)):
        raise _fault("url must be a str, or a client of the redis package")
    pool = getattr(client, "connection_pool", None) or getattr(client, "nodes_manager", None)
    if getattr(pool, "connection_kwargs", {}).get("socket_timeout") is None:
        raise _fault("url is a client without a time-out: give it socket_timeout=0.5")
    if getattr(client, "read_from_replicas", False) or getattr(pool, "is_master", True) is False:
        raise _fault("url is a client that reads from replicas, which may be behind: give one of the primary")
    return client
