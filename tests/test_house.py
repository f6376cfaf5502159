"""The manners of the house, held by a test each."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import dmoa
from dmoa import errors
from dmoa.errors import DmoaError

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "src" / "dmoa"
MODULES = sorted(HOUSE.rglob("*.py"))
PURE = [path for path in MODULES if path.is_relative_to(HOUSE / "core")]
DREAM = [path for path in MODULES if path.is_relative_to(HOUSE / "sim")]

FILE_LINES = 400
FUNCTION_LINES = 60

ADAPTERS = ("zenoh", "fastapi", "starlette", "pydantic", "uvicorn", "xllamacpp", "httpx2")
ADAPTERS += ("numpy", "click", "rich", "huggingface_hub", "numba", "scipy", "matplotlib")
ADAPTERS += ("prometheus_client", "opentelemetry")

# Words for which the glossary has a better one, or which mean something else here.
BANNED_WORDS = ("master", "slave", "worker", "server", "client", "round", "rounds", "hop", "hops")
BANNED_WORDS += ("stage", "request", "requests", "task", "tasks", "cluster", "neighbour")
BANNED_WORDS += ("heartbeat", "num_agents", "rps", "timeout", "utils", "helpers", "common")

# What would give the mind a clock, dice or a way out; only types may be taken from these.
IMPURE = ("asyncio", "time", "datetime", "socket", "os", "sys", "threading", "logging", "uuid")
IMPURE += ("secrets", "pathlib", "subprocess", "io", "contextvars", "msgspec")

# Modules of the core that have no test of their own, and why.
UNTESTED_CORE = {
    "names": "words; every other test speaks them",
    "messages": "plain data; the codec's tests carry each of them",
    "events": "plain data; the agent's tests tell each of them",
    "effects": "plain data; the agent's tests want each of them",
    "limits": "plain data; its bounds are tested where they bind",
    "job": "plain data; the queue's tests hold it",
}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """Every name that a module gives to something."""
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def words_of(identifier: str) -> list[str]:
    """`queryTimeout` and `query_timeout` are the words query and timeout."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).strip("_").lower().split("_")


def test_no_file_is_longer_than_a_sitting() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{name_of(path)}:{each.lineno} {each.name}"
        for path in MODULES
        for each in functions(path)
        if (each.end_lineno or 0) - each.lineno + 1 > FUNCTION_LINES
    ]
    assert long == []


def test_every_module_says_what_it_is() -> None:
    silent = [name_of(path) for path in MODULES if not ast.get_docstring(tree_of(path))]
    assert silent == []


