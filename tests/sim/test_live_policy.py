"""What nodes do unless they are told otherwise, beside the paper's protocol, dreamt by agents.

Eight nodes whose jobs take 0.2 s (log-normal, cv 0.4), two layers of four proposers, and
digests every second: on the very same questions and jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import inf

import pytest

from dmoa.core.agent import Agent
from dmoa.core.effects import Answer, Refusal, Send
from dmoa.core.events import Event
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Probe
from dmoa.core.mixture import Mixture
from dmoa.core.names import QueryId
from dmoa.core.network import Network
from dmoa.core.policy import LIVE, PAPER, POLICIES, Policy
from dmoa.errors import UsageError
from dmoa.sim.dream import Dream, dream
from dmoa.sim.engine import simulate
from dmoa.sim.kernel_replay import Trace, replay
from dmoa.sim.links import Links
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Setting
from dmoa.sim.world import End
from dmoa.theory.laws import Fixed, LogNormal

SECONDS = 0.2
"""Of a job."""
MIXTURE = Mixture(2, 3)
DEADLINE = 60 * SECONDS
NEAR = 1.5
"""A factor within which what is told is true."""
LEARNT = 0.1
"""Share of the answers from which is learned how long they take."""


def setting_of(policy: Policy, rho: float, queries: int, **more) -> Setting:
    rate = rho / (SECONDS * MIXTURE.visits)
    network = Network.alike(8, arrival_rate=rate, service_time=SECONDS)
    wanted = {"gossip": 1.0, "deadline": 300.0, **more}
    return Setting(network, MIXTURE, LogNormal(cv=0.4), policy, queries=queries, **wanted)


class Heard:
    """A dream, how each of its queries ended, and the longest queue (jobs)."""

    def __init__(self, setting: Setting) -> None:
        self.ends: list[End] = []
        self.longest = 0
        run = Dream(setting)
        heed = run.world.heed
        assert heed is not None
        run.world.heed = self._heed(heed)
        run.world.watch = self._watch
        run.live()
        self.outcome = run.outcome(0.0)

    def _heed(self, heed: Callable[[QueryId, End], None]) -> Callable[[QueryId, End], None]:
        def both(query: QueryId, end: End) -> None:
            self.ends.append(end)
            heed(query, end)

        return both

    def _watch(self, agent: Agent, _event: Event) -> None:
        self.longest = max(self.longest, len(agent.queue))

    @property
    def told(self) -> list[float]:
        """How many times as long as they were told answers took, in their order."""
        traces = [end.result.trace for end in self.ends if isinstance(end.result, Answer)]
        known = [each for each in traces if each.expected_seconds > 0.0]
        return [each.seconds / each.expected_seconds for each in known]


@cache
def live(rho: float, queries: int, deadline: float = 300.0) -> Heard:
    return Heard(setting_of(LIVE, rho, queries, deadline=deadline))


# -- what it is worth -----------------------------------------------------------------


@pytest.mark.parametrize(("rho", "less"), [(0.7, 0.4), (0.9, 0.6)])
def test_answers_come_much_sooner_than_by_the_papers_protocol(rho: float, less: float) -> None:
    paper = dream(setting_of(PAPER, rho, 800))
    found = live(rho, 800).outcome
    assert found.mean <= (1.0 - less) * paper.mean
    assert found.answered == found.asked == paper.answered
    assert found.proposals > 7.0, "of the eight that were asked for"


def test_an_overloaded_network_answers_in_time_whomever_it_takes() -> None:
    found = live(5.0, 1200, DEADLINE)
    taken = found.outcome.asked - found.outcome.refused
    assert found.outcome.in_time * found.outcome.asked >= 0.95 * taken
    assert taken > 0.9 * found.outcome.asked
    assert found.longest <= 40
    paper = dream(setting_of(PAPER, 5.0, 1200, deadline=DEADLINE))
    assert paper.in_time < 0.2


def test_beyond_what_the_own_models_alone_can_answer_the_rest_is_refused_at_once() -> None:
    """Each node could complete 5 jobs a second, and is asked 8."""
    found = live(14.4, 2000, DEADLINE)
    taken = found.outcome.asked - found.outcome.refused
    assert 0.4 * found.outcome.asked < taken < 0.75 * found.outcome.asked
    assert found.outcome.in_time * found.outcome.asked >= 0.95 * taken
    assert found.longest <= 40
    refusals = [end for end in found.ends if isinstance(end.result, Refusal)]
    assert all(end.ended == end.asked for end in refusals if end.result.code == "overloaded")
    assert all(0.0 < end.result.retry_after < DEADLINE for end in refusals if end.result)


def test_who_is_told_when_an_answer_comes_can_count_on_it() -> None:
    ratios = live(0.7, 800).told
    counted = ratios[int(LEARNT * len(ratios)) :]
    assert len(counted) > 600
    near = sum(1.0 / NEAR <= each <= NEAR for each in counted)
    assert near >= 0.85 * len(counted)


# -- how it is dreamt -----------------------------------------------------------------

SMALL = setting_of(LIVE, 0.7, 60)
NOTHING = Trace([0.0], [0], [[]], [[[1.0]]], [[]])
"""One query that its home answers alone."""


@pytest.mark.parametrize(("gossip", "wanted"), [(0.0, Timing().gossip), (0.6, 0.6)])
def test_agents_gossip_and_probe_as_nodes_do(gossip: float, wanted: float) -> None:
    run = Dream(replace(SMALL, gossip=gossip), record=True)
    run.live()
    timing = run.world.agents[run.nodes[0]].timing
    assert timing.gossip == wanted
    assert timing.silence == 5.0 * wanted
    probes = [
        effect
        for history in run.world.histories.values()
        for each in history
        for effect in each.effects
        if isinstance(effect, Send) and isinstance(effect.message, Probe)
    ]
    assert probes


def test_the_same_setting_lives_alike_and_another_seed_otherwise() -> None:
    assert dream(SMALL) == dream(SMALL)
    assert dream(SMALL) != dream(replace(SMALL, seed=2))


def test_the_deadline_of_the_setting_is_that_of_each_query() -> None:
    hasty = replace(SMALL, deadline=0.9)
    assert dream(hasty).longest <= 0.9 + 1e-9
    assert dream(hasty).proposals < dream(SMALL).proposals
    assert dream(replace(SMALL, deadline=inf)).answered == 54


def test_a_live_network_is_dreamt_with_its_own_limits_and_timing() -> None:
    crowd = setting_of(LIVE, 5.0, 200)
    free = dream(crowd)
    bound = dream(crowd, limits=Limits(queue_jobs=3))
    assert free.refused == 0
    assert bound.refused > 20
    late = dream(replace(SMALL, deadline=inf), timing=Timing(deadline=1.0))
    assert late.longest <= 1.0 + 1e-9


def test_probes_are_waited_for_where_links_are_slow() -> None:
    slow = replace(SMALL, queries=100, law=Fixed())
    late = dream(slow, links=Links(Fixed(0.05)))
    assert isinstance(late, Outcome)
    assert late.answered == late.asked
    assert late.p50 > dream(slow).p50 + 2 * 0.1


@pytest.mark.parametrize(
    "policy", [LIVE, Policy(probe=1.0), Policy(timely=True), Policy(learning=True)]
)
def test_no_other_engine_knows_what_agents_measure(policy: Policy) -> None:
    for engine in ("auto", "kernel", "lindley"):
        with pytest.raises(UsageError, match="only agents can follow it") as caught:
            simulate(replace(SMALL, policy=policy), engine=engine)
        assert caught.value.hint == "leave the engine to auto, or take the world"
    with pytest.raises(UsageError, match="only agents can follow it"):
        replay(SMALL.network, Mixture(0, 0), NOTHING, policy=policy)


def test_all_other_policies_are_for_every_engine() -> None:
    assert {name for name, policy in POLICIES.items() if policy.lives} == {"live"}
