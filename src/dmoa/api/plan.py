"""GET /v1/plan: what the network that a node knows would do, were it asked so.

Each node is taken as it says it is: with its slots, and its mean service time. One that has
measured none is taken to be as quick as the others are on average.
"""

from __future__ import annotations

from asyncio import Lock, to_thread
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Protocol

from fastapi import FastAPI, Query

from dmoa.api import models
from dmoa.api.shapes import Json
from dmoa.core import stability
from dmoa.core.digest import Digest
from dmoa.core.limits import Limits
from dmoa.core.mixture import Mixture
from dmoa.core.network import Network

if TYPE_CHECKING:
    from dmoa.theory.latency import Prediction

RATE_MAX = 1e6
"""Queries per second and node that can be asked about."""
TIMES = (1e-6, 86400.0)
"""Seconds per job that a peer's word may be; others are taken as the nearest of these."""
SLOTS_MAX = 1024
"""Of a node, by its own word."""
KNOWN = 64
"""Predictions that are kept; one takes some milliseconds."""


class Known(Protocol):
    """Who knows how nodes stand: one of them, or whoever sees all."""

    limits: Limits

    @property
    def digest(self) -> Digest:
        """How it stands itself, or one of them."""
        ...

    @property
    def peers(self) -> list[tuple[Digest, float]]:
        """How the others stand, with the age of what is known in seconds."""
        ...


def install(app: FastAPI, node: Known) -> None:
    """Serve the plans of a node."""
    alone = Lock()  # a prediction keeps a core busy; nobody needs two at once

    @app.get("/v1/plan")
    async def plan(
        layers: Annotated[int, Query(ge=0, description="M")],
        fanout: Annotated[int, Query(ge=0, description="k")],
        arrival_rate: Annotated[
            float, Query(ge=0, le=RATE_MAX, description="queries/s at each node")
        ],
        *,
        latency: Annotated[bool, Query(description="predict the latency too")] = True,
    ) -> Json:
        """Predict utilisation and latency of the network as this node knows it."""
        mixture = models.within(Mixture(layers, fanout), node.limits)
        digests = [node.digest, *(digest for digest, _ in node.peers)]
        network = network_of(digests, arrival_rate)
        shape: Json = {"layers": layers, "fanout": fanout, "arrival_rate": arrival_rate}
        shape |= {"nodes": len(digests), "visits": mixture.visits}
        if network is None:
            return {**shape, "service_time": None, "why": "no node has measured a service time"}
        network.check(mixture)
        shape |= _loads(digests, network, mixture)
        if not latency:
            return shape
        async with alone:
            prediction = await to_thread(predicted, network, mixture)
        return {**shape, **_times(prediction)}

    _ = plan


def network_of(digests: Sequence[Digest], arrival_rate: float) -> Network | None:
    """Describe the nodes of some digests; None where no service time was measured.

    Times are rounded to 3 digits, so that digests that hardly differ plan alike.
    """
    least, most = TIMES
    told = [each.service_time for each in digests]
    known = [min(max(time, least), most) for time in told if time > 0.0]
    if not known:
        return None
    usual = sum(known) / len(known)
    times = [min(max(time, least), most) if time > 0.0 else usual for time in told]
    return Network(
        (arrival_rate,) * len(digests),
        tuple(float(f"{time:.3g}") for time in times),
        tuple(min(max(each.slots, 1), SLOTS_MAX) for each in digests),
    )


@lru_cache(KNOWN)
def predicted(network: Network, mixture: Mixture) -> Prediction:
    """Predict for exponential service times, as `dmoa plan` does; NetworkShapeError."""
    from dmoa.theory.latency import predict  # noqa: PLC0415 - numpy's 25 MB, where nobody plans
    from dmoa.theory.laws import Exponential  # noqa: PLC0415

    return predict(network, mixture, Exponential())


def _loads(digests: Sequence[Digest], network: Network, mixture: Mixture) -> Json:
    """Tell how busy nodes are: by Theorem 1 with the mean service time, and exactly, one by one.

    Rates are queries per second at each node, times seconds per job.
    """
    mean = sum(network.service_times) / network.nodes
    loads = stability.utilisations(network, mixture)
    busiest = max(loads)
    return {
        "service_time": mean,
        "theorem": stability.utilisation(
            mixture, arrival_rate=network.arrival_rates[0], service_time=mean
        ),
        "utilisation": busiest,
        "bottleneck": digests[loads.index(busiest)].node,
        "arrival_rate_max": stability.arrival_rate_scale_max(_asked(network), mixture),
        "stable": busiest < 1.0,
        "latency": None,
        "doubts": [],
    }


def _times(prediction: Prediction) -> Json:
    """Show how long answers take, in seconds; null where it is not predicted, with why."""
    latency = prediction.latency
    shaped = None if latency is None else asdict(latency)
    return {"latency": shaped, "doubts": list(prediction.doubts)}


def _asked(network: Network) -> Network:
    """Let each node be asked once a second, so that a scale of the rates is a rate."""
    return Network((1.0,) * network.nodes, network.service_times, network.slots)
