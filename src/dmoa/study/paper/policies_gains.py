"""What was measured of pairs of settings, and what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

from dmoa.study.paper import policies_cases as cases
from dmoa.study.paper.claim import Finding, Value
from dmoa.study.paper.policies_cases import Group, Pair
from dmoa.study.statistics import Estimate

CLOSE = 0.05
"""How far a change may be from the one claimed."""
LITTLE = 0.01
"""A change of a mean that is no harm."""
FLAT = 1.0
"""Growth, in per cent of the jobs that come, up to which queues count as flat."""
TIMES = 8.0
"""How many times better unlike nodes are to be."""
SAVED = 0.3
"""What hedging is to save of the mean."""
KEPT = 95.0
"""The goodput, in per cent of the queries, that bounds are to keep."""
LOST, ALL = 20.0, 99.9
"""What a fixed mixture loses at least in bursts, and what all is, in per cent."""
SMALL = 0.2
"""What an order alone changes at most."""
_QUORUM = (-0.59, -0.82)


@dataclass(frozen=True, slots=True)
class Compared:
    """A pair and what was measured of it; changes are relative, None where there is no base."""

    pair: Pair
    before: Estimate
    after: Estimate
    change: Estimate | None
    p95: Estimate | None

    @property
    def factor(self) -> float:
        """How many times as large it was before."""
        return self.before.mean / self.after.mean

    @property
    def row(self) -> list[Value]:
        """The row of the table."""
        pair = self.pair
        return [
            pair.name,
            pair.load,
            pair.gauge,
            cases.UNITS[pair.gauge],
            _finite(self.before.mean),
            _finite(self.after.mean),
            *_percent(self.change),
            *_percent(self.p95),
            pair.claimed or None,
        ]


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _percent(change: Estimate | None) -> tuple[float | None, float | None]:
    if change is None:
        return None, None
    return _finite(100.0 * change.mean), _finite(100.0 * change.half)


def grouped(compared: Sequence[Compared]) -> dict[Group, list[Compared]]:
    """Sort what was compared by what it is about."""
    groups: dict[Group, list[Compared]] = {}
    for each in compared:
        groups.setdefault(each.pair.group, []).append(each)
    return groups


# -- what is asked of it --------------------------------------------------------------


def findings(compared: Sequence[Compared]) -> list[Finding]:
    """Ask what was claimed of the measurements."""
    groups = grouped(compared)
    return [
        *_of_choice(groups["choice"]),
        *_of_unlike(groups["unlike"]),
        _of_capacity(groups["capacity"]),
        *_of_tail(groups["tail"]),
        _of_bounds(groups["bounds"]),
        *_of_bursts(groups["bursts"]),
        _of_orders(groups["order"]),
    ]


def _changed(each: Compared) -> float:
    return each.change.mean if each.change is not None else nan


def _of_choice(choice: Sequence[Compared]) -> list[Finding]:
    found: list[Finding] = []
    for load, claimed in (("rho 0.7", -0.5), ("rho 0.9", -0.75)):
        (fresh,) = [
            each for each in choice if each.pair.load == load and not each.pair.after.gossip
        ]
        found.append(
            Finding(
                f"the best k of 2k: mean {100 * _changed(fresh):+.0f} % at {load} (claimed "
                f"{100 * claimed:+.0f} %, within {100 * CLOSE:.0f})",
                abs(_changed(fresh) - claimed) <= CLOSE,
            )
        )
    worst = max(_changed(each) for each in choice)
    oldest = max(each.pair.after.gossip for each in choice)
    found.append(
        Finding(
            f"it is never worse than uniform draws, with digests of up to {oldest:g} s (at worst "
            f"{100 * worst:+.1f} %)",
            all(_changed(each) <= LITTLE for each in choice),
        )
    )
    return found


def _of_unlike(unlike: Sequence[Compared]) -> list[Finding]:
    load = unlike[0].pair.load
    alone, hedged = [each for each in unlike if each.pair.load == load]
    return [
        Finding(
            f"ten unlike nodes at {load} answer x{hedged.factor:.1f} sooner by choice and hedge "
            f"(at least x{TIMES:g}; by the choice alone x{alone.factor:.1f}, for which x{TIMES:g} "
            "was claimed as well)",
            hedged.factor >= TIMES,
        ),
    ]


def _of_capacity(capacity: Sequence[Compared]) -> Finding:
    flat = sum(each.after.high < FLAT for each in capacity)
    grow = sum(each.before.low > FLAT for each in capacity)
    count = len(capacity)
    return Finding(
        f"at {cases.NEARLY:g} of the best capacity {flat} of {count} unlike networks are stable by "
        f"choice, without any plan; by uniform draws {grow} of {count} grow",
        flat == grow == count,
    )


def _of_tail(tail: Sequence[Compared]) -> list[Finding]:
    hedged = [each for each in tail if each.pair.name.startswith("hedged")]
    quorum = [each for each in tail if each.pair.name.startswith("quorum")]
    calm = [_changed(each) for each in hedged if each.pair.load == "rho 0.5"]
    busy = [_changed(each) for each in hedged if each.pair.load != "rho 0.5"]
    wide = [_changed(each) for each in quorum if each.pair.after.law == cases.WIDE]
    return [
        Finding(
            f"a hedge with cancel changes the mean by {_span(calm)} at rho 0.5",
            bool(calm) and all(each <= -SAVED for each in calm),
        ),
        Finding(
            f"it does no harm at rho 0.85, where it is off most of the time ({_span(busy)})",
            bool(busy) and all(each <= LITTLE for each in busy),
        ),
        Finding(
            f"a quorum of all but one: {_span(wide)} (claimed -59 and -82 %)",
            len(wide) == len(_QUORUM)
            and all(abs(a - b) <= CLOSE for a, b in zip(wide, _QUORUM, strict=True)),
        ),
    ]


def _span(changes: Sequence[float]) -> str:
    return " and ".join(f"{100 * each:+.0f} %" for each in changes)


def _of_bounds(bounds: Sequence[Compared]) -> Finding:
    good = {each.pair.load: each for each in bounds if each.pair.gauge == "goodput"}
    text = ", ".join(
        f"{each.after.mean:.0f} % instead of {each.before.mean:.0f} % at {load}"
        for load, each in good.items()
    )
    late = [each for each in bounds if each.pair.gauge == "in time"]
    return Finding(
        f"bounds keep the goodput: {text}; nearly all in time",
        bool(good) and all(each.after.low >= KEPT for each in (*good.values(), *late)),
    )


def _of_bursts(bursts: Sequence[Compared]) -> list[Finding]:
    little, much = (
        [each for each in bursts if is_steady(each, own)] for own in (cases.LITTLE, cases.MUCH)
    )
    lost = [each.after.mean for each in much if each.pair.gauge == "refused"]
    timely = [each for each in much if each.pair.gauge == "in time"]
    fixed = [each.before.mean for each in little if each.pair.gauge == "refused"]
    late = [each.before.mean for each in timely]
    least = min(each.after.mean for each in timely)
    return [
        Finding(
            f"adaptive mixtures with bounds lose nothing in bursts ({max(lost):.2f} %), and all "
            f"is in time ({least:.2f} %)",
            all(each <= 100.0 - ALL for each in lost)
            and all(each.after.mean >= ALL for each in timely),
        ),
        Finding(
            f"where a fixed M=2, k=3 loses a fifth and more (at least {min(fixed):.0f} %) with a "
            f"bound of {cases.LITTLE} own queries; with one of {cases.MUCH} it is late (never more "
            f"than {max(late):.0f} % in time)",
            all(each >= LOST for each in fixed) and all(each <= 100.0 - LOST for each in late),
        ),
    ]


def is_steady(each: Compared, own: int) -> bool:
    """Tell whether it is all policies together in bursts, with a bound of `own` queries."""
    return each.pair.group == "bursts" and each.pair.name == cases.in_bursts("steady", own)


def _of_orders(orders: Sequence[Compared]) -> Finding:
    changes = [_changed(each) for each in orders]
    tails = [each.p95.mean for each in orders if each.p95 is not None]
    return Finding(
        f"below rho 1 an order alone changes little: the mean by {100 * min(changes):+.0f} to "
        f"{100 * max(changes):+.0f} %, p95 by {100 * min(tails):+.0f} to {100 * max(tails):+.0f} %",
        all(abs(each) <= SMALL for each in changes),
    )
