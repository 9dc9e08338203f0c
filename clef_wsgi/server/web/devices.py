"""What a new passkey is called until its owner calls it something else. Knows nothing but ``User-Agent``."""

from __future__ import annotations

_DEVICES = ("iPhone", "iPad", "Android", "Windows", "Macintosh", "CrOS", "Linux")  # Android says "Linux", too
_NAMES = {"Macintosh": "Mac", "CrOS": "Chromebook"}


def device_name(user_agent: str) -> str:
    """The kind of device, or ``Passkey`` where it does not say."""
    found = next((device for device in _DEVICES if device in user_agent), "Passkey")
    return _NAMES.get(found, found)
