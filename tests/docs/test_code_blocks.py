"""Every block of code in the papers is run, parsed, or held against what it speaks of."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from dmoa.cli.main import cli
from dmoa.config import Settings, load
from dmoa.study.evals.members import read_members

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NAMES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
PAPERS = [*(ROOT / name for name in NAMES), *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

RUN = [("tutorial-researcher.md", "from dmoa import Mixture")]
"""Blocks that stand for themselves: a paper, and how the block begins. Others are run elsewhere."""
PROGRAMS = {"sh": ["sh", "-n"], "bash": ["bash", "-n"], "js": ["node", "--check"]}
PROGRAMS |= {"javascript": PROGRAMS["js"]}


def is_python(text: str, _: Path) -> None:
    compile(text, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def is_toml(text: str, place: Path) -> None:
    """What is a file of nodes, or the settings of one, is taken by what reads that."""
    file = place / "some.toml"
    file.write_text(text, encoding="utf-8")
    table = tomllib.loads(text)
    assert table
    if isinstance(table.get("node"), list):
        assert read_members(file)
    elif set(table) & set(Settings.__dataclass_fields__):
        settings = load({}, environ={"DMOA_REALMS": str(place)}, file=file)
        assert settings.sources[next(iter(table))] == str(file)


def is_json(text: str, _: Path) -> None:
    try:
        assert json.loads(text)
    except json.JSONDecodeError:  # lines of JSON
        assert all(isinstance(json.loads(line), dict) for line in text.splitlines())


def is_yaml(text: str, _: Path) -> None:
    assert list(yaml.safe_load_all(text)) != []


def is_ini(text: str, _: Path) -> None:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.read_string(text)
    assert parser.sections()


def can_be_typed(text: str, _: Path) -> None:
    lines = [line for line in text.splitlines() if line.startswith("$ ")]
    assert lines, "what is typed stands behind a $"
    for line in lines:
        words = shlex.split(line[2:], comments=True)
        scripts = [word for word in words if re.fullmatch(r"(docs|scripts)/\S+\.py", word)]
        assert all((ROOT / each).is_file() for each in scripts)
        if words[0].startswith("./"):
            assert os.access(ROOT / words[0], os.X_OK)


def is_anything(_: str, __: Path) -> None:
    """Look at output and drawings elsewhere, and at `pycon` in the tests of what it shows."""


CHECKS = {
    "python": is_python,
    "toml": is_toml,
    "json": is_json,
    "yaml": is_yaml,
    "ini": is_ini,
    "console": can_be_typed,
    "text": is_anything,
    "pycon": is_anything,
}


def blocks() -> list[object]:
    return [
        pytest.param(language, textwrap.dedent(text), id=f"{path.relative_to(ROOT)}-{count}")
        for path in PAPERS
        for count, (_, language, text) in enumerate(FENCE.findall(path.read_text("utf-8")))
        if CHECKS.get(language) is not is_anything
    ]


@pytest.mark.parametrize(("language", "text"), blocks())
def test_what_stands_in_a_block_is_what_it_says(language: str, text: str, tmp_path: Path) -> None:
    if language not in PROGRAMS:
        CHECKS[language](text, tmp_path)
        return
    program = PROGRAMS[language]
    if shutil.which(program[0]) is None:
        pytest.skip(f"there is no {program[0]} here")
    file = tmp_path / ("some.mjs" if program[0] == "node" else "some.sh")
    file.write_text(text, encoding="utf-8")
    subprocess.run([*program, str(file)], check=True, timeout=30)


def test_every_fence_ends_and_says_what_is_in_it() -> None:
    known = {*CHECKS, *PROGRAMS}
    for path in PAPERS:
        text = path.read_text("utf-8")
        assert {language for _, language, _ in FENCE.findall(text)} <= known, path
        assert "```" not in FENCE.sub("", text), path


@pytest.mark.parametrize(("paper", "begin"), RUN)
def test_what_stands_for_itself_runs(paper: str, begin: str) -> None:
    told = [text for _, language, text in FENCE.findall((DOCS / paper).read_text("utf-8"))]
    text = next(each for each in told if each.startswith(begin))
    said = python("-c", text)
    assert re.fullmatch(r"mean \d+\.\d\d s, p95 \d+\.\d\d s, busiest 0\.\d\d\n", said)


def test_the_new_policy_of_the_tutorial_runs_and_is_what_is_shown() -> None:
    file = DOCS / "examples" / "shortest_queue.py"
    script = file.read_text("utf-8")
    assert len(script.splitlines()) <= 50
    paper = (DOCS / "tutorial-researcher.md").read_text("utf-8")
    shown = re.findall(r"^def shortest.*?^    return length$", paper, re.MULTILINE | re.DOTALL)
    assert len(shown) == 1
    assert shown[0] in script
    row = re.compile(r"^(paper|shortest queue|loaded) +([\d.]+) s +[+-]\d+ % ±\d+$", re.MULTILINE)
    told = dict(row.findall(python(str(file), "150", "2")))
    assert set(told) == set(dict(row.findall(paper))) == {"paper", "shortest queue", "loaded"}
    assert float(told["loaded"]) < float(told["paper"])
    assert float(told["shortest queue"]) < float(told["paper"])


def indented() -> list[str]:
    """List the commands of ours in blocks without a fence."""
    return [
        line
        for path in PAPERS
        for line in re.findall(
            r"^    (?:\./)?dmoa (.+)$", FENCE.sub("", path.read_text("utf-8")), re.MULTILINE
        )
    ]


@pytest.mark.parametrize("line", indented())
def test_a_command_without_a_fence_can_be_given(line: str) -> None:
    command: click.Command | None = cli
    words = shlex.split(line, comments=True)
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None, line
    command.make_context("dmoa", words)


def python(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_plan_of_the_concepts_is_what_is_printed() -> None:
    paper = (DOCS / "concepts.md").read_text("utf-8")
    found = re.search(
        r"^\$ \./(dmoa plan .*)\n```\n\n```text\n(.*?)^```", paper, re.MULTILINE | re.DOTALL
    )
    assert found is not None
    said = [line.split() for line in python("-m", *found[1].split()).splitlines()]
    for row in found[2].splitlines():
        assert any(line[: len(row.split())] == row.split() for line in said), row