def test_every_error_is_in_the_tree_that_is_drawn() -> None:
    lines = inspect.cleandoc(errors.__doc__ or "").splitlines()
    matches = [re.match(r"([│├└─ ]*)(\w*Error)\b", line) for line in lines]
    drawn = [(len(match[1]) // 4, match[2]) for match in matches if match]
    expected: list[tuple[int, str]] = []

    def draw(kind: type[DmoaError], depth: int) -> None:
        expected.append((depth, kind.__name__))
        for child in kind.__subclasses__():
            draw(child, depth + 1)

    draw(DmoaError, 0)
    assert drawn == expected


def test_every_exception_of_the_house_is_one_of_its_errors() -> None:
    """Errors for people live in `errors.py`; the rest are told apart by a leading underscore."""
    for info in pkgutil.walk_packages(dmoa.__path__, "dmoa."):
        if info.name != "dmoa.__main__":
            module = importlib.import_module(info.name)
            for name, kind in inspect.getmembers(module, inspect.isclass):
                foreign = not kind.__module__.startswith("dmoa")
                if foreign or not issubclass(kind, BaseException) or name.startswith("_"):
                    continue
                assert issubclass(kind, DmoaError), f"{info.name}.{name}"


def test_what_the_drawing_says_of_codes_is_true() -> None:
    for line in inspect.cleandoc(errors.__doc__ or "").splitlines():
        if match := re.match(r"[│├└─ ]*(\w+Error) +(\d{3})\b", line):
            assert getattr(errors, match[1]).status == int(match[2]), match[1]


def test_importing_the_package_loads_no_adapter() -> None:
    code = f"import sys, dmoa; print([name for name in {ADAPTERS} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_assertions_are_kept_on() -> None:
    """An assertion states what must be true, also in production."""
    with pytest.raises(AssertionError):
        assert not MODULES
    assert "-O" not in (ROOT / "dmoa").read_text("utf-8")
    assert not sys.flags.optimize


def test_the_core_speaks_the_words_of_the_glossary() -> None:
    wrong = [
        f"{name_of(path)}:{line} {name}"
        for path in PURE
        for line, name in identifiers(path)
        if any(word in BANNED_WORDS for word in words_of(name))
    ]
    assert wrong == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = ("utils", "util", "helpers", "common", "misc", "types")
    assert [name_of(path) for path in MODULES if path.stem in drawers] == []


def test_nothing_is_left_to_do_without_a_number() -> None:
    words = "|".join(word[::-1] for word in ("ODOT", "EMXIF", "KCAH"))
    mark = re.compile(rf"\b({words})\b(?!.*#\d+)")
    texts = [*MODULES, *(ROOT / "tests").rglob("*.py")]
    left = [
        f"{name_of(path)}:{number}"
        for path in texts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if mark.search(line)
    ]
    assert left == []


@pytest.mark.parametrize("path", [*PURE, *DREAM], ids=name_of)
def test_no_order_is_taken_from_a_set(path: Path) -> None:
    """The order of a set differs from run to run, and so would the history of a seed."""
    taken = ("list", "tuple", "iter", "enumerate", "next", "zip", "map", "min", "max", "sum")

    def is_set(node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Name(id="set" | "frozenset")):
                return True
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub(), right=right):
                return is_set(left) or is_set(right)
            case _:
                return False

    for node in ast.walk(tree_of(path)):
        match node:
            case ast.For(iter=source) | ast.comprehension(iter=source):
                assert not is_set(source), f"{name_of(path)}:{source.lineno}"
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in taken:
                assert not is_set(first), f"{name_of(path)}:{node.lineno}"
            case ast.Starred(value=value):
                assert not is_set(value), f"{name_of(path)}:{node.lineno}"
            case _:
                pass


@pytest.mark.parametrize("path", [*PURE, *DREAM], ids=name_of)
def test_the_mind_and_the_dream_have_neither_clock_nor_dice(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.Import(names=names):
                for name in names:
                    assert name.name.partition(".")[0] not in (*IMPURE, "random"), name.name
            case ast.ImportFrom(module=str(module), names=names):
                assert module.partition(".")[0] not in IMPURE, module
                if module == "random":
                    assert [name.name for name in names] == ["Random"]
            case ast.Call(func=ast.Name(id="open" | "print" | "input" as name)):
                raise AssertionError(f"{name_of(path)}:{node.lineno} calls {name}")
            case _:
                pass


def test_every_module_of_the_core_has_its_test() -> None:
    names = [path.stem for path in PURE if path.name != "__init__.py"]
    tests = [path.stem.removeprefix("test_") for path in (ROOT / "tests/unit/core").glob("*.py")]
    assert [name for name in names if name not in tests and name not in UNTESTED_CORE] == []
    assert [name for name in UNTESTED_CORE if name not in names] == []


def test_the_table_of_files_is_that_of_their_docstrings() -> None:
    paper = ROOT / "ARCHITECTURE.md"
    if not paper.exists():
        pytest.skip("there is no ARCHITECTURE.md")
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        filetable = importlib.import_module("filetable")
    finally:
        sys.path.pop(0)
    text = paper.read_text("utf-8")
    assert "<!-- files -->\n" in text
    assert filetable.rewritten(text) == text, "run scripts/filetable.py"


def test_the_floors_are_held_by_a_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    kinds = [each["type"] for each in settings["tool"]["importlinter"]["contracts"]]
    assert kinds == ["layers", "forbidden", "forbidden", "forbidden"]
