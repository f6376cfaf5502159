"""Networks from TOML files: what is read, and what is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmoa.core.network import Costs, Network
from dmoa.errors import NetworkShapeError
from dmoa.study.network_file import (
    NODES_MAX,
    Description,
    describe,
    load_network,
    parse_counts,
    parse_numbers,
)


def written(folder: Path, text: str) -> Path:
    file = folder / "network.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_tells_all_of_a_network(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        service_time = [1.0, 1, 2.0]
        arrival_rate = 0.05
        slots = [1, 2, 1]
        graph = [[2, 3], [1, 3], [1, 2]]
        [costs]
        first = 1.0
        later = 1.5
        aggregation = 2
        """,
    )
    assert load_network(file) == Network(
        (0.05,) * 3,
        (1.0, 1.0, 2.0),
        (1, 2, 1),
        Costs(1.0, 1.5, 2.0),
        ((1, 2), (0, 2), (0, 1)),
    )


def test_one_number_is_that_of_all_nodes(tmp_path: Path) -> None:
    file = written(tmp_path, "nodes = 4\narrival_rate = 0.1\nservice_time = 2")
    assert load_network(file) == Network.alike(4, arrival_rate=0.1, service_time=2.0)


def test_costs_that_are_not_told_are_even(tmp_path: Path) -> None:
    file = written(tmp_path, "nodes = 2\narrival_rate = 0.1\nservice_time = 2\ncosts.later = 3.0")
    assert load_network(file).costs == Costs(1.0, 3.0, 1.0)


def test_a_file_may_leave_out_what_is_said_elsewhere(tmp_path: Path) -> None:
    assert describe(written(tmp_path, "service_time = [1, 2]")) == Description(
        service_time=(1.0, 2.0)
    )
    assert describe(written(tmp_path, "")) == Description()


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("nodes = ", "is not TOML", None),
        ("service_times = 1", "there is no key 'service_times'", "did you mean `service_time`?"),
        ("colour = 1", "there is no key 'colour'", "known keys: nodes, arrival_rate"),
        ("[costs]\nfrist = 1", "costs: there is no key 'frist'", "did you mean `first`?"),
        ("costs = 2", "costs must be a table, written as [costs], not 2", None),
        ("[costs]\nfirst = '1'", "costs.first must be a number, not '1'", None),
        ("nodes = 2.0", "nodes must be a whole number of 1 or more, not 2.0", None),
        ("nodes = true", "nodes must be a whole number", None),
        ("service_time = 'x'", "service_time must be a number of seconds, or a list", None),
        ("service_time = [1, true]", "service_time must be a number of seconds", None),
        ("arrival_rate = []", "arrival_rate must be a number of queries per second", None),
        ("arrival_rate = nan", "arrival_rate must be a number", None),
        ("slots = 0", "slots must be a whole number of 1 or more", None),
        ("graph = [[0], [1]]", "graph must be a list of the peers of each node", None),
        ("graph = []", "graph must be a list of the peers", None),
        ("graph = 'ring'", "graph must be a list of the peers", None),
        ("graph = [1, 2]", "graph must be a list of the peers", None),
    ],
)
def test_what_cannot_be_is_refused_by_file_and_name(
    tmp_path: Path, text: str, words: str, hint: str | None
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(NetworkShapeError) as caught:
        describe(file)
    assert caught.value.message.startswith(f"{file}: ")
    assert words in caught.value.message
    assert (caught.value.hint or "").startswith(hint or "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nodes = 2\nservice_time = 1", "the arrival rate of the network is missing"),
        ("nodes = 2\narrival_rate = 1", "the service time of the network is missing"),
        ("arrival_rate = 1\nservice_time = 1", "how many nodes there are is missing"),
        ("arrival_rate = [1, 2]\nservice_time = [1, 2, 3]", "arrival_rate speaks of 2 nodes"),
        ("nodes = 3\narrival_rate = [1, 2]\nservice_time = 1", "nodes speaks of 3 nodes"),
        ("graph = [[2], [1]]\nnodes = 3\narrival_rate = 1\nservice_time = 1", "graph of 2"),
        (f"nodes = {NODES_MAX + 1}\narrival_rate = 1\nservice_time = 1", "cannot be"),
        ("nodes = 2\narrival_rate = -1\nservice_time = 1", "arrival rate of node 1 cannot be -1"),
        ("nodes = 2\narrival_rate = 1\nservice_time = 0", "service time of node 1 cannot be 0"),
        ("graph = [[2], [1], [4], [3]]\narrival_rate = 1\nservice_time = 1", "disconnected"),
    ],
)
def test_a_network_that_cannot_be_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(NetworkShapeError) as caught:
        load_network(written(tmp_path, text))
    assert words in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NetworkShapeError, match="cannot be read: No such file"):
        describe(tmp_path / "nothing.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(NetworkShapeError, match="is not TOML"):
        describe(tmp_path / "bytes.toml")


def test_lists_are_written_with_commas() -> None:
    assert parse_numbers("1,2.5, 1e-2", "x") == (1.0, 2.5, 0.01)
    assert parse_counts("1,2", "x") == (1, 2)
    with pytest.raises(NetworkShapeError, match=r"^x must be a number, or a list like 1,1,2"):
        parse_numbers("1,,2", "x")
    with pytest.raises(NetworkShapeError, match=r"^x must be a whole number"):
        parse_counts("1.5", "x")
