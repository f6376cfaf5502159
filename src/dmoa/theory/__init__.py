"""The paper's theory as functions: when queues stay bounded, what a network carries, how long.

```python
from dmoa.theory import Mixture, Network, best_gossip, utilisations

network = Network(arrival_rates=(0.02,) * 4, service_times=(1, 1, 1, 4))
utilisations(network, Mixture(1, 2))            # rho of every node
best_gossip(network, Mixture(1, 2)).gain        # 2.0: what choosing peers well would carry
```

What needs numpy is fetched when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.stability import (
    arrival_rate_max,
    arrival_rate_scale_max,
    bottleneck,
    check_gossip,
    draws,
    is_stable,
    uniform_gossip,
    utilisation,
    utilisation_of_slowest,
    utilisations,
)
from dmoa.theory.capacity import Capacity, best_gossip, capacity_scale
from dmoa.theory.laws import (
    Exponential,
    Fixed,
    Law,
    LogNormal,
    Measured,
    Pareto,
    Tokens,
    parse_law,
)
from dmoa.theory.overload import Overload, fluid_overload

if TYPE_CHECKING:
    from dmoa.theory.latency import Latency, Prediction, predict, quick_mean

__all__ = [
    "Capacity",
    "Costs",
    "Exponential",
    "Fixed",
    "Latency",
    "Law",
    "LogNormal",
    "Measured",
    "Mixture",
    "Network",
    "Overload",
    "Pareto",
    "Prediction",
    "Tokens",
    "arrival_rate_max",
    "arrival_rate_scale_max",
    "best_gossip",
    "bottleneck",
    "capacity_scale",
    "check_gossip",
    "draws",
    "fluid_overload",
    "is_stable",
    "parse_law",
    "predict",
    "quick_mean",
    "uniform_gossip",
    "utilisation",
    "utilisation_of_slowest",
    "utilisations",
]

_LATER = dict.fromkeys(("Latency", "Prediction", "predict", "quick_mean"), "dmoa.theory.latency")
"""Public names of modules that import numpy, each with its module."""


def __getattr__(name: str) -> object:
    """Fetch a name whose module was not needed before."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_LATER[name]), name)
    globals()[name] = found
    return found
