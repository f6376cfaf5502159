from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.names import NodeId
from dmoa.net import flows
from dmoa.net.flows import Flow, Rate

A, B = NodeId("a"), NodeId("b")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def entered(flow: Flow, name: str, count: int) -> int:
    return sum(flow.enter(name) for _ in range(count))


def test_a_burst_is_let_in_and_then_as_much_as_the_rate_says() -> None:
    clock = Clock()
    flow = Flow(Rate(10, 5), clock=clock)
    assert entered(flow, A, 20) == 5
    clock.now = 0.3
    assert entered(flow, A, 20) == 3
    clock.now = 100.0
    assert entered(flow, A, 20) == 5


def test_the_flood_of_one_leaves_others_alone() -> None:
    flow = Flow(Rate(1, 3), clock=Clock())
    entered(flow, A, 1000)
    assert entered(flow, B, 3) == 3


def test_a_flood_is_told_once_an_interval_and_name() -> None:
    clock = Clock()
    flow = Flow(Rate(1, 1), clock=clock)
    assert [flow.tell(name) for name in (A, A, B, A)] == [True, False, True, False]
    clock.now = flows.TELL_INTERVAL
    assert flow.tell(A)


def test_names_that_nobody_proved_share_one_measure() -> None:
    clock = Clock()
    flow = Flow(Rate(1, 10), checked=True, clock=clock)
    flow.know(A)
    assert sum(flow.enter(f"n{number}") for number in range(1000)) == flows.STRANGERS.burst
    clock.now = 1.0
    assert sum(flow.enter(f"n{number}") for number in range(1000)) == flows.STRANGERS.each
    assert entered(flow, A, 20) == 10
    flow.know(B)
    assert entered(flow, B, 20) == 10


def test_any_number_of_names_takes_bounded_memory() -> None:
    flow = Flow(Rate(1, 1), clock=Clock())
    for number in range(3 * flows.FLOW_NAMES):
        flow.enter(f"n{number}")
        flow.know(NodeId(f"m{number}"))
    assert len(flow._buckets) == flows.FLOW_NAMES


@given(
    rate=st.floats(0.1, 100),
    burst=st.floats(1, 100),
    gaps=st.lists(st.floats(0, 5), max_size=200),
)
def test_no_more_than_burst_and_rate_ever_come_in(
    rate: float, burst: float, gaps: list[float]
) -> None:
    clock = Clock()
    flow, inside = Flow(Rate(rate, burst), clock=clock), 0
    for gap in gaps:
        clock.now += gap
        inside += flow.enter(A)
        assert inside <= burst + rate * clock.now + 1e-6
