"""Print the findings of ``clef-wsgi check``, for people or for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict

from clef_wsgi.base.errors import StoreUnavailable
from clef_wsgi.check import findings
from clef_wsgi.check.findings import ERROR, OK, WARNING, Finding
from clef_wsgi.check.store import unavailable


def run(
    settings: Mapping[str, str],
    *,
    is_live: bool,
    as_json: bool,
    say: Callable[[str], object],
    ca_file: str | None = None,
) -> int:
    """Print the findings.

    :param say: takes each line.
    :returns: the exit code: 1 when there is an error among the findings; warnings alone are 0.
    :raises ConfigurationError: with every fault of the settings.
    """
    found: list[Finding] = []
    try:
        for finding in findings(settings, is_live=is_live, ca_file=ca_file):
            found.append(finding)
            if not as_json:
                _say_one(finding, say)
    except StoreUnavailable as error:
        found.append(unavailable(error))
        if not as_json:
            _say_one(found[-1], say)
    count = {severity: sum(one.severity == severity for one in found) for severity in (OK, WARNING, ERROR)}
    if as_json:
        say(json.dumps({"well": not count[ERROR], "findings": [asdict(finding) for finding in found]}, indent=2))
    else:
        say(f"{count[OK]} well, {_counted(count[WARNING], 'warning')}, {_counted(count[ERROR], 'error')}.")
    return 1 if count[ERROR] else 0


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _say_one(finding: Finding, say: Callable[[str], object]) -> None:
    say(f"{finding.severity:8} {finding.about}: {finding.sentence}")
    if finding.remedy:
        say(f"{'':9}{finding.remedy}")
