"""Logout stores as an older version of the package left them: how they are written down, and put back.

``tests/fixtures/logout_stores`` holds a folder for each version. Run as a program, this file adds one, with the
package that is installed: ``python tests/support/old_stores.py NAME``, before a table changes.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import redis
import sqlalchemy

from clef_wsgi import EVERYONE, LogoutStore, SQLiteLogoutStore
from support.databases import MARIADB_URL, POSTGRESQL_URL, REDIS_URL, engine_at, redis_store, sql_store

FIXTURES = Path(__file__).parent.parent / "fixtures" / "logout_stores"
SQL = {"postgresql": POSTGRESQL_URL, "mariadb": MARIADB_URL, "sqlite": ""}
FILE, KEY, PREFIX = "sqlite_file.sqlite3", "redis.txt", "clef_"


def fill(store: LogoutStore) -> dict[str, Any]:
    """Active logins, logins ended in each way, and a notification: their state must be the same in later versions."""
    logins: list[dict[str, Any]] = []

    def login(person: str, number: int) -> list[str]:
        keys = [f"login:{number:032x}", json.dumps(["clef", "app", person])]
        logins.append({"keys": keys, "started": store.tick(), "lives": True})
        return keys

    def end(keys: list[str], idempotency_key: str | None = None) -> None:
        store.record_logout(keys, idempotency_key=idempotency_key)
        for ended in logins:
            if EVERYONE in keys or not set(keys).isdisjoint(ended["keys"]):
                ended["lives"] = False

    login("before everyone", 1)
    end([EVERYONE])
    login("ann", 2)
    bob = login("bob", 3)
    end(bob[1:], idempotency_key="notice of bob")
    login("bob", 4)
    carl = login("carl \N{LATIN SMALL LETTER E WITH ACUTE}", 5)
    end(carl[:1])
    login("carl \N{LATIN SMALL LETTER E WITH ACUTE}", 6)
    end([json.dumps(["clef", "app", "nobody"])], idempotency_key="notice of nobody")
    return {"logins": logins, "notices": ["notice of bob", "notice of nobody"]}


# -- written down -------------------------------------------------------------------------------------------


def dump_all(folder: Path) -> None:
    folder.mkdir(parents=True)
    said = {"sqlite_file": dump_sqlite_file(folder / FILE), "redis": dump_redis(folder / KEY)}
    for name, url in SQL.items():
        said[name] = dump_sql(name, url or f"sqlite:///{folder}/other.db", folder / f"{name}.sql")
    (folder / "other.db").unlink()
    (folder / "logins.json").write_text(json.dumps(said, indent=1) + "\n")


def dump_sqlite_file(path: Path) -> dict[str, Any]:
    with closing(SQLiteLogoutStore(path)) as store:
        said = fill(store)
    for left in path.parent.glob(f"{path.name}-*"):
        left.unlink()
    return said


def dump_redis(path: Path) -> dict[str, Any]:
    with redis_store() as store:
        said = fill(store)
        with redis.Redis.from_url(REDIS_URL) as client:
            members = client.zrange(f"{store.prefix}logouts", 0, -1, withscores=True)
    path.write_text("".join(f"{score:.0f} {member.hex()}\n" for member, score in members))
    return said


def dump_sql(name: str, url: str, path: Path) -> dict[str, Any]:
    with sql_store(url) as store:
        said = fill(store)
        tables = [f"{store.table_prefix}{table}" for table in ("mark", "logout", "idempotency_key")]
        text = DUMPS[name](url, tables).replace(store.table_prefix, PREFIX)
    # What stands between the statements is the server's own.
    statements = re.findall(r"^(?:CREATE TABLE|ALTER TABLE|INSERT INTO) .*?;$", text, re.MULTILINE | re.DOTALL)
    path.write_text("".join(f"{statement}\n" for statement in statements if "OWNER TO" not in statement))
    return said


def of_postgresql(url: str, tables: list[str]) -> str:
    chosen = [f"--table={table}" for table in tables]
    return output_of("pg_dump", "--inserts", "--no-owner", *chosen, url).replace("public.", "")


def of_mariadb(url: str, tables: list[str]) -> str:
    at = sqlalchemy.make_url(url)
    options = [f"--host={at.host}", f"--port={at.port}", f"--user={at.username}", "--compact", "--hex-blob"]
    return output_of("mariadb-dump", *options, str(at.database), *tables)


def of_sqlite(url: str, tables: list[str]) -> str:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return "\n".join(connection.iterdump()).replace('"', "")


DUMPS = {"postgresql": of_postgresql, "mariadb": of_mariadb, "sqlite": of_sqlite}


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# -- put back -----------------------------------------------------------------------------------------------


def load_sqlite_file(folder: Path, path: Path) -> None:
    shutil.copyfile(folder / FILE, path)


def load_redis(folder: Path, client: Any, prefix: str) -> None:
    for line in (folder / KEY).read_text().splitlines():
        stamp, member = line.split()
        client.zadd(f"{prefix}logouts", {bytes.fromhex(member): int(stamp)})


def load_sql(folder: Path, url: str, prefix: str) -> None:
    name = url.partition(":")[0]
    text = re.sub(rf"\b{PREFIX}", prefix, (folder / f"{name}.sql").read_text())
    with engine_at(url).begin() as connection:
        for statement in filter(None, map(str.strip, text.split(";\n"))):
            connection.exec_driver_sql(statement)


if __name__ == "__main__":
    dump_all(FIXTURES / sys.argv[1])
