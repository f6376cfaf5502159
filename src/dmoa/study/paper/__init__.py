"""The paper's claims, one module each: measured again, beside what the paper says.

Each module has `measure(effort, seed, progress) -> Claim`; `CLAIMS` names them.
"""

from __future__ import annotations

from importlib import import_module

from dmoa.study.paper.claim import Claim, Progress

CLAIMS = {
    "theorem1": "queues stay bounded if and only if rho < 1",
    "remark1": "which node decides, where nodes are not alike",
    "table1": "latency and queue of four nodes with one model",
    "table2": "the same with four models, loaded within the timed call",
    "overload": "what is left of the goodput beyond rho = 1",
    "policies": "what each policy gains over the paper's protocol",
}
"""What can be measured again, and in which words."""


def measure(name: str, *, effort: float = 1.0, seed: int = 1, progress: Progress) -> Claim:
    """Measure one of `CLAIMS` again.

    `effort` scales how long it simulates: 1 for what the documents quote, less for a glance.
    """
    module = import_module(f"dmoa.study.paper.{name}")
    return module.measure(effort=effort, seed=seed, progress=progress)
