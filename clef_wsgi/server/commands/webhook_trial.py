"""``server app test``: send each webhook of a site a true notification, of nobody, and print the result."""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import dataclass

from clef_wsgi.server.clock import SECOND, system_clock
from clef_wsgi.server.commands.arguments import Commands, add_for_app, add_origin
from clef_wsgi.server.commands.output import printable, say
from clef_wsgi.server.commands.support import find_app, note, opened, origin
from clef_wsgi.server.database.engine import Database
from clef_wsgi.server.delivery import failures
from clef_wsgi.server.delivery.call import AttemptResult, Call, call
from clef_wsgi.server.delivery.worker import user_agent
from clef_wsgi.server.errors import Refused
from clef_wsgi.server.records import confirmations, trials
from clef_wsgi.server.records.apps import App
from clef_wsgi.server.records.trials import Trial
from clef_wsgi.server.texts import failure_text

_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class TrialResult:
    """The result of one webhook: the call's result, its duration, and whether the site exchanged the token."""

    outcome: AttemptResult
    seconds: float
    exchanged: bool

    @property
    def confirmed(self) -> bool:
        return self.outcome.is_answered and self.exchanged


def add_to(group: Commands) -> None:
    parser = add_for_app(group, "test", test, "Sends a site a true notification, of nobody, and says what came back.")
    add_origin(parser)


def test(arguments: argparse.Namespace) -> None:
    """Send a notification to each webhook of a site, and print the results.

    :raises Refused: one of them did not confirm.
    """
    with opened(arguments) as database:
        with database.writing() as connection:
            app = find_app(connection, arguments.app)
            server_url = origin(connection, arguments)
            note(connection, "app.test", f"app:{app.id}", hooks=list(app.webhooks))
        if not app.webhooks:
            raise Refused(f'{printable(app.name)} has no webhook, so it gets no notifications: see "app set --hook".')
        results = [
            _report(app, webhook, try_webhook(database, app, webhook, server_url), server_url)
            for webhook in app.webhooks
        ]
    if not all(results):
        raise Refused(f"{printable(app.name)} did not confirm the notification.")
    say(f"{printable(app.name)} confirmed the notification.")


def try_webhook(
    database: Database,
    app: App,
    webhook: str,
    server_url: str,
    *,
    ask_seconds: float = confirmations.WAIT_US / SECOND,
    call: Call = call,
) -> TrialResult:
    """Send one notification and wait for the exchange. The notification is deleted afterwards."""
    with database.writing() as connection:
        trial = trials.begin(connection, app.id, webhook, now=system_clock())
    try:
        began = time.monotonic()
        outcome = call(webhook, trial.token, user_agent=user_agent(server_url), allow_private=app.allow_private)
        seconds = time.monotonic() - began
        return TrialResult(outcome, seconds, _is_exchanged(database, trial, ask_seconds if outcome.is_answered else 0))
    finally:
        with database.writing() as connection:
            trials.end(connection, trial)


def _is_exchanged(database: Database, trial: Trial, seconds: float) -> bool:
    """Return whether the token is exchanged, or will be in so many seconds."""
    until = time.monotonic() + seconds
    while True:
        with database.reading() as connection:
            if trials.is_exchanged(connection, trial):
                return True
        if time.monotonic() >= until:
            return False
        threading.Event().wait(_LOOK_SECONDS)


def _report(app: App, webhook: str, attempt: TrialResult, server_url: str) -> bool:
    """Print the result of a webhook, and return whether it confirmed."""
    outcome = attempt.outcome
    was_heard = outcome.connected and outcome.failure != failures.CONNECTION  # one that hangs up may be a proxy
    reached = outcome.status is not None or attempt.exchanged or was_heard
    answered = f"{outcome.status}, after {attempt.seconds:.1f} s" if outcome.status else "no"
    lines = [
        f"{printable(app.name)}  {webhook}",
        f"  reached    {'yes' if reached else 'no'}",
        f"  answered   {answered}",
        f"  exchanged  {'yes' if attempt.exchanged else 'no'}",
    ]
    if not attempt.confirmed:
        lines += ["", *_advice(attempt, server_url)]
    say("\n".join(lines) + "\n")
    return attempt.confirmed


def _advice(attempt: TrialResult, server_url: str) -> list[str]:
    if attempt.outcome.is_answered:
        return [
            failure_text("en", failures.NOT_ASKED),
            f"It has to ask {server_url}. Or the webhook is another page: one that answers everything, a redirect",
            "(to https, to another host, to a slash at the end), or a page of what stands in front of the site.",
        ]
    sentence = failure_text("en", attempt.outcome.failure or failures.ANSWER)
    if attempt.outcome.is_busy:
        return [sentence, "It is busy, and asks to be told again in a moment."]
    if attempt.exchanged:
        return [sentence, "It asked who logged out, and failed after that: see its log."]
    if attempt.outcome.status == 503:
        return [sentence, f"clef_wsgi says so when it can't ask {server_url}, or its own store: does this server run?"]
    return [sentence]
