"""Write the table of files in ARCHITECTURE.md from the first lines of their docstrings.

    uv run python scripts/filetable.py

The table stands between `<!-- files -->` and `<!-- /files -->`.
"""  # noqa: INP001 - a script, no module

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "ARCHITECTURE.md"
HOUSE = ROOT / "src" / "dmoa"
ROOMS = ("core", "sim", "runtime", "net", "backends", "api", "cli")

_TABLE = re.compile(r"(?<=<!-- files -->\n).*?(?=<!-- /files -->)", re.DOTALL)


def first_line(path: Path) -> str:
    """Give the first line of a module's docstring, empty without one."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def table() -> str:
    """Draw the table: the house first, then its rooms from the ground up."""
    rooms = sorted(each.name for each in HOUSE.iterdir() if (each / "__init__.py").is_file())
    order = [*ROOMS, *(room for room in rooms if room not in ROOMS)]
    lines = ["| file | what it is |", "| --- | --- |"]
    for room in [".", *(room for room in order if room in rooms)]:
        for path in sorted((HOUSE / room).glob("*.py")):
            name = path.relative_to(HOUSE).as_posix()
            if path.name == "__init__.py":
                name = "dmoa" if room == "." else f"**{room}/**"
            lines.append(f"| {name if '*' in name else f'`{name}`'} | {first_line(path)} |")
    return "\n".join(lines) + "\n"


def rewritten(text: str) -> str:
    """Put the table into a paper."""
    return _TABLE.sub(lambda _: table(), text)


if __name__ == "__main__":
    PAPER.write_text(rewritten(PAPER.read_text(encoding="utf-8")), encoding="utf-8")
