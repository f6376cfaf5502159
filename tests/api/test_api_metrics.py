"""GET /metrics: what Prometheus reads of a node, by its own parser and by its own rules."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from api_room import Fickle, Reciter, Room, body, in_process, opened, served, until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from dmoa.core.effects import Fail, Refusal, Report, Serve, Trace, Visit
from dmoa.core.events import Asked, Offended, Served, Woke
from dmoa.core.job import Completion, Job, Prompt, Sampling
from dmoa.core.limits import Limits
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.telemetry.metrics import NAMES, OTHER, Metrics

CHAT = "/v1/chat/completions"
GAUGED = (
    *("ratio", "info", "running", "waiting", "reading", "slots", "limit"),
    *("peers", "layers", "fanout"),
)
"""Ends of gauges: most count things, and then the thing is the unit."""
ABBREVIATED = re.compile(r"_(s|ms|us|ns|sec|secs|min|mins|hours|kb|mb|gb|kib|mib|percent|pct)\b")


async def look(http: httpx2.AsyncClient) -> dict[str, float]:
    """Every sample of a node, by its name with its labels."""
    page = await http.get("/metrics")
    assert page.status_code == 200
    return samples(page.text)


def samples(text: str) -> dict[str, float]:
    return {
        each.name + "".join(f"|{key}={value}" for key, value in sorted(each.labels.items())): (
            each.value
        )
        for family in read_plain(text)
        for each in family.samples
    }


def test_words_beyond_the_bound_are_counted_as_one() -> None:
    node: Any = Still()
    metrics = Metrics(node)
    for number in range(NAMES + 20):
        mixture = Mixture(1 + number // 30, number % 30)
        metrics.saw(asked(f"n1/1/{number}", mixture), [failed(f"n1/1/{number}")], 0.0)
    assert metrics._queries == {}
    assert metrics._models("one more") == OTHER


class Still:
    """A node of which only peers change; closed to whoever looks how it stands."""

    id = NodeId("n1")
    is_open = False
    limits = Limits(view=4)

    def __init__(self) -> None:
        self.peers: list[tuple[Any, float]] = []


def asked(query: str, mixture: Mixture = ALONE) -> Asked:
    return Asked(QueryId(query), (), mixture)


def failed(query: str) -> Fail:
    trace = Trace(QueryId(query), NodeId("n1"), ALONE, (), (), 0.0)
    return Fail(QueryId(query), Refusal("overloaded", "", trace))


def test_peers_long_gone_make_room_for_others() -> None:
    node: Any = Still()
    metrics = Metrics(node)

    def proposed(name: str) -> None:
        visit = Visit(JobId("n1/1/1/1.1"), 1, "proposer", NodeId(name), "lost")
        metrics.saw(Woke(), [Report(QueryId("n1/1/1"), visit)], 0.0)

    def counted() -> set[str]:
        told = samples(metrics.page()[0].decode())
        return {key.partition("peer=")[2] for key in told if "gossip_proposals_total" in key}

    for name in ("n1", "a", "b", "c", "d"):
        proposed(name)
    assert counted() == {"n1", "a", "b", "c", "d"}

    class Digest:
        def __init__(self, node: str) -> None:
            self.node = node

    node.peers = [(Digest(name), 0.0) for name in ("a", "b", "c", "d")]
    proposed("e")
    assert counted() == {"n1", "a", "b", "c", "d", OTHER}
    node.peers = [(Digest("d"), 0.0)]
    proposed("e")
    assert counted() == {"n1", "d", "e", OTHER}


def test_every_offence_is_counted() -> None:
    metrics = Metrics(Still())  # type: ignore[arg-type]
    for _ in range(2):
        metrics.saw(Offended(NodeId("n2"), "flood"), [], 0.0)
    assert samples(metrics.page()[0].decode())["dmoa_peer_offences_total|offence=flood"] == 2


def test_what_was_read_ahead_is_part_of_what_was_read() -> None:
    metrics = Metrics(Still())  # type: ignore[arg-type]
    name = JobId("n1/1/1/2.0")
    prompt = Prompt("aggregator", (), Sampling())
    job = Job(name, QueryId("n1/1/1"), NodeId("n1"), "aggregator", 2, (), (), Sampling(), 9.0)
    for cached, early in ((None, 0), (120, 112)):
        metrics.saw(Woke(), [Serve(job, prompt, 9.0)], 0.0)
        done = Completion("so", "m", 187, 3, cached_tokens=cached, early_tokens=early)
        metrics.saw(Served(name, done), [], 0.0)
    told = samples(metrics.page()[0].decode())
    read = {
        kind: told[f"dmoa_prompt_tokens{kind}_total|role=aggregator"]
        for kind in ("", "_cached", "_early")
    }
    assert read == {"": 374, "_cached": 120, "_early": 112}
    assert told["dmoa_prompt_tokens_early_total|role=proposer"] == 0


async def test_a_mixture_is_counted_at_its_home_and_where_its_jobs_are_served() -> None:
    async with opened() as room, in_process(room.home) as http, in_process(room.nodes["n2"]) as at2:
        assert (await http.post(CHAT, json=body(model="dmoa-m2k3"))).status_code == 200
        told, other = await look(http), await look(at2)
    assert told["dmoa_requests_total|finish_reason=stop|status=ok"] == 1
    assert told["dmoa_e2e_request_latency_seconds_count|model_name=dmoa-m2k3"] == 1
    assert 0.15 < told["dmoa_e2e_request_latency_seconds_sum|model_name=dmoa-m2k3"] < 9
    for name in ("n1", "n2", "n3", "n4"):
        assert told[f"dmoa_gossip_proposals_total|outcome=ok|peer={name}"] == 2
    assert told["dmoa_jobs_total|origin=own|outcome=ok|role=proposer"] == 2
    assert told["dmoa_jobs_total|origin=own|outcome=ok|role=aggregator"] == 1
    assert other["dmoa_jobs_total|origin=peer|outcome=ok|role=proposer"] == 2
    for what in ("queue", "inference"):
        name = f"dmoa_request_{what}_time_seconds_count|role="
        assert (told[f"{name}proposer"], told[f"{name}aggregator"]) == (2, 1)
        assert other[f"{name}proposer"] == 2
    assert other["dmoa_generation_tokens_total|role=proposer"] == 32
    assert other["dmoa_prompt_tokens_total|role=proposer"] > 0
    assert told["dmoa_peers"] == 3
    assert (told["dmoa_requests_running"], told["dmoa_requests_waiting"]) == (0, 0)
    assert told["dmoa_queries_asked_total"] == 1
    assert told["dmoa_serving_job_seconds_total"] > 0.14
    assert not any("_created" in name for name in told)


async def test_the_first_token_counts_from_where_it_was_written() -> None:
    async with opened("n1", seconds=0.4) as room, in_process(room.home) as http:
        for stream in (False, True):
            await http.post(CHAT, json=body(model="local", stream=stream))
        told = await look(http)
    first = told["dmoa_time_to_first_token_seconds_sum|model_name=local"]
    whole = told["dmoa_e2e_request_latency_seconds_sum|model_name=local"]
    assert told["dmoa_time_to_first_token_seconds_count|model_name=local"] == 2
    assert first < whole / 2
    pace = told["dmoa_request_time_per_output_token_seconds_sum"]
    assert pace == pytest.approx((whole - first) / 15, rel=0.2)


async def test_an_answer_that_was_written_at_once_began_when_it_came() -> None:
    fakes: Any = {"n1": Reciter(Completion("all of it", "reciter", 1, 3))}
    async with opened("n1", fakes=fakes) as room, in_process(room.home) as http:
        await http.post(CHAT, json=body(model="local"))
        told = await look(http)
    assert told["dmoa_time_to_first_token_seconds_count|model_name=local"] == 1
    assert told["dmoa_request_time_per_output_token_seconds_count"] == 0


@pytest.mark.real
async def test_what_fails_is_counted_as_what_it_is() -> None:
    limits = Limits(queue_jobs=1)
    fakes: Any = {"n1": Fickle("n1", "rubbish", seconds=0.3)}
    async with opened("n1", fakes=fakes, limits=limits) as room, served(room.home) as http:
        assert (await http.post(CHAT, json=body(model="dmoa-m1k0"))).status_code == 200
        assert (await http.post(CHAT, json=body(model="local"))).status_code == 502
        fakes["n1"].mood = ""
        async with http.stream("POST", CHAT, json=body(model="local", stream=True)) as stream:
            await until(lambda: fakes["n1"].active)
            assert (await http.post(CHAT, json=body(model="local"))).status_code == 429
            await stream.aclose()
        await until(room.idle)
        told = await look(http)
    requests = {key: value for key, value in told.items() if value and "requests_total" in key}
    assert requests == {
        "dmoa_requests_total|finish_reason=stop|status=degraded": 1,
        "dmoa_requests_total|finish_reason=|status=backend": 1,
        "dmoa_requests_total|finish_reason=|status=overloaded": 1,
        "dmoa_requests_total|finish_reason=|status=abandoned": 1,
    }
    assert told["dmoa_degradations_total|kind=unaggregated"] == 1
    assert told["dmoa_queries_refused_total"] == 1
    assert told["dmoa_jobs_total|origin=own|outcome=rubbish|role=aggregator"] == 2
    assert told["dmoa_jobs_total|origin=own|outcome=stopped|role=aggregator"] == 1


async def test_a_node_that_is_not_open_tells_of_its_process_alone() -> None:
    async with opened("n1", wait=False) as room, in_process(room.home) as http:
        told = await look(http)
        assert (await http.get("/livez")).json() == {"status": "ok"}
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
        assert "dmoa_peers" not in told
        await room.home.open()
        assert (await http.get("/readyz")).json() == {"status": "ok"}
        assert (await look(http))["dmoa_peers"] == 0
        assert (await http.get("/version")).json().keys() == {"version"}


@pytest.mark.parametrize("model", ["dmoa-m1k1"])
async def test_names_units_and_types_are_as_prometheus_wants_them(model: str) -> None:
    async with opened("n1", "n2") as room, in_process(room.home) as http:
        await busy(room, http, model)
        plain = await http.get("/metrics")
        accept = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        exact = await http.get("/metrics", headers=accept)
        odd = await http.get("/metrics", headers={"accept": "text/plain;version=x,,;q=y"})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert exact.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert odd.status_code == 200
    families = list(read_open(exact.text))  # which checks order, ends and histograms
    assert {each.name for each in families} >= {"dmoa_requests", "dmoa_build_info"}
    for family in read_plain(plain.text):
        assert [flaw for flaw in flaws(family) if not family.name.startswith("process_")] == []
    names = [family.name for family in read_plain(plain.text)]
    assert len(names) == len(set(names)) > 25


async def busy(room: Room, http: httpx2.AsyncClient, model: str) -> None:
    assert (await http.post(CHAT, json=body(model=model))).status_code == 200
    await until(room.idle)


def flaws(family: Any) -> list[str]:
    """What promtool's linter would say of a family, and some that we hold to beside."""
    name, kind, found = family.name, family.type, []
    if not re.fullmatch(r"dmoa_[a-z0-9]+(_[a-z0-9]+)*", name):
        found.append(f"{name} is no name of ours")
    if not re.fullmatch(r"[A-Zk].*\.", family.documentation):
        found.append(f"{name} is not explained")
    if ABBREVIATED.search(name):
        found.append(f"{name} has an abbreviated unit")
    if (
        re.search(r"_(total|sum|count|bucket|gauge|counter|histogram)\b", name)
        and kind != "counter"
    ):
        found.append(f"{name} bears its type")
    if kind == "counter":
        found += [each.name for each in family.samples if not each.name.endswith("_total")]
    elif name.rpartition("_")[2] not in {"histogram": ("seconds",), "gauge": GAUGED}[kind]:
        found.append(f"{name} has no unit")
    for each in family.samples:
        found += [label for label in each.labels if not re.fullmatch(r"[a-z_]+", label)]
    return found


def test_the_rules_of_naming_can_be_broken() -> None:
    class Family:
        documentation = "Told."
        samples: tuple[Any, ...] = ()

        def __init__(self, name: str, kind: str, told: str = "Told.") -> None:
            self.name, self.type, self.documentation = name, kind, told

    bad = [Family("dmoa_wait_ms", "gauge"), Family("dmoa_jobs_total", "gauge")]
    bad += [Family("dmoaJobs", "counter"), Family("dmoa_time", "histogram")]
    bad += [Family("dmoa_peers", "gauge", ""), Family("dmoa_load", "gauge")]
    assert all(flaws(each) for each in bad)
    assert flaws(Family("dmoa_peers", "gauge")) == []
