"""What README and docs say is run, or held against the code."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from dmoa import errors
from dmoa.assemble import Ready, serve
from dmoa.backends import uri
from dmoa.cli.main import cli
from dmoa.config import Settings, load

ROOT = Path(__file__).parents[2]
PAPERS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(path.read_text("utf-8")) if kind == language]


def commands() -> Iterator[tuple[str, ...]]:
    for path in PAPERS:
        for block in blocks(path, "console"):
            for line in block.splitlines():
                if line.startswith("$ ./dmoa "):
                    yield tuple(shlex.split(line)[2:])


@pytest.mark.parametrize("words", dict.fromkeys(commands()), ids=" ".join)
def test_every_command_that_is_shown_can_be_given(words: tuple[str, ...]) -> None:
    command: click.Command | None = cli
    rest = list(words)
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None
    command.make_context(words[0], rest)


LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = re.sub(FENCE, "", path.read_text("utf-8"))
    assert [each for each in LINK.findall(text) if not (path.parent / each).exists()] == []


@pytest.mark.real
async def test_the_example_of_the_openai_package_runs() -> None:
    script = next(text for text in blocks(ROOT / "README.md", "python") if "OpenAI(" in text)
    script += "\n" + blocks(ROOT / "docs" / "using.md", "python")[0]
    script += blocks(ROOT / "docs" / "clients.md", "python")[0]
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    settings = load({"model": "fake:0.02#model", "port": 0}, environ={}, file=Path(os.devnull))
    node = asyncio.create_task(serve(settings, keys=None, ready=ready.set_result))
    try:
        url = (await asyncio.wait_for(ready, 20)).url
        done = await run(script.replace("http://127.0.0.1:4747", url))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("Why is the sky blue?") >= 3
        assert "'dmoa-m1k2'" in done.stdout
    finally:
        node.cancel()
        await asyncio.gather(node, return_exceptions=True)


@pytest.mark.real
async def test_the_example_without_http_runs() -> None:
    script = next(text for text in blocks(ROOT / "README.md", "python") if "dmoa.start" in text)
    done = await run(script, DMOA_MODEL="fake:0.02#model", DMOA_CONFIG=os.devnull)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Why is the sky blue?" in done.stdout
    assert "'ok'" in done.stdout


async def run(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )


def test_every_setting_is_in_the_table() -> None:
    text = (ROOT / "docs" / "using.md").read_text("utf-8").partition("## Settings")[2]
    told = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (.*?) \|", text, re.MULTILINE)))
    kept = [each.name for each in fields(Settings) if each.name not in ("sources", "membership")]
    assert sorted(told) == sorted(kept)


def test_every_form_of_a_backend_is_told() -> None:
    told = (ROOT / "docs" / "using.md").read_text("utf-8")
    forms = re.findall(r"^(\w+)(?::\S+)?  ", inspect.cleandoc(uri.__doc__ or ""), re.MULTILINE)
    assert len(forms) == 5
    assert [form for form in forms if not re.search(rf"^{form}\b", told, re.MULTILINE)] == []


def test_every_code_that_is_told_is_one_of_an_error() -> None:
    text = (ROOT / "docs" / "using.md").read_text("utf-8").partition("## Errors")[2]
    rows = re.findall(r"^\| ([\d, ]+) \| (.*?) \|", text.partition("## Backends")[0], re.MULTILINE)
    known = {
        kind.code: kind.status
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.DmoaError)
    }
    # Those of the door, where no class of error has a part in it.
    known |= {"body_too_large": 413, "host": 403, "origin": 403, "media_type": 415}
    known |= {"slow_request": 408, "connections": 503}
    for statuses, codes in rows:
        for code in re.findall(r"`(\w+)`", codes):
            matching = [name for name in known if name.startswith(code.rstrip("."))]
            assert matching, code
            assert all(str(known[name]) in statuses for name in matching), code
    assert len(rows) >= 6
