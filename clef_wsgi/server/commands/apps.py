"""``server app ...``: add, list, change and remove relying parties, and rotate their secrets."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from clef_wsgi.base.redirect_rules import CALLBACK_PATH
from clef_wsgi.server.clock import system_clock
from clef_wsgi.server.commands import access, snippets, webhook_trial, words
from clef_wsgi.server.commands.arguments import Commands, add_command, add_for_app, add_group, add_json, add_origin
from clef_wsgi.server.commands.output import iso, printable, say, say_json
from clef_wsgi.server.commands.support import find_app, note, opened, origin
from clef_wsgi.server.commands.webhooks import check_public
from clef_wsgi.server.database.schema import app_members, clef_ids
from clef_wsgi.server.errors import ConfigurationError, Refused
from clef_wsgi.server.records import apps
from clef_wsgi.server.records.apps import App

WEBHOOK_PATH = "/clef/webhook"
"""Default path of the middleware's webhook."""

MIN_SECRET_LENGTH = 16
NUMBER, TEXT = "number", "text"


def add_to(commands: Commands) -> None:
    group = add_group(commands, "app", "The sites that people sign in to.")
    _add_add(group)
    add_json(add_command(group, "list", list_apps, "Shows all sites."))
    _add_set(group)
    access.add_to(group)
    webhook_trial.add_to(group)
    parser = add_for_app(group, "rotate-secret", rotate_secret, "Gives a site a new secret; the one before goes on.")
    parser.add_argument("--end", action="store_true", help="end a rotation: only the new one works from now on")
    parser = add_for_app(group, "remove", remove, "Forgets a site, and the numbers by which it knows its people.")
    parser.add_argument("--yes", action="store_true", help="that is meant")


def _add_add(group: Commands) -> None:
    parser = add_command(group, "add", add, "Adds a site, and prints its settings with the secret, this once.")
    parser.add_argument("name", type=words.name, metavar="NAME", help="what people call it")
    parser.add_argument(
        "--site",
        type=words.site_url,
        metavar="URL",
        help=f"where clef_wsgi's middleware runs: short for --redirect URL{CALLBACK_PATH} --hook URL{WEBHOOK_PATH}",
    )
    _add_addresses_and_ids(parser)
    parser.add_argument("--members-only", action="store_true", help='only for whom "app allow" names')
    parser.add_argument("--app-id", metavar="ID", help="keep an old id, of 32 hex digits")
    parser.add_argument("--secret-file", type=Path, metavar="FILE", help="keep an old secret, which this file holds")
    add_origin(parser)


def _add_set(group: Commands) -> None:
    parser = add_for_app(group, "set", change, "Changes the addresses of a site, or how it gets ids.")
    _add_addresses_and_ids(parser)
    parser.add_argument(
        "--drop", action="append", default=[], metavar="URL", help="an address of either kind to forget"
    )


def _add_addresses_and_ids(parser: argparse.ArgumentParser) -> None:
    more: dict[str, Any] = {"action": "append", "default": [], "metavar": "URL"}
    parser.add_argument(
        "--redirect", type=words.redirect_url, help="where browsers go back to; may be repeated", **more
    )
    parser.add_argument("--hook", type=words.webhook_url, help="where a logout is reported; may be repeated", **more)
    parser.add_argument("--allow-private", action="store_true", help="a webhook may be in a private network")
    parser.add_argument(
        "--ids", choices=(NUMBER, TEXT), help="how it gets people's ids; text for a site that keeps them as text"
    )


def add(arguments: argparse.Namespace) -> None:
    redirects, webhooks = arguments.redirect, arguments.hook
    if arguments.site:
        redirects, webhooks = [arguments.site + CALLBACK_PATH, *redirects], [arguments.site + WEBHOOK_PATH, *webhooks]
    if not redirects:
        raise ConfigurationError("Where is the site? Say it with --site, or with --redirect.")
    check_public(webhooks, allow_private=arguments.allow_private)
    old_secret = _old_secret(arguments.secret_file)
    with opened(arguments) as database, database.writing() as connection:
        server_url = origin(connection, arguments)
        _check_is_new(connection, arguments.name)
        app, secret = apps.add(
            connection,
            name=arguments.name,
            redirect_urls=redirects,
            webhooks=webhooks,
            now=system_clock(),
            allow_private=arguments.allow_private,
            open_to_all=not arguments.members_only,
            ids_as_text=arguments.ids == TEXT,
            app_id=arguments.app_id,
            secret=old_secret,
        )
        note(connection, "app.add", f"app:{app.id}", name=app.name, redirects=redirects, hooks=webhooks)
    say(snippets.for_new_app(app, None if old_secret else secret, server_url))


def list_apps(arguments: argparse.Namespace) -> None:
    with opened(arguments) as database, database.reading() as connection:
        rows = [_row(connection, app) for app in apps.all_apps(connection)]
    if arguments.json:
        say_json(rows)
    else:
        say("\n\n".join(map(_described, rows)) or 'There are no sites yet: see "clef-wsgi server app add --help".')


