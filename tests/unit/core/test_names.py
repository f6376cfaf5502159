from __future__ import annotations

import pytest

from dmoa.core.names import NodeId, is_node_name, job_name, query_name


@pytest.mark.parametrize("name", ["a", "7", "n1", "oak-3", "a--b", "x" * 32])
def test_a_node_is_named_by_small_letters_digits_and_inner_hyphens(name: str) -> None:
    assert is_node_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a/b", "a.b", "a b", "\u00e9", "a\n", "*", "x" * 33, "\u0661"]
)
def test_nothing_else_names_a_node(name: str) -> None:
    assert not is_node_name(name)


def test_a_job_bears_the_name_of_its_query_and_that_of_its_home() -> None:
    query = query_name(NodeId("oak"), 255, 17)
    assert query == "oak/ff/17"
    assert job_name(query, 2, 0) == "oak/ff/17/2.0"
