"""Build the documentation site from README, ARCHITECTURE and docs/.

    uv run python scripts/docsite.py [FOLDER]

The papers stay where they are, to be read as they are; here they are copied side by side, their
links made to fit, and made into pages by ProperDocs with a theme of our own (scripts/theme/), which
loads nothing from anywhere else. A link that leads nowhere ends it. FOLDER is `dist/site` if not
given, and is written anew.
"""  # noqa: INP001 - a script, no module

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
THEME = ROOT / "scripts" / "theme"

PAPERS = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Papers outside of docs/, and what they are called on the site."""

SECTIONS = {
    "Begin": ("index.md", "tutorial.md", "tutorial-researcher.md"),
    "Guides": ("using.md", "realms.md", "responses.md", "page.md", "telemetry.md"),
    "Measure": ("evaluating.md", "load.md", "simulating.md", "results/"),
    "Concepts": ("concepts.md", "glossary.md", "theory.md", "paper.md"),
    "Reference": ("reference/",),
    "Project": ("architecture.md", "contributing.md", "benchmarks.md", "changelog.md"),
}
"""What stands under which heading; a folder is all in it. What is named nowhere is a guide."""

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
_LIST = re.compile(
    r"^(?![ \t]*(?:[-*]|\d+\.) |[ \t]{2,}|#|\|)(.+\n)(?=(?:[-*]|1\.) )", re.MULTILINE
)


# -- the papers, side by side ---------------------------------------------------------


def _place(target: Path) -> str:
    """Tell where a file of the repository lies on the site."""
    if target.is_dir():
        target /= "README.md"
    name = target.relative_to(ROOT).as_posix()
    if name in PAPERS:
        return PAPERS[name]
    return name.removeprefix("docs/") if name.startswith("docs/") else f"files/{name}"


def _fitted(text: str, paper: Path, stage: Path) -> str:
    """Make links of a paper fit the site, and bring along what they lead to."""
    here = Path(_place(paper)).parent

    def link(match: re.Match[str]) -> str:
        target = (paper.parent / match[1]).resolve()
        if not target.exists():
            return match[1]  # the build will say so
        place = _place(target)
        if place.startswith("files/"):
            (stage / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, stage / place)
        return os.path.relpath(place, here)

    parts, at = [], 0
    for fence in [*_FENCE.finditer(text), None]:
        prose = text[at : fence.start() if fence else len(text)]
        # A list right behind a line is one for most readers, and none for Python-Markdown.
        parts += [_LIST.sub(r"\1\n", _LINK.sub(link, prose)), fence[0] if fence else ""]
        at = fence.end() if fence else at
    return "".join(parts)


def lay_out(stage: Path) -> None:
    """Copy all papers and what belongs to them into a folder."""
    shutil.copytree(ROOT / "docs", stage, dirs_exist_ok=True)
    for paper in [*(ROOT / name for name in PAPERS), *sorted((ROOT / "docs").rglob("*.md"))]:
        text = _fitted(paper.read_text("utf-8"), paper, stage)
        (stage / _place(paper)).write_text(text, encoding="utf-8")
    shutil.copyfile(THEME / "site.css", stage / "site.css")


def navigation(stage: Path) -> list[dict[str, Any]]:
    """List the pages of a folder under their headings, by their own titles."""

    def title(name: str) -> str:
        first = (stage / name).read_text("utf-8").partition("\n")[0]
        return "What it is" if name == "index.md" else first.removeprefix("# ").replace("`", "")

    left = sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*.md"))
    nav: dict[str, list[str]] = {}
    for heading, names in SECTIONS.items():
        nav[heading] = [
            each
            for name in names
            for each in left
            if each == name or (name.endswith("/") and each.startswith(name))
        ]
    told = {each for names in nav.values() for each in names}
    nav["Guides"] += [each for each in left if each not in told and not each.startswith("files/")]
    return [{head: [{title(each): each} for each in pages]} for head, pages in nav.items()]


# -- the site -------------------------------------------------------------------------


def build(folder: Path) -> None:
    """Build the site into a folder, which is written anew; SystemExit where a link is broken."""
    from properdocs.commands.build import build as build_pages  # noqa: PLC0415 - slow
    from properdocs.config import load_config  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        stage = Path(scratch, "docs")
        lay_out(stage)
        file = Path(scratch, "properdocs.yml")
        file.write_text("site_name: dmoa\n", encoding="utf-8")
        wrong = {"omitted_files": "warn", "not_found": "warn", "absolute_links": "warn"}
        links = {"not_found": "warn", "anchors": "warn", "absolute_links": "warn"}
        config = load_config(
            str(file),
            strict=True,
            docs_dir=str(stage),
            site_dir=str(folder.resolve()),
            nav=navigation(stage),
            theme={"name": None, "custom_dir": str(THEME)},
            use_directory_urls=False,  # pages that open from a disk as well
            plugins=["search"],
            markdown_extensions=[
                "tables",
                "fenced_code",
                "sane_lists",
                {"toc": {"permalink": False}},
            ],
            validation={"nav": wrong, "links": links | {"unrecognized_links": "warn"}},
        )
        build_pages(config)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "site"
    build(out)
    sys.stdout.write(f"{out / 'index.html'}\n")
