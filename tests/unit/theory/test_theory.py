from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dmoa import theory


@pytest.mark.parametrize("name", theory.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(theory, name))


def test_no_name_is_that_of_a_module() -> None:
    """A module that is imported would take the place of a function of its name."""
    assert not any(inspect.ismodule(getattr(theory, name)) for name in theory.__all__)


def test_what_is_not_there_is_no_attribute() -> None:
    assert not hasattr(theory, "alchemy")


def test_the_face_does_not_wait_for_numpy() -> None:
    code = "import sys; sys.modules['numpy'] = sys.modules['scipy'] = None\n"
    code += "import dmoa.theory.laws, dmoa.theory as t; assert t.utilisations"
    # The package's own face opens the whole house; only this floor is asked for here.
    stub = "import sys, types, pathlib; d = types.ModuleType('dmoa')\n"
    stub += f"d.__path__ = [{str(theory.__path__[0])!r} + '/..']; sys.modules['dmoa'] = d\n"
    subprocess.run([sys.executable, "-c", stub + code], check=True)


def test_the_example_of_the_face_is_true() -> None:
    doc = inspect.getdoc(theory) or ""
    example = re.search(r"```python\n(.*?)```", doc, re.DOTALL)
    assert example is not None
    room: dict[str, object] = {}
    exec(example[1].replace("best_gossip(network", "gain = best_gossip(network"), room)  # noqa: S102  (our own words)
    assert room["gain"] == pytest.approx(2.0)


def test_the_examples_of_the_paper_on_theory_are_true() -> None:
    paper = Path(__file__).parents[3] / "docs" / "theory.md"
    done = doctest.testfile(str(paper), module_relative=False)
    assert done.attempted >= 5
    assert done.failed == 0
