"""GET /v1/plan: the theory's word on the network that a node knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_room import api, nodes

from dmoa.api import plan
from dmoa.api.plan import network_of, predicted
from dmoa.core import stability
from dmoa.core.digest import Digest
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.names import NodeId
from dmoa.core.network import Network

PLAN = "/v1/plan"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reckon in place: threads know no virtual clock."""

    async def inline(work: Callable[..., Any], *given: Any) -> Any:
        return work(*given)

    monkeypatch.setattr(plan, "to_thread", inline)


def wish(layers: int, fanout: int, arrival_rate: float, **more: Any) -> dict[str, Any]:
    return {"layers": layers, "fanout": fanout, "arrival_rate": arrival_rate, **more}


async def test_nothing_is_reckoned_before_anything_was_measured() -> None:
    async with nodes("n1", "n2") as (home, _), api(home) as http:
        told = (await http.get(PLAN, params=wish(2, 1, 0.1))).json()
    assert told["service_time"] is None
    assert told["why"] == "no node has measured a service time"
    assert (told["nodes"], told["visits"]) == (2, 5)


async def test_the_plan_is_the_theory_on_what_nodes_say() -> None:
    async with nodes("n1", "n2", "n3") as (home, *others), api(home) as http:
        for _ in range(3):
            await home.ask("hello", mixture=Mixture(1, 2))
        await asyncio.sleep(2)
        told = (await http.get(PLAN, params=wish(2, 1, 0.1))).json()
        quick = (await http.get(PLAN, params=wish(2, 1, 0.1, latency="false"))).json()
        over = (await http.get(PLAN, params=wish(2, 2, 1.0))).json()
    assert others
    network = Network.alike(3, arrival_rate=0.1, service_time=1.0)
    assert told["service_time"] == pytest.approx(1.0, rel=0.01)
    assert told["theorem"] == pytest.approx(0.5, rel=0.01)
    assert told["utilisation"] == pytest.approx(0.5, rel=0.01)
    assert told["arrival_rate_max"] == pytest.approx(0.2, rel=0.01)
    assert told["latency"] == pytest.approx(asdict(predicted(network, Mixture(2, 1)).latency))
    assert quick == {**told, "latency": None, "doubts": []}
    assert (over["stable"], over["latency"]) == (False, None)
    assert over["utilisation"] == pytest.approx(7.0, rel=0.01)
    assert "grow without end" in over["doubts"][0]


async def test_a_plan_that_cannot_be_is_refused_in_words() -> None:
    async with nodes("n1", "n2") as (home, _), api(home) as http:
        await home.ask("hello", mixture=ALONE)
        for params, word in (
            (wish(1, 2, 0.1), "needs as many peers"),
            (wish(9, 1, 0.1), "too many"),
            (wish(-1, 1, 0.1), "layers"),
            (wish(1, 1, "nan"), "arrival_rate"),  # type: ignore[arg-type]
            (wish(1, 1, 1e9), "arrival_rate"),
            ({}, "layers"),
        ):
            response = await http.get(PLAN, params=params)
            assert response.status_code == 400, params
            assert word in response.json()["error"]["message"]


async def test_plans_at_once_are_reckoned_one_after_the_other() -> None:
    async with nodes("n1", "n2") as (home, _), api(home) as http:
        await home.ask("hello", mixture=Mixture(1, 1))
        await asyncio.sleep(2)
        rates = [0.01 * number for number in range(1, 9)]
        told = await asyncio.gather(*(http.get(PLAN, params=wish(1, 1, rate)) for rate in rates))
    means = [each.json()["latency"]["mean"] for each in told]
    assert means == sorted(means)


EMPTY = Digest(NodeId("n1"), 1, 1, "m", 1)


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.integers(-3, 10**9)), min_size=1, max_size=8),
    st.floats(0, 10),
)
def test_no_words_of_peers_break_a_plan(said: list[tuple[float, int]], rate: float) -> None:
    digests = [replace(EMPTY, service_time=time, slots=slots) for time, slots in said]
    network = network_of(digests, rate)
    if network is None:
        assert all(time == 0 for time, _ in said)
        return
    assert network.nodes == len(said)
    loads = stability.utilisations(network, Mixture(1, len(said) - 1))
    assert all(0 <= load < 1e15 for load in loads)


def test_who_has_measured_nothing_is_taken_to_be_as_the_others() -> None:
    digests = [replace(EMPTY, service_time=time) for time in (1.0, 3.0, 0.0)]
    network = network_of(digests, 0.1)
    assert network is not None
    assert network.service_times == (1.0, 3.0, 2.0)
    assert network_of([EMPTY], 0.1) is None
