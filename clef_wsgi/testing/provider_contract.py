"""Test the contract of an identity provider: every provider inherits these.

For a provider of your own, subclass in a test module and say how it is made and what its peer would do::

    from clef_wsgi.testing.provider_contract import IdentityProviderContract

    class TestMyProvider(IdentityProviderContract):
        def make_provider(self):
            return MyProvider(...)

        def approve(self, start, person):
            ...  # the callback's query after ``person`` approved the login ``start``

        def notification(self, person):
            ...  # a fresh logout notification for ``person``, as a form with ``logout_token``

``person`` is the ``id`` that comes back in ``clef.user``. Needs pytest.
"""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from clef_wsgi.base.errors import ClefError, LogoutRefused
from clef_wsgi.interfaces import MAX_USER_ID_LENGTH, IdentityProvider, LoginStart

REDIRECT_URL = "https://www.example.com/clef/callback"
STATE = "a-state_of.43~characters-or-so-0123456789AB"


class IdentityProviderContract:
    """Inherit, and override the three methods."""

    def make_provider(self) -> IdentityProvider:
        raise NotImplementedError("return a provider")

    def approve(self, start: LoginStart, person: str) -> Mapping[str, str]:
        raise NotImplementedError("return the callback's query")

    def notification(self, person: str) -> Mapping[str, str]:
        raise NotImplementedError("return the form of a logout notification")

    person = "12345"
    """Somebody whom the provider knows."""

    def test_it_is_a_provider(self) -> None:
        """The middleware takes an instance with the four methods."""
        assert isinstance(self.make_provider(), IdentityProvider)

    def test_the_issuer_is_text_that_stays(self) -> None:
        """``issuer`` is the same text for the same provider; one without it may be used alone in a session."""
        issuer, again = (getattr(self.make_provider(), "issuer", None) for _ in range(2))
        assert issuer is None or (isinstance(issuer, str) and issuer)
        assert issuer == again

    def test_a_login_begins_at_an_absolute_address(self) -> None:
        """``start_login`` gives an http(s) URL, and a ``provider_state`` that JSON keeps as it is."""
        start = self.make_provider().start_login(STATE, REDIRECT_URL)
        assert urlsplit(start.url).scheme in ("http", "https")
        assert urlsplit(start.url).netloc
        assert json.loads(json.dumps(dict(start.provider_state), allow_nan=False)) == dict(start.provider_state)

    def test_an_approved_login_is_a_person(self) -> None:
        """``finish_login`` gives the person's ``id`` as text, JSON beside it, and keys that are text."""
        provider = self.make_provider()
        start = provider.start_login(STATE, REDIRECT_URL)
        identity = provider.finish_login(self.approve(start, self.person), start.provider_state, REDIRECT_URL)
        assert identity.user["id"] == self.person
        assert 0 < len(identity.user["id"]) <= MAX_USER_ID_LENGTH
        assert json.loads(json.dumps(dict(identity.user), allow_nan=False)) == dict(identity.user)
        assert all(isinstance(key, str) for key in identity.keys)

    @pytest.mark.parametrize("code", ["", "unknown", "\0", "x" * 2048])
    def test_a_code_of_nobody_is_refused(self, code: str) -> None:
        """A code that the provider's peer did not give is an error of the package's tree, and no identity."""
        provider = self.make_provider()
        start = provider.start_login(STATE, REDIRECT_URL)
        with pytest.raises(ClefError) as caught:
            provider.finish_login({"code": code, "state": STATE}, start.provider_state, REDIRECT_URL)
        assert caught.value.status in (400, 503)
        assert not code.strip() or code not in str(caught.value)

    def test_a_logout_names_the_person(self) -> None:
        """``read_logout`` gives the key that ``user_key`` gives."""
        provider = self.make_provider()
        assert provider.user_key(self.person) in provider.read_logout(self.notification(self.person)).keys

    def test_a_notification_counts_once(self) -> None:
        """The same notification has the same ``idempotency_key``, another one another; ``None``: each one counts."""
        provider = self.make_provider()
        form = self.notification(self.person)
        first, again = provider.read_logout(form), provider.read_logout(form)
        other = provider.read_logout(self.notification(self.person))
        assert first.idempotency_key == again.idempotency_key
        assert first.idempotency_key is None or first.idempotency_key != other.idempotency_key
        assert first.idempotency_key is None or form["logout_token"] not in first.idempotency_key

    @pytest.mark.parametrize("token", ["unknown", "1234567890", "\0", "x" * 5000])
    def test_a_notification_of_nobody_is_refused(self, token: str) -> None:
        """A notification that the provider's peer did not send ends nothing."""
        with pytest.raises(LogoutRefused):
            self.make_provider().read_logout({"logout_token": token})

    def test_keys_tell_people_apart(self) -> None:
        """No two people share a logout key: not by case, not by what their ids look like in JSON."""
        provider = self.make_provider()
        people = ["ab", "Ab", "aB", "ab ", 'a"b', "a\\b", "1", "1.0", "é", "e\u0301"]
        assert len({provider.user_key(person) for person in people}) == len(people)
        assert provider.user_key("ab") == self.make_provider().user_key("ab")
