"""Read setup.cfg: requirements, their lowest versions, and the Pythons of the classifiers."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints"
RUNTIME_EXTRAS = ("metrics", "oidc", "postgresql", "redis", "server", "sql")


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def lines(section: str, option: str) -> list[str]:
    """Return the lines of a multi-line value, without comments."""
    text = setup_cfg().get(section, option)
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def python_versions() -> list[str]:
    """Return the minor versions of the classifiers, oldest first: ``3.10``, ``3.11`` ..."""
    prefix = "Programming Language :: Python :: 3."
    return [line.rpartition(" ")[2] for line in lines("metadata", "classifiers") if line.startswith(prefix)]


def lowest_requirements() -> list[str]:
    """Return what the package needs to run, each at the lowest version that setup.cfg allows (``webob==1.8.9``)."""
    needs = lines("options", "install_requires")
    for extra in RUNTIME_EXTRAS:
        needs += lines("options.extras_require", extra)
    # A constraint names no extras.
    return sorted({re.sub(r"\[.*?\]", "", need).replace(" >= ", "==") for need in needs})


def find_interpreter(version: str) -> Path | None:
    """Find a Python by its minor version.

    pyenv's versions come first: its shims on PATH are there for versions that are not.
    """
    name = f"python{version}"
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    kept = sorted(root.glob(f"versions/{version}.*/bin/{name}"))
    on_path = shutil.which(name)
    for candidate in [*reversed(kept), *([Path(on_path)] if on_path else [])]:
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None
