"""Name devices and browsers by their ``User-Agent``, in words of ours alone.

A browser may lie: these names are for their owner, and decide nothing.
"""

from __future__ import annotations

_DEVICES = ("iPhone", "iPad", "Android", "Windows", "Macintosh", "CrOS", "Linux")  # Android says "Linux", too
_NAMES = {"Macintosh": "Mac", "CrOS": "Chromebook"}
_BROWSERS = {  # in this order, since most of them call themselves Chrome and Safari, too
    "Edg": "Edge",
    "OPR/": "Opera",
    "SamsungBrowser/": "Samsung Internet",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "Chrome/": "Chrome",
    "CriOS/": "Chrome",
    "Safari/": "Safari",
}


def device_name(user_agent: str) -> str:
    """Return the name of a new passkey: the kind of device, or ``Passkey``."""
    return device(user_agent) or "Passkey"


def device(user_agent: str) -> str | None:
    """Return the kind of device, if it says."""
    found = next((each for each in _DEVICES if each in user_agent), None)
    return _NAMES.get(found, found) if found else None


def browser(user_agent: str) -> str | None:
    """Return the kind of browser, if it says."""
    return next((name for mark, name in _BROWSERS.items() if mark in user_agent), None)
