"""The vocabulary: names of nodes, queries and jobs, and the roles a job can have."""

from __future__ import annotations

import re
from typing import Literal, NewType

NodeId = NewType("NodeId", str)
QueryId = NewType("QueryId", str)
JobId = NewType("JobId", str)

Role = Literal["proposer", "ranker", "aggregator"]
"""The role of one *job*, never of a node: every node plays all. Rankers and aggregators are
home's own."""

SPEAKERS = ("system", "user", "assistant", "tool")
"""Who can speak a turn. Chat templates put the word among their control tokens, so that no
other may come from anybody."""

_PREVIEW = "~"
"""Stands in the name of a preview between that of its job and its number."""
_NODE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def is_node_name(text: str) -> bool:
    """Tell whether `text` can name a node: 1 to 32 of a-z, 0-9 and inner hyphens.

    The alphabet is what fits unescaped into a Zenoh key, a URL and a host name.
    """
    return _NODE.fullmatch(text) is not None


def query_name(home: NodeId, incarnation: int, count: int) -> QueryId:
    """Name the `count`-th query of one life of its home, unique across restarts."""
    return QueryId(f"{home}/{incarnation:x}/{count}")


def job_name(query: QueryId, layer: int, seat: int) -> JobId:
    """Name the job that `query` has at one seat (0 is home's own) of one layer."""
    return JobId(f"{query}/{layer}.{seat}")


def preview_name(job: JobId, number: int) -> JobId:
    """Name the `number`-th preview of a job."""
    return JobId(f"{job}{_PREVIEW}{number}")


def previewed(name: JobId) -> JobId | None:
    """Tell of which job a name is that of a preview; None where it is none."""
    job, mark, number = name.rpartition(_PREVIEW)
    return JobId(job) if mark and number.isdecimal() else None
