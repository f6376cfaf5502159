"""The network around a running node: who reaches whom, whose clock is off, who runs what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dmoa.doctor import Finding

SKEW = 30.0
"""Seconds by which clocks may differ: seals are refused from 300 on."""
SLOW = 0.5
"""Seconds to a peer and back, from which on it is worth knowing."""


@dataclass(frozen=True, slots=True)
class Roll:
    """What one peer said when it was asked; `flaw` says why it did not, where it did not.

    `ahead` is by how many seconds its clock is ahead of ours, `away` the seconds to it and back;
    `hears` are the names of the peers that it hears, itself left out.
    """

    node: str
    version: str = ""
    ahead: float = 0.0
    away: float = 0.0
    hears: tuple[str, ...] = ()
    flaw: str = ""


def meets(here: str, hears: Sequence[str], rolls: Sequence[Roll]) -> list[Finding]:
    """Look at every pair of nodes, in both directions."""
    heard: dict[str, frozenset[str]] = {here: frozenset(hears)}
    heard |= {each.node: frozenset(each.hears) for each in rolls if not each.flaw}
    silent = {each.node: each.flaw for each in rolls if each.flaw}
    found = [
        Finding(
            "reach",
            "bad",
            f"{here} hears {node}, and cannot ask it: {flaw}",
            f"look at {node}: does a firewall let {here} in, is it overloaded?",
        )
        for node, flaw in silent.items()
    ]
    found += [_deaf(one, other) for one, other in _gaps(heard)]
    pairs = len(heard) * (len(heard) - 1)
    if not found and len(heard) == 1:
        fix = "start another node with `--connect`, or `dmoa realm invite` one"
        return [Finding("reach", "note", f"{here} is alone", fix)]
    if not found:
        told = f"{len(heard)} nodes, all {pairs} ways between them are open"
        return [Finding("reach", "ok", told)]
    return found


def _gaps(heard: Mapping[str, frozenset[str]]) -> list[tuple[str, str]]:
    """List the pairs of which the first does not hear the second."""
    return [
        (one, other) for one in heard for other in heard if one != other and other not in heard[one]
    ]


def _deaf(one: str, other: str) -> Finding:
    fix = (
        f"let {one} `connect` to {other}, or both to a third; a node behind a router that lets "
        "nobody in is `relayed`"
    )
    return Finding("reach", "bad", f"{one} does not hear {other}", fix)


def clocks(rolls: Sequence[Roll]) -> Finding | list[Finding]:
    """Compare the clocks, as well as the way there and back lets."""
    asked = [each for each in rolls if not each.flaw]
    if not asked:
        return []
    off = [each for each in asked if abs(each.ahead) - each.away / 2 > SKEW]
    if not off:
        most = max(asked, key=lambda each: abs(each.ahead))
        told = f"within {abs(most.ahead):.1f} s of this node's, give or take {most.away / 2:.1f} s"
        return Finding("clocks", "ok", told)
    return [
        Finding(
            "clocks",
            "bad",
            f"the clock of {each.node} is {abs(each.ahead):.0f} s "
            f"{'ahead of' if each.ahead > 0 else 'behind'} this node's",
            "set both by the network's time (NTP): certificates and seals depend on it",
        )
        for each in off
    ]


def versions(own: str, rolls: Sequence[Roll]) -> Finding | list[Finding]:
    """Compare the releases that run."""
    others = [each for each in rolls if not each.flaw and each.version != own]
    if not others:
        return Finding("versions", "ok", f"all nodes run dmoa {own}") if rolls else []
    named = ", ".join(f"{each.node} {each.version}" for each in others)
    fix = "run the same release on all nodes of a realm"
    return Finding("versions", "note", f"this node runs dmoa {own}; {named}", fix)


def distances(rolls: Sequence[Roll]) -> list[Finding]:
    """Name the peers that are far, or too busy to answer at once."""
    return [
        Finding(
            "distance",
            "note",
            f"{each.node} took {each.away:.1f} s to answer",
            "look at its network and its load; far peers make layers late",
        )
        for each in rolls
        if not each.flaw and each.away > SLOW
    ]
