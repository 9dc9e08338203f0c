"""Events of the middleware: each emitted once, to the log and to the counters, without personal data in the clear."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from support import doc_runner
from support.app import FakeClock, FakeProvider, browser, make_app
from support.docs_app import SECRET

from clef_wsgi import ConfigurationError, LoginRefused, MemoryLogoutStore, StoreUnavailable, events, metrics

PAGE = doc_runner.ROOT / "docs" / "operating.md"
ERRORS = doc_runner.ROOT / "docs" / "errors.md"
TROUBLE = ("reason", "cause", "endpoint", "reference")


class BrokenStore(MemoryLogoutStore):
    """A store that can be taken away."""

    is_there = True

    def newest_logout(self, keys: Any) -> int:
        if not self.is_there:
            raise StoreUnavailable from OSError("hunter2")
        return super().newest_logout(keys)

    def record_logout(self, keys: Any, *, idempotency_key: str | None = None) -> bool:
        if not self.is_there:
            raise StoreUnavailable from OSError("hunter2")
        return super().record_logout(keys, idempotency_key=idempotency_key)


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """Every event of the test, as an observer sees it."""
    seen: list[dict[str, Any]] = []
    before = events.observers[:]
    events.observers.append(lambda event: seen.append(dict(event)))
    yield seen
    events.observers[:] = before


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    """A registry of the test's own, that counts."""
    before = events.observers[:], metrics._installed[:]
    made = CollectorRegistry()
    metrics.install(made)
    yield made
    events.observers[:], metrics._installed[:] = before


def names(told: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in told]