def change(arguments: argparse.Namespace) -> None:
    """Add addresses, then drop others. The last redirect URL stays."""
    with opened(arguments) as database:
        with database.reading() as connection:
            app = find_app(connection, arguments.app)
        check_public(arguments.hook, allow_private=app.allow_private or arguments.allow_private)
        with database.writing() as connection:
            _change(connection, app, arguments)
    say(f"Changed {printable(app.name)}.")


def _check_is_new(connection: Connection, name: str) -> None:
    if name in [app.name for app in apps.all_apps(connection)]:
        called = shlex.quote(printable(name))
        raise Refused(
            f'{printable(name)} is there already. A new secret: "clef-wsgi server app rotate-secret {called}"; '
            f'other addresses: "clef-wsgi server app set {called}".'
        )


def _change(connection: Connection, app: App, arguments: argparse.Namespace) -> None:
    for url in arguments.redirect:
        apps.add_redirect(connection, app.id, url)
    for url in arguments.hook:
        apps.add_webhook(connection, app.id, url)
    for url in arguments.drop:
        if url not in (*app.redirects, *app.webhooks):
            raise Refused(f"{printable(app.name)} has no address {printable(url)}.")
        apps.remove_address(connection, app.id, url)
    if arguments.ids:
        apps.change(connection, app.id, ids_as_text=arguments.ids == TEXT)
    if arguments.allow_private:
        apps.change(connection, app.id, allow_private=True)
    if not apps.get(connection, app.id).redirects:
        raise Refused("That is the last address to go back to: add another with --redirect.")
    changes = {"redirects": arguments.redirect, "hooks": arguments.hook, "dropped": arguments.drop}
    changes |= {"ids": arguments.ids} if arguments.ids else {}
    note(connection, "app.set", f"app:{app.id}", allow_private=arguments.allow_private, **changes)


def rotate_secret(arguments: argparse.Namespace) -> None:
    with opened(arguments) as database, database.writing() as connection:
        app = find_app(connection, arguments.app)
        if arguments.end:
            apps.end_rotation(connection, app.id)
        elif len(apps.secret_hashes(connection, app.id)) >= apps.LIVE_SECRETS:
            raise Refused("Two secrets work already: end that rotation with --end first.")
        secret = None if arguments.end else apps.rotate_secret(connection, app.id, now=system_clock())
        note(connection, "app.end_rotation" if arguments.end else "app.rotate_secret", f"app:{app.id}")
    if secret is None:
        say(f"Only the newest secret of {printable(app.name)} works now.")
    else:
        say(snippets.for_rotation(app, secret))


def remove(arguments: argparse.Namespace) -> None:
    with opened(arguments) as database, database.writing() as connection:
        app = find_app(connection, arguments.app)
        if not arguments.yes:
            known = connection.execute(select(func.count()).where(clef_ids.c.app_id == app.id)).scalar_one()
            raise ConfigurationError(
                f"{printable(app.name)} knows {known} people by numbers that would be lost for good: add --yes."
            )
        apps.remove(connection, app.id)
        note(connection, "app.remove", f"app:{app.id}", name=app.name)
    say(f"Removed {printable(app.name)}. Logins that it has now end when it says so itself.")


def _old_secret(path: Path | None) -> str | None:
    if path is None:
        return None
    secret = path.read_text(encoding="utf-8", errors="replace").strip()
    if not (secret.isascii() and secret.isprintable() and len(secret) >= MIN_SECRET_LENGTH):
        raise ConfigurationError(f"A secret has {MIN_SECRET_LENGTH} or more printable characters, on one line.")
    return secret


def _row(connection: Connection, app: App) -> dict[str, Any]:
    members = select(app_members.c.person_id).where(app_members.c.app_id == app.id)
    return {
        "id": app.id,
        "name": app.name,
        "made_at": iso(app.created_at),
        "redirects": list(app.redirects),
        "hooks": list(app.webhooks),
        "allow_private": app.allow_private,
        "open_to_all": app.open_to_all,
        "ids": TEXT if app.ids_as_text else NUMBER,
        "members": sorted(connection.execute(members).scalars()),
        "secrets": len(apps.secret_hashes(connection, app.id)),
    }


def _described(row: dict[str, Any]) -> str:
    members = ", ".join(f"#{number}" for number in row["members"]) or "nobody yet"
    lines = [
        f"{printable(row['name'])}  {row['id']}",
        f"  for       {'everybody' if row['open_to_all'] else members}",
        *(f"  back to   {url}" for url in row["redirects"]),
        *(f"  webhook   {url}" for url in row["hooks"]),
    ]
    if row["ids"] == TEXT:
        lines.append("  gets ids as text")
    if row["allow_private"]:
        lines.append("  webhooks may be in a private network")
    if row["secrets"] > 1:
        lines.append("  two secrets work: a rotation is under way")
    return "\n".join(lines)
