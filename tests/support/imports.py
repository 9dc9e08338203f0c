"""Read the imports of a module from its text: statements anywhere in it, and calls of ``import_module``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

COMPUTED = "?"
"""Stands for a module whose name a call of ``import_module`` computes."""


def imported_names(path: Path, package: str) -> Iterator[str]:
    """Yield the absolute dotted name of everything that a module imports.

    :param package: what its relative imports start from.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{home}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_module(node.func):
            match node.args:
                case [ast.Constant(value=str(name)), *_]:
                    yield resolve_name(name, package)
                case _:
                    yield COMPUTED


def _is_import_module(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    return name in ("import_module", "__import__")
