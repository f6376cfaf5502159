"""When the queues of the network stay bounded (arXiv 2412.21200, Theorem 1)."""

from __future__ import annotations

from dmoa.core.mixture import Mixture


def utilisation(mixture: Mixture, *, arrival_rate: float, service_time: float) -> float:
    """Compute rho = alpha * ((k+1)M + 1) * lambda; queues are bounded iff it is below 1.

    `arrival_rate` is queries per second at *each* node, `service_time` seconds per job.
    """
    return service_time * mixture.visits * arrival_rate


def arrival_rate_max(mixture: Mixture, *, service_time: float) -> float:
    """Compute the queries per second and node at which rho reaches 1."""
    return 1.0 / (service_time * mixture.visits)
