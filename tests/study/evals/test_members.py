"""The nodes that a run starts: read from a file, looked over by the node's own reader."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.config import load
from dmoa.errors import ConfigError
from dmoa.study.evals.members import MEMBERS_MAX, as_toml, read_members
from dmoa.study.evals.records import Member

GOOD = """
[all]
mode = "paper"
deadline = 60

[[node]]
model = "smollm2?seed=1"

[[node]]
name = "teacher"
model = "fake:0.1#b"
mode = "steady"
hedge = 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "nodes.toml"


def test_nodes_have_the_settings_of_all_and_their_own(file: Path) -> None:
    file.write_text(GOOD)
    one, two = read_members(file)
    shared = {"mode": "paper", "deadline": 60}
    assert one == Member("n1", "smollm2?seed=1", shared | {"model": "smollm2?seed=1"})
    own = {"model": "fake:0.1#b", "mode": "steady", "hedge": 0}
    assert two == Member("teacher", "fake:0.1#b", shared | own)


def test_a_node_without_a_model_has_the_embedded_one(file: Path) -> None:
    file.write_text("\ufeff[[node]]\n[[node]]\n", encoding="utf-8")
    assert read_members(file) == (Member("n1", ""), Member("n2", ""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no nodes"),
        ("node = 3", "has no nodes"),
        ("node = [3]", "number 1 is no table"),
        ("all = 3\n[[node]]", "[all] is no table"),
        ("[[nodes]]", "no table 'nodes'"),
        ("[[node]", "is not TOML"),
        ("[[node]]\nmodle = 'x'", "number 1: there is no setting 'modle'"),
        ("[[node]]\n[[node]]\nhedge = 7", "number 2: hedge must be a whole number from 0 to 1"),
        ("[all]\nhedge = 7\n[[node]]", "hedge must be"),
        ("[[node]]\nmode = 'paper'\nhedge = 1", "hedge does not go with mode = paper"),
        ("[[node]]\nport = 5", "number 1 says port, which is decided"),
        ("[all]\nrealm = 'x'\n[[node]]", "[all] says realm, which is decided"),
        ("[[node]]\nnode = 'x'", "says node, which is decided"),
        ("[all]\nname = 'x'\n[[node]]", "[all] cannot name all nodes alike"),
        ("[[node]]\nname = 'A b'", "name must be"),
        ("[[node]]\nname = 3", "name must be"),
        ("[[node]]\nname = 'n2'\n[[node]]", "two nodes are named n2"),
        ("[[node]]\nmodel = 1979-05-27", "model has a value that no setting has"),
        ("[[node]]\nmodel = {a = 1}", "model has a value that no setting has"),
        ("[[node]]\nmodel = 5", "model must be text"),
        ("[[node]]\ndeadline = nan", "deadline must be seconds"),
        ("[[node]]\n" * (MEMBERS_MAX + 1), f"has {MEMBERS_MAX + 1} nodes"),
    ],
)
def test_what_cannot_be_names_the_file_the_node_and_the_key(
    file: Path, text: str, words: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_members(file)
    message = caught.value.message
    assert message.startswith(f"{file}: ")
    assert words in message
    assert message.count(str(file.parent)) == 1  # and no other file is spoken of
    assert "node.toml" not in message
    assert "\n" not in message


def test_a_misspelt_key_is_guessed(file: Path) -> None:
    file.write_text("[[node]]\ndeadlin = 5")
    with pytest.raises(ConfigError) as caught:
        read_members(file)
    assert caught.value.hint == "did you mean `deadline`?"


def test_a_file_that_cannot_be_read_is_told(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_members(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_members(file)


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.lists(st.text()),
)
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1)


@given(st.dictionaries(KEYS, VALUES))
def test_what_is_written_is_read(settings: dict[str, object]) -> None:
    assert tomllib.loads(as_toml(settings)) == settings


@given(st.text())
def test_a_node_reads_what_was_written(text: str) -> None:
    read = tomllib.loads(as_toml({"model": text}))
    assert load(read, environ={}, file=Path("/dev/null")).model == text.strip()
