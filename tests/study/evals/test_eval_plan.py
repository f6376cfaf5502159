"""What is asked of whom and when: configurations as they are written, arrivals, sums."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.recipe import Recipe
from dmoa.errors import MixtureError, UsageError
from dmoa.study.evals.ask_records import expected_tokens, tally_of
from dmoa.study.evals.plan import (
    Configuration,
    Draft,
    configuration,
    configurations,
    due_times,
)
from dmoa.study.evals.records import Answer, Item

# -- configurations -------------------------------------------------------------------------


NODES = ("n1", "n2", "n3")


@given(
    st.integers(0, 8),
    st.integers(0, 8),
    st.lists(st.sampled_from(["self", "select", "agree", "rank", "best"]), unique=True),
    st.sampled_from(["", "n1", "node-7"]),
)
def test_a_configuration_is_read_as_it_is_written(
    layers: int, fanout: int, words: list[str], home: str
) -> None:
    recipe = f"-{'+'.join(words)}" if words else ""
    text = f"dmoa-m{layers}k{fanout}{recipe}" + (f"@{home}" if home else "")
    try:
        read = configuration(text)
    except MixtureError as error:
        assert "at most" in str(error.hint)  # noqa: PT017
        return
    assert configuration(read.name) == read
    assert (read.home, read.recipe) == (home, Recipe.parse("+".join(words)))
    assert read.mixture is not None
    assert (read.mixture.layers, read.mixture.fanout) == (layers, fanout)
    assert set(read.name) == set(text)


def test_words_of_a_recipe_have_one_order() -> None:
    assert configuration("dmoa-m1k2-best+self").name == "dmoa-m1k2-self+best"
    found = configurations("dmoa-m1k2-best+self,dmoa-m1k2-self+best", NODES, peers=2)
    assert [each.name for each in found][3:] == ["dmoa-m1k2-self+best"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ",
        "m1k2",
        "gpt",
        "dmoa-",
        "dmoa-m1k2-",
        "dmoa-m1k2-what",
        "dmoa-m1k2-self+self",
        "local@",
        "dmoa-m99k1",
        "dmoa-m1k999",
        "local-m1k1",
        "dmoa-m1k2@n1@n2",
        "dmoa_m1k1",
    ],
)
def test_what_is_no_configuration_is_told_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        configurations(text, NODES, peers=2)
    assert "\n" not in caught.value.message


def test_local_is_every_node_and_members_come_first() -> None:
    def names(text: str, *, members: bool = True) -> list[str]:
        return [each.name for each in configurations(text, NODES, peers=2, members=members)]

    alone = ["local@n1", "local@n2", "local@n3"]
    assert names("dmoa-m1k2,local") == [*alone, "dmoa-m1k2"]
    assert names("dmoa-m1k2,local", members=False) == ["dmoa-m1k2", *alone]
    assert names("dmoa-m1k2@n2,local@n3", members=False) == ["dmoa-m1k2@n2", "local@n3"]
    assert names("dmoa", members=False) == ["dmoa"]


def test_own_samples_need_no_peers() -> None:
    assert configuration("dmoa-m1k5-self").peers == 0
    assert configuration("dmoa-m0k5").peers == 0
    assert configuration("dmoa-m1k5").peers == 5
    assert Configuration("dmoa").peers == 0
    with pytest.raises(UsageError, match="asks 3 peers, and there are 2"):
        configurations("dmoa-m1k3", NODES, peers=2)


# -- sums ---------------------------------------------------------------------------------------


def test_sums_leave_nothing_out() -> None:
    def answer(item: str, status: Any, **more: Any) -> Answer:
        return Answer(item, "dmoa", "n1", status, **more)

    found = tally_of(
        "dmoa",
        [
            answer("a", "answered", seconds=2.0, prompt_tokens=5, completion_tokens=3, jobs=4),
            answer("b", "answered", seconds=4.0, degraded=("n2 was lost",), jobs=3),
            answer("c", "refused", seconds=9.0),
            answer("d", "expired", seconds=9.0, prompt_tokens=1),
            answer("e", "failed", seconds=9.0),
        ],
        7,
    )
    assert (found.answered, found.refused, found.expired, found.failed, found.left) == (
        2,
        1,
        1,
        1,
        2,
    )
    assert (found.mean_seconds, found.tokens, found.jobs, found.degraded) == (3.0, 9, 7, 1)
    assert tally_of("dmoa", [], 3).mean_seconds is None


def test_tokens_are_foretold_from_those_so_far() -> None:
    def alone(count: int) -> list[Answer]:
        one = Answer("a", "local", "n1", "answered", prompt_tokens=6, completion_tokens=4, jobs=1)
        return [one] * count

    none = [tally_of("local", [], 10), tally_of("dmoa-m1k1", [], 10)]
    assert expected_tokens(none, [1, 3], 10) is None
    some = [tally_of("local", alone(5), 10), none[1]]
    assert expected_tokens(some, [1, 3], 10) == 10 * 10 + 10 * 3 * 10
    mixed = Answer("a", "dmoa-m1k1", "n1", "answered", prompt_tokens=50, jobs=3)
    both = [some[0], tally_of("dmoa-m1k1", [mixed], 10)]
    assert expected_tokens(both, [1, 3], 10) == 100 + 500


def test_an_item_is_named_by_its_content() -> None:
    one = Item(id="a", dataset="d", turns=("x",))
    assert Draft("local", (one,)).known()["items"] != Draft("local", (one, one)).known()["items"]


# -- arrivals ---------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 5), st.floats(0.01, 100.0), st.integers())
def test_arrivals_are_those_of_each_home_alone(
    count: int, homes: int, rate: float, seed: int
) -> None:
    times = due_times(count, range(homes), rate, seed)
    assert len(times) == count
    for home in range(homes):
        own = times[home::homes]
        assert list(own) == sorted(own)
        # who asks this home alone meets the same arrivals
        assert own == due_times(len(own), (home,), rate, seed)
    assert due_times(count, range(homes), 2 * rate, seed) == pytest.approx(
        tuple(each / 2 for each in times)
    )


def test_arrivals_are_as_frequent_as_was_said() -> None:
    own = due_times(8000, (0, 1), 4.0, 5)[::2]
    gaps = [after - before for before, after in pairwise(own)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.25, rel=0.06)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.03)
