"""What a simulation measured, alike for the world and the kernel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """The measurements of one setting; times in seconds, queues in jobs, rates per second.

    Of the queries asked after the warmup: `asked`, `answered` until the last arrival (or
    until all were, where the queues are stable), `refused` at the door. `mean`, `p50`, `p95`,
    `p99` and `longest` are of the time from question to answer (sojourn) of those answered;
    `in_time` is the share of those *asked* that were answered within the deadline.
    `goodput` is answers per second in the whole network while arrivals went on; `offered`
    queries per second. `proposals` is the mean number that an answer was made of, `visits`
    the mean number of jobs that were completed for it.

    `waiting` and `length` are time averages per node of the jobs that wait, and of those that
    wait or are in service, while arrivals went on after the warmup; `utilisation` is the busy
    share of each node's slots. `growth` is the slope of the jobs per node over time (jobs per
    second): about 0 in a stable network. `span` is the simulated seconds that were counted.
    `jobs` counts services that ended, also of the warmup, `events` those and the arrivals,
    and `cpu_seconds` what it took to simulate them.
    """

    asked: int
    answered: int
    refused: int
    mean: float
    p50: float
    p95: float
    p99: float
    longest: float
    in_time: float
    goodput: float
    offered: float
    proposals: float
    visits: float
    waiting: float
    length: float
    utilisation: tuple[float, ...]
    growth: float
    span: float
    jobs: int
    events: int
    cpu_seconds: float
    engine: str
