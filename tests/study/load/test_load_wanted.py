"""From options to a plan, and what is refused on the way."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import pytest
from load_room import crew_of, node_sample

from dmoa.core.mixture import Mixture
from dmoa.errors import DmoaError, UsageError
from dmoa.sim.setting import Bursts, Recorded
from dmoa.study.load.plan import Plan, is_over, report
from dmoa.study.load.records import Log, Sample
from dmoa.study.load.wanted import Wanted, modes_of, plan_of

USUAL: dict[str, Any] = {
    "urls": (),
    "local": 4,
    "service": "0.2",
    "cv": 0.5,
    "slots": None,
    "mode": None,
    "changes": None,
    "alternate": None,
    "rate": "0.5",
    "rho": None,
    "bursts": None,
    "trace": None,
    "seconds": None,
    "layers": 1,
    "fanout": 2,
    "deadline": None,
    "prompts": None,
    "in_flight": 100,
    "poll": 0.5,
    "drain": None,
    "warmup": 0.1,
    "worlds": 3,
    "seed": 1,
}
REMOTE = {"local": None, "service": None, "urls": ("http://127.0.0.1:1", "http://127.0.0.1:2")}


def wanted(**options: Any) -> Wanted:
    return Wanted(**(USUAL | options))


def test_own_nodes_are_told_one_by_one() -> None:
    plan = plan_of(wanted(service="0.1,0.2,0.3,0.4", slots="2", rate="1,2,3,4"), "paper")
    assert plan.service_times == (0.1, 0.2, 0.3, 0.4)
    assert plan.slots == (2, 2, 2, 2)
    assert plan.rates == (1.0, 2.0, 3.0, 4.0)
    assert plan.nodes == {"local": 4, "cv": 0.5, "slots": [2, 2, 2, 2], "mode": "paper"}
    assert (plan.mixture, plan.seconds, plan.count) == (Mixture(1, 2), 60.0, 4)


def test_modes_are_steady_unless_told_otherwise() -> None:
    assert list(modes_of(wanted())) == ["steady"]
    assert list(modes_of(wanted(mode="paper"))) == ["paper"]
    assert list(modes_of(wanted(alternate="paper, steady"))) == ["paper", "steady"]
    assert list(modes_of(wanted(**REMOTE))) == [None]


def test_settings_of_own_nodes_can_be_changed() -> None:
    plan = plan_of(wanted(changes="hedge=0, queue-jobs=1000,quorum=yes"), "steady")
    assert plan.nodes["queue_jobs"] == "1000"
    words = ("--mode", "steady", "--hedge", "0", "--queue-jobs", "1000", "--quorum")
    assert plan.options == words
    assert plan_of(wanted(), "paper").options == ("--mode", "paper")
    assert plan_of(wanted(**REMOTE, fanout=1), None).options == ()


def test_rho_becomes_a_rate_by_known_service_times() -> None:
    plan = plan_of(wanted(rate=None, rho=0.8), "steady")
    rates = plan.rates_of(None)
    assert rates is not None
    assert rates == pytest.approx((0.8 / (0.2 * 4),) * 4)


def test_rho_becomes_a_rate_by_what_nodes_measured() -> None:
    plan = plan_of(wanted(**REMOTE, rate=None, rho=0.8, fanout=1), None)
    assert plan.rates_of(None) is None
    assert plan.rates_of(crew_of("a", "b")) == pytest.approx((0.8 / (0.5 * 3),) * 2)
    with pytest.raises(UsageError, match="has not measured its service time"):
        plan.rates_of(crew_of("a", "b", service_times=(0.5, 0.0)))
    known = plan_of(wanted(**REMOTE | {"service": "0.25"}, rate=None, rho=0.8, fanout=1), None)
    assert known.rates_of(crew_of("a", "b")) == pytest.approx((0.8 / (0.25 * 3),) * 2)


def test_bursts_and_traces_are_read_as_the_simulator_does(tmp_path: Path) -> None:
    assert plan_of(wanted(bursts="0.3/4:40/6"), "steady").bursts == Bursts(0.3, 4.0, 40.0, 6.0)
    file = tmp_path / "trace.csv"
    file.write_text("time,node\n5.0,1\n6.5,4\n", "utf-8")
    plan = plan_of(wanted(rate=None, trace=file), "steady")
    assert plan.trace == Recorded((0.0, 1.5), (0, 3))
    assert plan.seconds == inf
    assert plan.arrivals((0.0,) * 4) == plan.trace
    short = plan_of(wanted(rate=None, trace=file, seconds=1.0), "steady")
    assert short.arrivals((0.0,) * 4).times == (0.0,)


def test_settings_tell_all_that_matters_and_nothing_else() -> None:
    def settings(**options: Any) -> dict[str, Any]:
        return plan_of(wanted(**options), "steady").settings()

    for options in (
        {"seed": 2},
        {"rate": "0.6"},
        {"rate": None, "rho": 0.5},
        {"service": "0.3"},
        {"cv": 0.1},
        {"slots": "2"},
        {"seconds": 30.0},
        {"layers": 2},
        {"fanout": 1},
        {"deadline": 5.0},
        {"bursts": "0.3/4:40/6"},
        {"changes": "hedge=0"},
    ):
        assert settings(**options) != settings(), options
    assert plan_of(wanted(), "paper").settings() != settings()
    same = {"poll": 1.0, "worlds": 0, "warmup": 0.2, "in_flight": 5, "drain": 1.0}
    assert settings(**same) == settings()


def test_users_of_the_paper_wait_however_long() -> None:
    plan = plan_of(wanted(deadline=5.0), "paper")
    assert plan.sent_deadline(crew_of("a", mode="paper")) == 86_400.0
    assert plan.sent_deadline(crew_of("a", mode="steady")) == 5.0


def plans(options: Wanted) -> list[Plan]:
    return [plan_of(options, mode) for mode in modes_of(options)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"local": None}, "a load test needs nodes"),
        ({"urls": ("http://x",)}, "exclude each other"),
        (REMOTE | {"mode": "paper"}, "--mode is for nodes that are started here"),
        (REMOTE | {"slots": "2"}, "--slots is for nodes that are started here"),
        (REMOTE | {"alternate": "paper,steady"}, "--alternate is for nodes"),
        ({"alternate": "paper"}, "--alternate takes two modes"),
        ({"alternate": "paper,paper"}, "--alternate takes two modes"),
        ({"alternate": "paper,steady", "mode": "paper"}, "no --mode beside it"),
        ({"alternate": "paper,wild"}, "there is no mode 'wild'"),
        (REMOTE | {"changes": "hedge=0"}, "--set is for nodes that are started here"),
        ({"changes": "hedge"}, "--set 'hedge' names no setting that a test may change"),
        ({"changes": "port=1"}, "--set 'port=1' names no setting"),
        ({"changes": "hedge=2"}, "--set hedge=2: hedge must be a whole number from 0 to 1, not 2"),
        ({"changes": "hedge=0", "mode": "paper"}, "hedge does not go with mode = paper"),
        ({"service": None}, "needs to know how long a job takes"),
        ({"service": "0"}, "--service takes seconds, more than 0"),
        ({"service": "inf"}, "--service takes seconds"),
        ({"service": "fast"}, "--service must be a number"),
        ({"service": "1,2"}, "--service has 2 values, and there are 4 nodes"),
        ({"slots": "0"}, "--slots takes 1 or more"),
        ({"rate": None}, "give --rate, --rho or a --trace"),
        ({"rho": 0.5}, "and not two of them"),
        ({"rate": "0"}, "--rate takes queries/s above 0"),
        ({"rate": "-1"}, "--rate takes queries/s above 0"),
        ({"rate": "nan"}, "--rate takes queries/s above 0"),
        ({"rate": "1,2"}, "--rate has 2 values"),
        ({"bursts": "often"}, "--bursts 'often' is nothing that can be"),
        ({"bursts": "1/2"}, "is nothing that can be"),
        ({"bursts": "poisson"}, "is nothing that can be"),
        ({"fanout": 4}, "a fanout of 4 needs as many peers"),
        ({"prompts": Path("/nowhere.jsonl")}, "the prompts cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DmoaError, match=words) as caught:
        plans(wanted(**options))
    assert caught.value.exit_code == 2
    assert caught.value.hint or "must be a number" in words


def test_a_trace_of_more_nodes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("0,9\n", "utf-8")
    with pytest.raises(UsageError, match="asks node 9, and there are 4"):
        plan_of(wanted(rate=None, trace=file), "steady")
    with pytest.raises(UsageError, match="--bursts others"):
        plan_of(wanted(rate=None, trace=file, bursts="1/2:3/4"), "steady")


# -- the end ------------------------------------------------------------------------------


def test_a_test_is_over_when_all_was_asked() -> None:
    plan, log = plan_of(wanted(), "steady"), Log()
    assert not is_over(plan, log)
    log.begin((0.5,) * 4)
    assert not is_over(plan, log)
    log.send(len(plan.arrivals((0.5,) * 4).times) - 1)
    assert is_over(plan, log)


def test_there_is_no_report_of_nothing() -> None:
    plan, log = plan_of(wanted(), "steady"), Log()
    assert report(plan, log, done=False) is None
    log.begin((0.5,) * 4)
    log.meet(crew_of("n1", "n2", "n3", "n4", mode="steady"))
    assert report(plan, log, done=False) is None


def test_a_report_is_of_what_was_asked() -> None:
    plan, log = plan_of(wanted(), "steady"), Log()
    log.begin((0.5,) * 4)
    log.meet(crew_of("n1", "n2", "n3", "n4", mode="steady"))
    log.sample(Sample(0.0, 0, (node_sample(),) * 4))
    log.send(4)
    found = report(plan, log, done=False, worlds=0)
    assert found is not None
    assert (found.figures.sent, found.mode, found.deadline_sent) == (5, "steady", None)
    assert found.figures.unanswered == found.figures.asked
