"""Write constraints/: the exact version of every package that make and CI install.

``dev.txt`` has the newest versions, for every Python of the classifiers in one file (markers say which line is whose).
``lowest.txt`` has the lowest versions that setup.cfg allows for what the package needs, on the oldest Python;
``lowest-testing.txt`` the lowest ones of the extra ``testing`` alone. No file names an index.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from project import CONSTRAINTS, ROOT, lowest_requirements, python_versions

EXTRAS = ("dev", "benchmark", "docs", "release")


def compile_constraints(name: str, *options: object) -> None:
    """Resolve setup.cfg into one file of constraints/, without what its older text said."""
    command = ["uv", "pip", "compile", "--quiet", "--no-emit-index-url", "--no-annotate", "--upgrade"]
    command += ["--custom-compile-command", "make lock", "--python-version", python_versions()[0]]
    path = CONSTRAINTS / name
    subprocess.run([*command, *map(str, options), "--output-file", path, "setup.cfg"], cwd=ROOT, check=True)
    print(f"{path.relative_to(ROOT)}: {len(path.read_text(encoding='utf-8').splitlines())} lines")


def main() -> None:
    CONSTRAINTS.mkdir(exist_ok=True)
    compile_constraints("dev.txt", "--universal", *(f"--extra={extra}" for extra in EXTRAS))
    with tempfile.TemporaryDirectory() as folder:
        floors = Path(folder, "floors.txt")
        floors.write_text("\n".join(lowest_requirements()), encoding="utf-8")
        compile_constraints("lowest.txt", "--extra=dev", "--constraints", floors)
    compile_constraints("lowest-testing.txt", "--extra=testing", "--resolution=lowest-direct")


if __name__ == "__main__":
    main()
