"""Findings of ``clef-wsgi check``: severity, sentence, remedy."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True)
class Finding:
    """A finding: ``sentence`` says what is so and what it may cost, ``remedy`` what to do. Neither holds a secret."""

    about: str
    severity: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True)
class About:
    """Make findings about one part of a deployment."""

    name: str

    def ok(self, sentence: str) -> Finding:
        return Finding(self.name, OK, sentence)

    def warning(self, sentence: str, remedy: str) -> Finding:
        return Finding(self.name, WARNING, sentence, remedy)

    def error(self, sentence: str, remedy: str) -> Finding:
        return Finding(self.name, ERROR, sentence, remedy)


STORE = About("store")