def test_a_login_and_a_logout_are_told(told: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    """A login, a notification, its repetition, and the next request: one event each, tied by their digests."""
    caplog.set_level(logging.INFO, "clef_wsgi")
    provider, clock = FakeProvider(), FakeClock()
    store = MemoryLogoutStore(clock=clock)
    ann = browser(make_app(provider=provider, store=store, clock=clock))
    ann.sign_in("ann")
    token = provider.logout_token("ann")
    for _ in range(2):
        ann.notify(token)
    clock.advance(3)
    for _ in range(2):
        assert ann.user is None
    assert names(told) == ["login", "webhook", "webhook", "sign_out_noticed"]
    login, recorded, known, noticed = told
    person = events.digests([provider.user_key("ann")])
    assert login["keys"][1:] == recorded["keys"] == known["keys"] == person
    assert noticed["keys"] == login["keys"]
    assert (recorded["outcome"], known["outcome"]) == ("recorded", "known")
    assert (noticed["reason"], noticed["seconds"]) == ("logged_out", pytest.approx(3))
    assert [vars(record)["event"] for record in caplog.records] == names(told)
    shown = json.dumps(told) + caplog.text
    assert not re.search(r"\bann\b|example\.org|" + re.escape(token), shown)


def test_a_request_that_passes_tells_nothing(told: list[dict[str, Any]]) -> None:
    """Anonymous or signed in: no event, and so no cost."""
    ann = browser(make_app())
    ann.get("/", status=200)
    assert told == []
    ann.sign_in()
    told.clear()
    assert ann.user["id"] == "ann"
    assert told == []


def test_other_ends_of_a_login_are_told(told: list[dict[str, Any]]) -> None:
    """Signing out here; a login that is too old; a record that is none."""
    clock = FakeClock()
    ann = browser(make_app(clock=clock, max_login_age=60))
    ann.sign_in()
    ann.sign_out()
    ann.sign_in()
    clock.advance(61)
    assert ann.user is None
    assert names(told) == ["login", "sign_out", "login", "sign_out_noticed"]
    assert (told[3]["reason"], told[3]["seconds"]) == ("too_old", None)


@pytest.mark.parametrize("store_failure", ["unavailable", "anonymous"])
def test_a_store_that_is_away_is_told(
    told: list[dict[str, Any]], registry: CollectorRegistry, store_failure: str
) -> None:
    """A failed store is an event in both modes of ``store_failure``, and at the webhook."""
    store, provider = BrokenStore(), FakeProvider()
    ann = browser(make_app(provider=provider, store=store, store_failure=store_failure))
    ann.sign_in()
    store.is_there = False
    ann.get("/", status=503 if store_failure == "unavailable" else 200)
    ann.notify(provider.logout_token("ann"), status=503)
    assert [(event["event"], event["endpoint"], event["cause"]) for event in told[1:]] == [
        ("store_error", "page", "OSError"),
        ("store_error", "webhook", "OSError"),
    ]
    assert registry.get_sample_value("clef_wsgi_store_errors_total") == 2
    assert registry.get_sample_value("clef_wsgi_webhooks_total", {"outcome": "unavailable"}) == 1


def test_trouble_of_others_is_told(told: list[dict[str, Any]]) -> None:
    """Refusals, login service failures and failures of the app's own functions have event names of their own."""

    def on_login(environ: Any, user: Any) -> None:
        raise ZeroDivisionError

    provider = FakeProvider()
    ann = browser(make_app(provider=provider, on_login=on_login, on_refusal=on_login))
    answer = ann.notify("not genuine", status=400)
    ann.come_back(ann.start_login(), status=503)
    provider.raises = StoreUnavailable()
    ann.get("/clef/login", status=503)
    assert names(told) == ["refusal", "site_error", "refusal", "site_error", "store_error", "site_error"]
    assert told[0] == {
        "event": "refusal",
        "reason": "logout_refused",
        "cause": "-",
        "endpoint": "webhook",
        "reference": answer.json["reference"],
    }
    assert [event["hook"] for event in told if "hook" in event] == ["on_login", "on_refusal", "on_refusal"]
    assert [event["endpoint"] for event in told if "endpoint" in event] == ["webhook", "callback", "login"]


def test_what_is_counted(registry: CollectorRegistry) -> None:
    """The counters of a day, with the logger shut: they do not hang on its level."""
    logging.getLogger("clef_wsgi").setLevel(logging.CRITICAL)
    try:
        provider, clock = FakeProvider(), FakeClock()

        def on_login(environ: Any, user: Any) -> None:
            if user["id"] != "ann":
                raise LoginRefused(reason=f"no_{user['id']}")

        store = MemoryLogoutStore(clock=clock)
        ann = browser(make_app(provider=provider, store=store, clock=clock, on_login=on_login))
        ann.sign_in()
        ann.notify(provider.logout_token("ann"))
        clock.advance(0.3)
        assert ann.user is None
        ann.notify("not genuine", status=400)
        for stranger in ("bo", "cy"):
            ann.come_back(ann.start_login(), stranger, status=400)
    finally:
        logging.getLogger("clef_wsgi").setLevel(logging.NOTSET)
    values = {
        (sample.name.removeprefix("clef_wsgi_"), *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket"))
    }
    assert values == {
        ("logins_total",): 1,
        ("refusals_total", "logout_refused"): 1,
        ("refusals_total", "other"): 2,
        ("webhooks_total", "recorded"): 1,
        ("webhooks_total", "refused"): 1,
        ("sign_outs_noticed_total", "logged_out"): 1,
        ("store_errors_total",): 0,
        ("provider_errors_total",): 0,
        ("logout_seconds_count",): 1,
        ("logout_seconds_sum",): pytest.approx(0.3),
    }


def test_an_observer_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A full disk under the counters costs nobody the login."""

    def fails(_event: Any) -> None:
        raise OSError

    events.observers.append(fails)
    try:
        ann = browser(make_app())
        ann.sign_in()
        assert ann.user["id"] == "ann"
    finally:
        events.observers.remove(fails)
    assert "an observer failed" in caplog.text


def test_installing_twice_counts_once(registry: CollectorRegistry) -> None:
    """An app that is loaded again is not counted double."""
    metrics.install(registry)
    browser(make_app()).sign_in()
    assert registry.get_sample_value("clef_wsgi_logins_total") == 1


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without prometheus_client the sentence says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigurationError, match=r"\.\[metrics\]"):
        metrics.install()


@pytest.mark.process
def test_metrics_are_loaded_by_nobody_else() -> None:
    """``import clef_wsgi`` loads no prometheus_client."""
    code = "import sys, clef_wsgi, clef_wsgi.metrics; sys.exit('prometheus_client' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


# -- the page ---------------------------------------------------------------------------------------------


def _table(heading: str, number: int = 0) -> list[list[str]]:
    return [rows for title, rows in doc_runner.tables(PAGE) if title == heading][number]


def _words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_events_are_those_of_the_page() -> None:
    """docs/operating.md lists each event with its level and what it carries, and each attribute."""
    listed = {
        name.strip("`"): events.Event(getattr(logging, level.strip("`")), tuple(_words(fields)))
        for name, level, _, fields in _table("Events")
    }
    assert listed == events.EVENTS
    attributes = {name for event in events.EVENTS.values() for name in event.fields}
    assert {row[0].strip("`") for row in _table("Events", 1)} == attributes


def test_every_told_event_is_on_the_list(told: list[dict[str, Any]]) -> None:
    """Each call of ``emit`` names an event, and gives just what the list says it carries."""
    calls = [
        (match[1], set(re.findall(r"(?<![\w.])(\w+)=(?!=)", match[2])))
        for path in Path(events.__file__).parent.glob("*.py")
        for match in re.finditer(r"events\.emit\(\s*\"(\w+)\",(.*?)\)\n", path.read_text(encoding="utf-8"), re.DOTALL)
    ]
    assert {name for name, _ in calls} == {
        "login",
        "sign_out",
        "sign_out_noticed",
        "webhook",
        "site_error",
        "remote_user_missing",
    }
    assert all(fields == set(events.EVENTS[name].fields) for name, fields in calls)
    browser(make_app()).notify("not genuine", status=400)
    assert set(told[0]) == {"event", *TROUBLE}


def test_counters_are_those_of_the_page(registry: CollectorRegistry) -> None:
    """docs/operating.md lists each metric; the alerts speak of no other."""
    families = [(family, family.type) for family in registry.collect()]
    made = {family.name + ("_total" if kind == "counter" else "") for family, kind in families}
    assert {row[0].strip("`") for row in _table("Counters")} == made
    asked = {name for row in _table("What to be woken for") for name in re.findall(r"clef_wsgi_\w+", row[1])}
    assert asked <= made


def test_reasons_that_are_labels_are_those_of_the_page_of_errors() -> None:
    """Every reason of a refusal is a label of its own; the list is closed."""
    tables = [rows for title, rows in doc_runner.tables(ERRORS) if title == "Reasons"][:4]
    assert {row[0].strip("`") for rows in tables for row in rows} == metrics.REASONS


def test_a_digest_is_no_key() -> None:
    """32 hexadecimal characters, whatever the key; odd text fails nothing."""
    (digest,) = events.digests(["\udc80" + SECRET])
    assert re.fullmatch("[0-9a-f]{32}", digest)
