"""Read one section of an INI file as PasteDeploy does, without PasteDeploy, which a command may not have.

No sentence repeats a line of the file: it may be a secret.
"""

from __future__ import annotations

import configparser
import os
import re
from configparser import ConfigParser

from clef_wsgi.base.errors import ConfigurationError

MAX_BYTES = 4 * 1024 * 1024
_USES_US = re.compile(r"egg:\s*clef[_-]wsgi(#main)?|call:clef_wsgi\.paste:\w+")
_FACTORY = re.compile(r"paste\.filter(_app)?_factory")
_LOADER_WORDS = ("use", "require", "filter-with", "next", "paste.filter_factory", "paste.filter_app_factory")
"""Names in a section that PasteDeploy keeps for itself."""


def read_file(path: str, section: str | None = None) -> dict[str, str]:
    """Read the settings in a file.

    :param section: ``clef`` for ``[filter:clef]``, ``[filter-app:clef]`` or ``[clef]``, or a whole name; without
        it the only section that uses this package.
    :raises ConfigurationError: with one sentence that names the file.
    """
    parser = _parsed(path)
    name = _only_section(path, parser) if section is None else _named_section(path, parser, section)
    try:
        return _settings(parser, name)
    except configparser.InterpolationError as error:
        problem = f"{path}, [{name}]: {error.option} has a % that PasteDeploy can't read: write %% for a %."
    except LookupError:
        problem = f"{path}, [{name}]: a line with 'get' names what [DEFAULT] does not have."
    raise ConfigurationError(problem)


def split_address(address: str) -> tuple[str, str | None]:
    """Split ``site.ini#clef`` into path and section."""
    path, mark, section = address.partition("#")
    return path, section if mark else None


def _parsed(path: str) -> ConfigParser:
    place = os.path.abspath(path)
    parser = ConfigParser(defaults={"here": os.path.dirname(place), "__file__": place})
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as PasteDeploy: names keep their case
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = file.read(MAX_BYTES + 1) or b""  # None: a pipe that nobody writes to
        if len(content) > MAX_BYTES:
            problem = "is too long for a settings file"
        else:
            parser.read_string(content.decode("utf-8-sig"))
            return parser
    except OSError as error:
        problem = f"can't be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "is not in UTF-8"
    except configparser.DuplicateOptionError as error:
        problem = f"has a setting twice, the second in line {error.lineno}"
    except configparser.DuplicateSectionError as error:
        problem = f"has a section twice, the second in line {error.lineno}"
    except configparser.MissingSectionHeaderError as error:
        problem = f"has no [section] before line {error.lineno}"
    except configparser.ParsingError as error:
        problem = f"can't be read in line {error.errors[0][0]}: write name = value, and indent what goes on"
    except (configparser.Error, ValueError):  # ValueError: a NUL in the path
        problem = "can't be read"
    raise ConfigurationError(f"{_shown(path)} {problem}.")


def _shown(path: str) -> str:
    return path if path.isprintable() else "The settings file"


def _only_section(path: str, parser: ConfigParser) -> str:
    found = [section for section in parser.sections() if _uses_us(parser, section)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(f"{path}#{_short(section)}" for section in found)
        raise ConfigurationError(f"{path} has {len(found)} sections that use clef_wsgi: write {names}.")
    raise ConfigurationError(f"{path} has no section with use = egg:clef_wsgi: name one, as in {path}#clef.")


def _uses_us(parser: ConfigParser, section: str) -> bool:
    words = dict(parser.items(section, raw=True))
    factories = [text for name, text in words.items() if _FACTORY.fullmatch(name)]
    return bool(_USES_US.fullmatch(words.get("use", ""))) or any(
        text.startswith("clef_wsgi.paste:") for text in factories
    )


def _named_section(path: str, parser: ConfigParser, name: str) -> str:
    found = [section for section in parser.sections() if name in (section, _short(section))]
    usable = [section for section in found if section == name] or [s for s in found if _uses_us(parser, s)] or found
    if len(usable) != 1:
        has = " ".join(f"[{section}]" for section in parser.sections()[:20] if section.isprintable()) or "none"
        raise ConfigurationError(
            f"{_shown(path)} has {'no' if not usable else 'more than one'} such section; it has {has}."
        )
    used = parser.get(usable[0], "use", raw=True, fallback="")
    if used and not _USES_US.fullmatch(used):
        raise ConfigurationError(
            f"{path}, [{usable[0]}] uses something else: name the section with use = egg:clef_wsgi."
        )
    return usable[0]


def _short(section: str) -> str:
    return section.partition(":")[2].strip() or section


def _settings(parser: ConfigParser, section: str) -> dict[str, str]:
    defaults = dict(parser.items(configparser.DEFAULTSECT))
    options = {name: parser.get(section, name) for name in parser.options(section)}
    shared = {**defaults, **{name[4:].strip(): text for name, text in options.items() if name.startswith("set ")}}
    # What stands in [DEFAULT] too is PasteDeploy's to hand on as global_conf, and never a setting of a section.
    own = {
        name: text
        for name, text in options.items()
        if name not in defaults and name not in _LOADER_WORDS and not name.startswith(("set ", "get "))
    }
    fetched = {name[4:].strip(): shared[text] for name, text in options.items() if name.startswith("get ")}
    return {**own, **fetched}
