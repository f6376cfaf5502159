"""The site of the papers: built whole, all links lead somewhere, nothing comes from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from properdocs.exceptions import Abort

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


docsite = script("docsite")


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


def test_the_reference_is_what_the_program_says() -> None:
    reference = script("reference")
    for name, text in reference.pages().items():
        said = (reference.FOLDER / name).read_text("utf-8")
        assert said == text, f"docs/reference/{name} is stale: uv run python scripts/reference.py"
    assert {path.name for path in reference.FOLDER.iterdir()} == set(reference.PAGES)


def test_figures_are_small_and_shown_below_the_command_that_draws_them() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text("utf-8")
    drawn = re.findall(r"--plot docs/(images/\w+\.svg)\n```\n\n!\[[^]]+\]\((.+)\)", text)
    assert len(drawn) == text.count("![") == text.count("--plot")
    for command, shown in drawn:
        assert command == shown
        assert (ROOT / "docs" / shown).stat().st_size < 100_000
