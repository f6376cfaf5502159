"""How a node stands, for Prometheus: read when somebody looks, kept by nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from dmoa.core.digest import Digest
from dmoa.core.effects import Census, Standing
from dmoa.core.job import Profile
from dmoa.core.limits import Limits
from dmoa.core.names import NodeId, QueryId


class Watched(Protocol):
    """What is looked at of a node."""

    limits: Limits

    @property
    def id(self) -> NodeId:
        """Its name."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the rest can be read; BackendUnavailableError where it is not."""
        ...

    @property
    def mode(self) -> str:
        """Whether it keeps to the paper."""
        ...

    @property
    def profile(self) -> Profile:
        """Its model."""
        ...

    @property
    def digest(self) -> Digest:
        """How it stands, as it tells its peers."""
        ...

    @property
    def census(self) -> Census:
        """Who is here, and what was counted."""
        ...

    @property
    def peers(self) -> Sequence[tuple[Digest, float]]:
        """The living peers."""
        ...

    @property
    def standings(self) -> Sequence[Standing]:
        """The own queries under way."""
        ...

    def first_token(self, query: QueryId) -> float | None:
        """When the answer of a query that is followed began, by the loop's clock (seconds)."""
        ...


class Gauges:
    """The collector of one node; it has nothing to tell while the node is not open."""

    def __init__(self, node: Watched) -> None:
        self._node = node

    def describe(self) -> Iterable[Metric]:
        """Tell nothing beforehand, so that nothing is read where nobody looks."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read how the node stands now."""
        if not self._node.is_open:
            return
        digest, census = self._node.digest, self._node.census
        queries, peers = len(self._node.standings), len(self._node.peers)
        for name, told, value in (
            ("requests_running", "Jobs in service.", census.serving),
            ("requests_waiting", "Jobs that wait for a slot.", census.waiting),
            ("requests_reading", "Jobs to come whose prompts are read ahead.", census.reading),
            ("slots", "Jobs that are served at once at most.", census.slots),
            (
                "queue_limit",
                "Jobs that may wait or be served at once.",
                self._node.limits.queue_jobs,
            ),
            ("queries_running", "Own queries under way.", queries),
            ("peers", "Peers that are alive.", peers),
            (
                "utilisation_ratio",
                "Rho: jobs offered over jobs that it can do; stable below 1.",
                digest.utilisation,
            ),
            ("mixture_layers", "M that a query asked now would get.", digest.layers),
            ("mixture_fanout", "k that a query asked now would get.", digest.fanout),
        ):
            yield GaugeMetricFamily(f"dmoa_{name}", told, value=value)
        for name, told, value in (
            ("queries_asked", "Own queries asked, refused ones too.", census.queries),
            ("queries_refused", "Own queries that were not taken.", census.refused),
            ("jobs_declined", "Jobs of peers that were not taken.", census.declined),
            ("waiting_job_seconds", "Seconds that jobs waited, summed.", census.waiting_seconds),
            (
                "serving_job_seconds",
                "Seconds that jobs were served, summed.",
                census.serving_seconds,
            ),
        ):
            yield CounterMetricFamily(f"dmoa_{name}", told, value=value)
        yield self._build(digest)

    def _build(self, digest: Digest) -> Metric:
        """Tell what runs here, in labels of a constant, as others do."""
        labels = {
            "version": version("dmoa"),
            "node": digest.node,
            "model": _sendable(digest.model),
            "mode": self._node.mode,
        }
        built = GaugeMetricFamily("dmoa_build_info", "What runs here.", labels=tuple(labels))
        built.add_metric(tuple(labels.values()), 1)
        return built


def _sendable(text: str) -> str:
    """Replace what no page can carry: half of a character, from a badly set variable."""
    return text.encode(errors="replace").decode()
