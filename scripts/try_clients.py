"""Run the recipes of docs/clients.md against a node with a key, each with its client installed.

    uv run python scripts/try_clients.py [--into FOLDER] [--node URL] [NAME ...]

A NAME is the heading of a recipe: `openai, Python`, `openai, JavaScript`, `llm` or `LangChain`;
all of them without any. Clients are installed from their registries into a folder that is removed
at the end, or kept and used again where one is named; so this is no part of the checks. It needs
uv, and npm and node for JavaScript. The node has a fake model, unless there is one at URL, asked
by the key in DMOA_KEY.
"""  # noqa: INP001 - a script, no module

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "docs" / "clients.md"
BASE = "http://127.0.0.1:4747"
"""What the recipes ask, and what the node of this script stands in for."""
QUESTION = "Why is the sky blue?"
INSTALL_SECONDS, ANSWER_SECONDS = 600, 120


class _RecipeError(Exception):
    """A recipe that does not do what it promises."""


def recipe(name: str, language: str) -> str:
    """Give the first block of a language under a heading of the page."""
    text = PAPER.read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    block = section and re.search(
        rf"^```{language}\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL
    )
    if not block:
        raise _RecipeError(f"the page has no {language} for {name}")
    return block[1]


def done(*words: str | Path, seconds: float, into: Path, **environ: str) -> str:
    """Run a command, and give what it wrote to stdout; _RecipeError where it fails."""
    ended = subprocess.run(  # noqa: S603 - our own commands
        words, cwd=into, env={**os.environ, **environ}, timeout=seconds,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ended.returncode:  # the command itself may hold a key
        last = (ended.stderr.strip() or "nothing").splitlines()[-1]
        raise _RecipeError(f"{Path(words[0]).name} ended with {ended.returncode}: {last}")
    return ended.stdout


def environment(into: Path, *packages: str) -> Path:
    """Make an environment with packages in a folder; its programs' folder."""
    into.mkdir(parents=True, exist_ok=True)
    uv = os.environ.get("UV") or shutil.which("uv") or "uv"
    if not (into / "env").exists():
        done(uv, "venv", "--quiet", "env", seconds=INSTALL_SECONDS, into=into)
        command = (uv, "pip", "install", "--quiet", "--python", "env", *packages)
        done(*command, seconds=INSTALL_SECONDS, into=into, VIRTUAL_ENV="")
    return into / "env" / "bin"


def python(name: str, package: str, into: Path, url: str, key: str) -> str:
    """Run a recipe in Python."""
    programs = environment(into, package)
    text = recipe(name, "python").replace(BASE, url).replace('"none"', json.dumps(key))
    return done(programs / "python", "-c", text, seconds=ANSWER_SECONDS, into=into)


def javascript(name: str, into: Path, url: str, key: str) -> str:
    """Run the recipe in JavaScript."""
    into.mkdir(parents=True, exist_ok=True)
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise _RecipeError("there is no npm or no node here")
    if not (into / "node_modules" / "openai").exists():
        install = (npm, "install", "--no-audit", "--no-fund", "--silent", "openai")
        done(*install, seconds=INSTALL_SECONDS, into=into)
    text = recipe(name, "js").replace(BASE, url).replace('"none"', json.dumps(key))
    (into / "ask.mjs").write_text(text, encoding="utf-8")
    return done(node, "ask.mjs", seconds=ANSWER_SECONDS, into=into)


def llm(name: str, into: Path, url: str, key: str) -> str:
    """Run the recipe of the command `llm`."""
    programs = environment(into, "llm")
    (into / "extra-openai-models.yaml").write_text(
        recipe(name, "yaml").replace(BASE, url), encoding="utf-8"
    )
    lines = recipe(name, "sh").replace("--value none", f"--value {key}")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    sh = shutil.which("sh") or "/bin/sh"
    return done(
        sh, "-ec", lines, seconds=ANSWER_SECONDS, into=into, PATH=path, LLM_USER_PATH=str(into)
    )


RECIPES = {
    "openai, Python": lambda *rest: python("openai, Python", "openai", *rest),
    "openai, JavaScript": lambda *rest: javascript("openai, JavaScript", *rest),
    "llm": lambda *rest: llm("llm", *rest),
    "LangChain": lambda *rest: python("LangChain", "langchain-openai", *rest),
}


@contextmanager
def home(into: Path) -> Iterator[tuple[str, str]]:
    """Run a node that asks for a key; its URL, and the key."""
    config = into / "node.toml"
    config.write_text('model = "fake:0.02#model"\nport = 0\nnode = "n1"\n', encoding="utf-8")
    program = (sys.executable, "-m", "dmoa")
    made = done(*program, "key", "create", "--config", config, seconds=60, into=into)
    node = subprocess.Popen(  # noqa: S603 - our own command
        (*program, "up", "--config", config, "--json", "--stop-on-eof"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert node.stdout is not None
        yield json.loads(node.stdout.readline())["url"], made.split()[-1]
    finally:
        node.terminate()
        node.communicate(timeout=20)


def run(names: list[str], into: Path, url: str, key: str) -> bool:
    """Run recipes and tell of each; whether all are well."""
    well = True
    for name in names:
        began = time.monotonic()
        try:
            said = RECIPES[name](into / re.sub(r"\W+", "-", name), url, key)
            well &= QUESTION in said
            verdict = "answers" if QUESTION in said else f"fails: it said only {said!r}"
        except (_RecipeError, subprocess.TimeoutExpired) as error:
            verdict, well = f"fails: {error}", False
        print(f"{name:20}  {time.monotonic() - began:5.1f} s  {verdict}", flush=True)  # noqa: T201
    return well


def main(environ: Mapping[str, str]) -> int:
    """Read the command line; 1 where a recipe fails."""
    parser = argparse.ArgumentParser(description="Run the recipes of docs/clients.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--into", type=Path, help="keep what is installed in this folder")
    parser.add_argument("--node", metavar="URL", help="ask this node, by the key in DMOA_KEY")
    asked = parser.parse_args()
    names = asked.names or list(RECIPES)
    if unknown := [name for name in names if name not in RECIPES]:
        parser.error(f"no recipe is called {unknown[0]!r}; there are {', '.join(RECIPES)}")
    with tempfile.TemporaryDirectory() as brief:
        into = (asked.into or Path(brief)).absolute()
        into.mkdir(parents=True, exist_ok=True)
        if asked.node:
            well = run(names, into, asked.node.rstrip("/"), environ.get("DMOA_KEY", "none"))
        else:
            with home(Path(brief)) as (url, key):
                well = run(names, into, url, key)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(os.environ))
