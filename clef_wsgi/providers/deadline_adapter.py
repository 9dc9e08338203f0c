"""A requests adapter whose connections are cut by the exchange's deadline, and whose URLs stay out of the log."""

from __future__ import annotations

import logging
import socket
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from clef_wsgi.base import deadline


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        exchange = deadline.current()
        if exchange is None:
            raise RuntimeError("DeadlineAdapter works inside Exchange.run only.")
        return exchange.open_socket(_resolvable(self._dns_host), self.port or 0, self.socket_options or ())


class _TlsConnection(_Connection, HTTPSConnection):
    pass


def _resolvable(host: str) -> str:
    # RFC 6761, section 6.3: these names are this machine. No name server may say where they are: plain http
    # is allowed to them.
    name = host.lower().rstrip(".")
    return "localhost" if name.endswith(".localhost") else host.strip("[]")


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class DeadlineAdapter(HTTPAdapter):
    """A requests adapter whose connections end with their exchange. It works inside ``Exchange.run`` only."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _is_not_ours(_record: logging.LogRecord) -> bool:
    return deadline.current() is None


# urllib3 logs each URL at DEBUG, and at WARNING together with what a peer sent in bad headers: in our
# threads the one may hold a token, and the other is foreign text.
for _name in ("connection", "connectionpool", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_is_not_ours)
