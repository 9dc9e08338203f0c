"""Parse README.md and docs/, and run their code blocks.

A block may carry a mark, an HTML comment on the line before its fence::

    <!-- block: NAME, after: OTHER, then: CHECK -->

``after`` runs another block first, in the same namespace; ``then`` names a check that has to follow.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_MARK = re.compile(r"<!-- block: (\w+)(?:, after: (\w+))?(?:, then: (\w+))? -->")
_FENCE = re.compile(r" *(`{3,}|~{3,})(.*)")
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """One fenced block. ``line`` is the number of its first line in ``page``; the rest is what its mark says."""

    page: str
    line: int
    language: str
    text: str
    name: str | None = None
    after: str | None = None
    then: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def code_lines(self) -> int:
        """The number of lines that are not blank."""
        return sum(1 for line in self.text.splitlines() if line.strip())


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> Iterator[Block]:
    """Every fenced block of a page. A fence that is never closed, or a mark without a block, is an error."""
    lines = page.read_text(encoding="utf-8").splitlines()
    marks = [number for number, line in enumerate(lines) if "<!-- block" in line]
    number = 0
    while number < len(lines):
        fence = _FENCE.fullmatch(lines[number])
        number += 1
        if fence:
            end = next(at for at in range(number, len(lines)) if lines[at].strip() == fence[1])
            mark = _MARK.fullmatch(lines[number - 2]) if number - 2 in marks else None
            if mark:
                marks.remove(number - 2)
            text = "\n".join(lines[number:end]) + "\n"
            yield Block(name_of(page), number + 1, fence[2].strip(), text, *(mark.groups() if mark else ()))
            number = end + 1
    assert not marks, f"{name_of(page)}:{marks[0] + 1}: a mark that stands before no block, or can't be read"


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
BY_NAME = {block.name: block for block in BLOCKS if block.name}


def execute(block: Block, **given: Any) -> dict[str, Any]:
    """Run a Python block, after those that its mark names, in a fresh namespace; return the namespace.

    :param given: names that the block may use, such as an app of the reader's.
    """
    namespace = execute(BY_NAME[block.after], **given) if block.after else {"__name__": "__main__", **given}
    run(block, namespace)
    return namespace


def run(block: Block, namespace: dict[str, Any]) -> None:
    """Run a Python block in a namespace."""
    # The blank lines make a traceback point at the page.
    exec(compile("\n" * (block.line - 1) + block.text, block.page, "exec"), namespace)


def parse(block: Block) -> Any:
    """Parse a block of data.

    :raises ValueError: it is not in its language.
    """
    if block.language == "json":
        return json.loads(block.text)
    if block.language == "ini":
        config = configparser.ConfigParser()
        config.read_string(block.text)
        return config
    raise ValueError(f"{block.place}: nothing here can run or read {block.language or 'a block without a language'}")


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block, one a line, as words; comments, and where the output goes, are left out."""
    for line in block.text.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words:
            yield words[: words.index(">")] if ">" in words else words


def tables(page: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """Every table of a page with the heading it stands under: its rows, without header, as cells of Markdown."""
    heading, rows = "", list[list[str]]()
    for line in [*prose(page).splitlines(), ""]:
        if line.startswith("|"):
            cells = line.strip().strip("|").split(" | ")
            rows.append([cell.strip().strip("|").strip() for cell in cells])
            continue
        if rows:
            yield heading, rows[2:]
            rows = []
        if line.startswith("#"):
            heading = line.lstrip("# ")


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"(?ms)^ *(`{3,}|~{3,}).*?^ *\1$", "", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings can be linked by."""
    headings = re.findall(r"(?m)^#+ (.*)$", prose(page))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and pictures."""
    yield from (markdown or in_html for markdown, in_html in _LINK.findall(prose(page)))
