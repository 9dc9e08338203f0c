"""Build docs/ as web pages with a search, and the reference from the docstrings: ``make docs``.

The pages stay plain Markdown for those who read them in the repository. What Sphinx needs beyond that is added here:
the table of contents from the links of index.md, and the addresses of links that leave docs/.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
_setup = configparser.ConfigParser()
_setup.read(ROOT / "setup.cfg", encoding="utf-8")

project = "clef_wsgi"
author = _setup["metadata"]["author"]
version = release = _setup["metadata"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["images"]
root_doc = "index"
html_title = f"clef_wsgi {version}"
html_theme = "alabaster"
html_theme_options = {"description": _setup["metadata"]["description"], "fixed_sidebar": True}
html_copy_source = False

myst_heading_anchors = 4

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

SOURCES = dict(
    line.split(" = ", 1) for line in _setup["metadata"].get("project_urls", "").splitlines() if " = " in line
).get("Source")
"""URL of the repository; without one, a link out of docs/ leads to a copy of the file."""

OUTWARD = re.compile(r"\[(?P<text>[^\]]+)\]\(\.\./(?P<path>[^)#]+)(?P<fragment>#[^)]*)?\)")
PAGE = re.compile(r"\]\((?P<page>[\w-]+)\.(?:md|rst)\)")


def rewrite_outward(match: re.Match[str]) -> str:
    if SOURCES:
        return f"[{match['text']}]({SOURCES}/blob/v{version}/{match['path']}{match['fragment'] or ''})"
    return f"{{download}}`{match['text'].replace('`', '')} <../{match['path']}>`"


def complete_page(_app: Sphinx, name: str, content: list[str]) -> None:
    """Give links out of docs/ an address, and index.md its table of contents."""
    content[0] = OUTWARD.sub(rewrite_outward, content[0])
    if name == root_doc:
        others = sorted(path.stem for path in Path(__file__).parent.glob("*.md") if path.stem != root_doc)
        pages = "\n".join(dict.fromkeys([*PAGE.findall(content[0]), *others]))
        content[0] += f"\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{pages}\n```\n"


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", complete_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
