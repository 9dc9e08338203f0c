"""Check how durable a Redis server is, by INFO and CONFIG GET."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clef_wsgi.check.findings import STORE, Finding

TIMEOUT_SECONDS = 2.0
RED_BUTTON = "after a crash run clef-wsgi sign-out --everyone"


def findings(url: str) -> Iterator[Finding]:
    """Yield the findings about the server behind a URL, through a connection of its own."""
    import redis  # an extra, which the store needs too

    client: Any = redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )
    try:
        info = client.info()
        policy = _configured(client, "appendfsync")
    except redis.RedisError as error:
        yield STORE.warning(
            f"Redis does not tell how it is set up ({type(error).__name__}): what it loses in a crash is not known.",
            "Let this account run INFO, or look at appendonly, appendfsync and maxmemory-policy yourself.",
        )
        return
    finally:
        client.close()
    yield from _role(info)
    yield _persistence(info, policy)
    yield _memory(info)


def _configured(client: Any, name: str) -> str:
    import redis

    try:
        return str(client.config_get(name).get(name, ""))
    except redis.ResponseError:  # hosted servers forbid CONFIG
        return ""


def _role(info: Mapping[str, Any]) -> Iterator[Finding]:
    if info.get("role") in ("slave", "replica"):
        # It took a record, so it is not read-only: a full copy from its primary replaces that.
        yield STORE.error(
            "This Redis is a replica: a new copy may lose its logouts.", "Let store.url name the primary."
        )
    elif int(info.get("connected_slaves", 0)):
        yield STORE.warning(
            "Redis copies to replicas a moment later: a failover may lose the logouts of that moment.",
            "After a failover run clef-wsgi sign-out --everyone.",
        )
    else:
        yield STORE.ok("Redis is a primary without replicas.")


def _persistence(info: Mapping[str, Any], policy: str) -> Finding:
    if not int(info.get("aof_enabled", 0)):
        return STORE.warning(
            "Redis keeps no append-only file: a crash may lose every logout since its last snapshot.",
            f"Set appendonly yes and appendfsync always; until then, {RED_BUTTON}.",
        )
    if info.get("aof_last_write_status") != "ok":
        return STORE.error("Redis can't write its append-only file.", "Look at its log, and at its disk.")
    if policy == "always":
        return STORE.ok("Redis writes each logout to its disk before it answers (appendonly, appendfsync always).")
    lost = {"everysec": "the last second's logouts", "no": "half a minute of logouts"}.get(policy)
    return STORE.warning(
        f"Redis may lose {lost or 'some logouts'} when its machine fails (appendfsync {policy or 'is not told'}).",
        f"Set appendfsync always; or {RED_BUTTON}.",
    )


def _memory(info: Mapping[str, Any]) -> Finding:
    policy, limit = str(info.get("maxmemory_policy", "noeviction")), int(info.get("maxmemory", 0))
    if not policy.startswith("allkeys"):
        return STORE.ok(f"Redis drops no logout when its memory is full (maxmemory-policy {policy}).")
    when = "when its memory is full" if limit else "once it is given a maxmemory"
    return STORE.warning(
        f"Redis may drop the logouts {when} (maxmemory-policy {policy}): then everybody is logged out.",
        "Set maxmemory-policy noeviction, and keep caches in another Redis.",
    )
