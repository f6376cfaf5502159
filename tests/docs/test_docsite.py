"""The site of the papers: built whole, all links lead somewhere, nothing comes from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from properdocs.exceptions import Abort

ROOT = Path(__file__).parents[2]


_spec = importlib.util.spec_from_file_location("docsite", ROOT / "scripts" / "docsite.py")
assert _spec is not None
assert _spec.loader is not None
docsite = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docsite)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    docsite.build(folder)
    return folder


def test_every_paper_is_a_page(site: Path) -> None:
    papers = {Path(name) for name in docsite.PAPERS.values()}
    papers |= {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    for paper in papers:
        page = (site / paper.with_suffix(".html")).read_text("utf-8")
        assert "<h1" in page, paper
        assert page.count(f'href="{paper.with_suffix(".html").name}" aria-current="page"') == 1


LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object|link|form)\b[^>]*?\s"""
    r"""(?:src|srcset|data|href|action)=["']?([^"'\s>]+)""",
    re.IGNORECASE,
)
CALLED = re.compile(
    r"""(?:url\(|@import|importScripts\(|fetch\(|import)\s*["']?((?:https?:)?//[^"')]+)"""
)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    seen = 0
    for path in site.rglob("*"):
        if path.suffix in (".html", ".svg"):
            text = path.read_text("utf-8")
            for target in LOADED.findall(text):
                seen += 1
                assert not re.match(r"(https?:)?//", target), (path, target)
                assert target == "data:," or (path.parent / target.partition("#")[0]).exists()
        if path.suffix in (".html", ".css", ".js", ".svg"):
            assert CALLED.findall(path.read_text("utf-8")) == [], path
    assert seen > 50


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a small repository in place of this one."""
    for name in [*docsite.PAPERS, "pyproject.toml", "docs/other.md"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("# Some\n\n## Part\n", encoding="utf-8")
    monkeypatch.setattr(docsite, "ROOT", tmp_path)
    return tmp_path


def test_links_between_papers_and_to_files_are_made_to_fit(house: Path) -> None:
    prose = "[a](other.md#part) [b](../README.md) [c](../pyproject.toml)\n- one\n- two\n"
    (house / "docs" / "one.md").write_text(f"# One\n\n{prose}", encoding="utf-8")
    docsite.build(house / "site")
    page = (house / "site" / "one.html").read_text("utf-8")
    for target in ("other.html#part", "index.html", "files/pyproject.toml"):
        assert f'href="{target}"' in page
    assert (house / "site" / "files" / "pyproject.toml").is_file()
    assert "<li>two</li>" in page


@pytest.mark.parametrize("target", ["nowhere.md", "other.md#nothing", "/other.md"])
def test_a_link_that_leads_nowhere_ends_it(house: Path, target: str) -> None:
    (house / "docs" / "one.md").write_text(f"# One\n\n[a]({target})\n", encoding="utf-8")
    with pytest.raises(Abort, match="1 warning"):
        docsite.build(house / "site")


def test_the_reference_is_what_the_program_says(tmp_path: Path) -> None:
    # In a process of its own: click remembers the help of commands that others have made.
    writer = ROOT / "scripts" / "reference.py"
    subprocess.run([sys.executable, str(writer), str(tmp_path)], check=True, timeout=60)
    kept = {path.name: path.read_text("utf-8") for path in (ROOT / "docs/reference").iterdir()}
    for path in tmp_path.iterdir():
        stale = f"docs/reference/{path.name} is stale: uv run python scripts/reference.py"
        assert kept.pop(path.name, "") == path.read_text("utf-8"), stale
    assert kept == {}


def test_figures_are_small_and_shown_below_the_command_that_draws_them() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text("utf-8")
    drawn = re.findall(r"--plot docs/(images/\w+\.svg)\n```\n\n!\[[^]]+\]\((.+)\)", text)
    assert len(drawn) == text.count("![") == text.count("--plot")
    for command, shown in drawn:
        assert command == shown
        assert (ROOT / "docs" / shown).stat().st_size < 100_000
