"""The shortcut: queues by Lindley's recursion."""

from __future__ import annotations

from math import inf

import pytest

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Network
from dmoa.core.policy import PAPER, POLICIES
from dmoa.sim import lindley
from dmoa.sim.arrivals import Window, chunks, window
from dmoa.sim.kernel_rules import rules_of
from dmoa.sim.lindley import DONE, OUT, Line
from dmoa.sim.setting import Recorded, Setting
from dmoa.theory.laws import Fixed


def run(setting: Setting, counted: Window, *, room: int = 8, answers: int = 8) -> list[float]:
    """Follow a setting to the last answer: when each query was answered."""
    rules = rules_of(setting, counted, arrays=False)
    line, ended = lindley.start(rules, room=room, answers=answers, arrays=False), {}
    for times, homes in [*((a.tolist(), b.tolist()) for a, b in chunks(setting)), ([], [])]:
        line.counts[DONE], why = 0, lindley.FULL
        while why != lindley.MORE:
            why = lindley.advance(rules, line, times, homes, 0.0 if times else inf)
            for place in range(line.counts[OUT]):
                ended[line.out_number[place]] = line.out_ended[place]
            line.counts[OUT] = 0
            if why == lindley.CROWDED:
                line = lindley.grown(line)
    return [ended[number] for number in range(counted.queries)]


def a_trace(times: list[float], homes: list[int], **network: int) -> Setting:
    made = Network.alike(3, arrival_rate=1.0, **network)
    return Setting(made, ALONE, Fixed(), arrivals=Recorded(tuple(times), tuple(homes)))


def test_who_comes_first_is_served_first() -> None:
    setting = a_trace([0.0, 0.25, 0.5, 2.5, 9.0], [0, 0, 1, 0, 0])
    assert run(setting, window(setting)) == [1.0, 2.0, 1.5, 3.5, 10.0]


def test_the_slot_that_is_free_first_is_taken() -> None:
    setting = a_trace([0.0, 0.25, 0.5, 0.75], [0, 0, 0, 0], slots=2)
    assert run(setting, window(setting)) == [1.0, 1.25, 2.0, 2.25]


@pytest.mark.parametrize(("room", "answers"), [(1, 1), (2, 7), (500, 500)])
def test_it_goes_on_where_it_stopped(room: int, answers: int) -> None:
    network = Network.alike(4, arrival_rate=0.13)
    setting = Setting(network, Mixture(2, 2), queries=300)
    wide = run(setting, window(setting), room=1000, answers=1000)
    assert run(setting, window(setting), room=room + 1, answers=answers) == wide


def test_what_happens_after_the_end_of_the_window_does_not_count() -> None:
    setting = a_trace([0.0, 1.0, 1.0, 4.0], [0, 0, 0, 0])
    rules = rules_of(setting, Window(4, 1, 1.0, 2.5), arrays=False)
    line: Line = lindley.start(rules, room=8, answers=8, arrays=False)
    lindley.advance(rules, line, [0.0, 1.0, 1.0, 4.0], [0, 0, 0, 0], inf)
    sums = lindley.sums_of(rules, line)
    assert sums.busy == [1.5, 0.0, 0.0]
    assert sums.waiting == 1.0
    assert sums.length == 2.5
    assert sums.backlog[0] == 2.0  # the first has just gone, the others have just come
    assert sums.backlog[-1] == 1.0


def test_it_is_exact_for_the_paper_alone() -> None:
    exact = {name for name, policy in POLICIES.items() if lindley.is_exact(policy)}
    assert exact == {"paper"}
    assert lindley.is_exact(PAPER)
