"""A site that uses ``clef`` from the Python package index: one order a line in, one outcome a line out, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import clef  # type: ignore[import-not-found]


def carry_out(order: dict[str, str]) -> Any:
    api = clef.ClefAPI(app_id=order["app_id"], app_secret=order["app_secret"], root=order["root"] + "/api")
    if order["do"] == "login":
        return api.get_login_information(code=order["code"])
    return api.get_logout_information(order["logout_token"])


for line in sys.stdin:
    try:
        outcome = {"result": carry_out(json.loads(line))}
    except clef.APIError as error:
        outcome = {"error": type(error).__name__}
    print(json.dumps(outcome), flush=True)
