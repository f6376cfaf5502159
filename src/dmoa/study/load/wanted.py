"""From what a person wrote to the plan of a load test; what cannot be is refused in one line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from dmoa.config import load
from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.errors import ConfigError, UsageError
from dmoa.sim.setting import Bursts, Recorded
from dmoa.study import spelling
from dmoa.study.load.plan import Plan
from dmoa.study.load.schedule import built_in, read_prompts
from dmoa.study.network_file import parse_counts, parse_numbers

MODES = ("steady", "paper")
"""What nodes can do; the first is what they do unless told otherwise."""
SECONDS = 60.0
"""That a test asks for, where nothing else says how long."""
CHANGES = ("choice", "order", "hedge", "quorum", "eager", "deadline", "queue_jobs")
"""Settings of nodes that a test may change."""
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of `dmoa load`, as they were written."""

    urls: tuple[str, ...]
    local: int | None
    service: str | None
    cv: float
    slots: str | None
    mode: str | None
    changes: str | None
    alternate: str | None
    rate: str | None
    rho: float | None
    bursts: str | None
    trace: Path | None
    seconds: float | None
    layers: int
    fanout: int
    deadline: float | None
    prompts: Path | None
    in_flight: int
    poll: float
    drain: float | None
    warmup: float
    worlds: int
    seed: int


# -- from options to a plan -------------------------------------------------------------


def modes_of(wanted: Wanted) -> Sequence[str | None]:
    """List the modes of the networks that are tested; None is whatever theirs is."""
    if bool(wanted.urls) == (wanted.local is not None):
        raise UsageError(
            "a load test needs nodes"
            if not wanted.urls
            else "--url and --local exclude each other",
            hint="give --url URL for nodes that run, or --local N to start some",
        )
    own = {"--mode": wanted.mode, "--alternate": wanted.alternate, "--slots": wanted.slots}
    own["--set"] = wanted.changes
    if wanted.local is None:
        for name, value in own.items():
            if value is not None:
                raise UsageError(
                    f"{name} is for nodes that are started here, with --local",
                    hint="give it to `dmoa up`",
                )
        return (None,)
    if wanted.alternate is None:
        return (wanted.mode or MODES[0],)
    modes = [each.strip() for each in wanted.alternate.split(",")]
    if wanted.mode is not None or len(dict.fromkeys(modes)) != len(modes) or len(modes) < 2:  # noqa: PLR2004
        raise UsageError(
            "--alternate takes two modes, and no --mode beside it", hint="write paper,steady"
        )
    for mode in modes:
        if mode not in MODES:
            raise UsageError(f"there is no mode {mode!r}", hint=f"choose of {', '.join(MODES)}")
    return modes


def plan_of(wanted: Wanted, mode: str | None) -> Plan:
    """Make the plan of a test on nodes of one mode."""
    count = wanted.local or len(wanted.urls)
    mixture = Mixture(wanted.layers, wanted.fanout)
    services, slots = _services(wanted, count), _slots(wanted, count)
    rates, trace, bursts = _rates(wanted, count), _trace(wanted, count), _bursts(wanted)
    options: tuple[str, ...] = ()
    if wanted.local is None:
        nodes: dict[str, Any] = {"urls": list(wanted.urls)}
    else:
        _check_peers(count, mixture)
        changes = {"mode": mode or MODES[0], **_changes(wanted.changes)}
        nodes = {"local": count, "cv": wanted.cv, "slots": list(slots), **changes}
        options = _options(changes, wanted.changes)
    return Plan(
        nodes=nodes,
        count=count,
        mixture=mixture,
        options=options,
        prompts=built_in() if wanted.prompts is None else read_prompts(wanted.prompts),
        rates=rates,
        rho=wanted.rho,
        service_times=services,
        slots=slots if wanted.local is not None else (),
        bursts=bursts,
        trace=trace,
        seconds=wanted.seconds or (inf if trace else SECONDS),
        seed=wanted.seed,
        deadline=wanted.deadline,
        in_flight=wanted.in_flight,
        poll=wanted.poll,
        drain=wanted.drain,
        warmup=wanted.warmup,
    )


def _changes(text: str | None) -> dict[str, str]:
    """Read settings of nodes such as `hedge=0,queue_jobs=1000`."""
    found: dict[str, str] = {}
    for part in (text or "").split(",") if text else ():
        key, equals, value = (each.strip() for each in part.partition("="))
        key = key.replace("-", "_")
        if not equals or key not in CHANGES:
            raise UsageError(
                f"--set {part.strip()!r} names no setting that a test may change",
                hint=f"settings: {', '.join(CHANGES)}",
            )
        found[key] = value
    return found


def _options(changes: dict[str, str], text: str | None) -> tuple[str, ...]:
    """Write settings as arguments of `dmoa up`, once they have been looked over."""
    environ = {f"DMOA_{key.upper()}": value for key, value in changes.items()}
    try:
        settings = load(environ=environ, file=Path(os.devnull))
    except ConfigError as error:
        _, _, what = error.message.partition(": ")  # where it was read is of no use here
        hint = error.hint or "see `dmoa up --help`"
        raise UsageError(f"--set {text}: {what or error.message}", hint=hint) from None
    words: list[str] = []
    for key in changes:
        flag, value = key.replace("_", "-"), getattr(settings, key)
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return tuple(words)


def _check_peers(count: int, mixture: Mixture) -> None:
    """Refuse a fanout for which too few nodes would be there."""
    Network.alike(count, arrival_rate=0.0).check(mixture)


def _each(values: tuple[Any, ...], count: int, what: str) -> tuple[Any, ...]:
    if len(values) not in (1, count):
        raise UsageError(
            f"{what} has {len(values)} values, and there are {count} nodes",
            hint="give one for all, or one for each",
        )
    return values if len(values) == count else values * count


def _services(wanted: Wanted, count: int) -> tuple[float, ...]:
    if wanted.service is None:
        if wanted.local is not None:
            raise UsageError(
                "--local needs to know how long a job takes", hint="add --service SECONDS"
            )
        return ()
    times = parse_numbers(wanted.service, "--service")
    if not all(isfinite(each) and 0.0 < each <= _DAY for each in times):
        raise UsageError(
            f"--service takes seconds, more than 0, not {wanted.service!r}",
            hint="write --service 0.2, or one for each node like 0.1,0.1,0.4",
        )
    return _each(times, count, "--service")


def _slots(wanted: Wanted, count: int) -> tuple[int, ...]:
    slots = parse_counts(wanted.slots or "1", "--slots")
    if min(slots) < 1:
        raise UsageError("--slots takes 1 or more", hint="write --slots 2")
    return _each(slots, count, "--slots")


def _rates(wanted: Wanted, count: int) -> tuple[float, ...]:
    """Read the rates; () where something else says how often is asked."""
    given = [each for each in (wanted.rate, wanted.rho, wanted.trace) if each is not None]
    if len(given) != 1:
        raise UsageError(
            "give --rate, --rho or a --trace" + (", and not two of them" if given else ""),
            hint="--rate 0.2 asks every node 0.2 queries/s, --rho 0.7 as many as fit",
        )
    if wanted.rate is None:
        return ()
    rates = parse_numbers(wanted.rate, "--rate")
    if not all(isfinite(each) and each >= 0.0 for each in rates) or not any(rates):
        raise UsageError(
            f"--rate takes queries/s above 0, not {wanted.rate!r}", hint="write --rate 0.2"
        )
    return _each(rates, count, "--rate")


def _trace(wanted: Wanted, count: int) -> Recorded | None:
    if wanted.trace is None:
        return None
    if wanted.bursts is not None:
        raise UsageError("a trace has its own arrivals, and --bursts others", hint="give one")
    found = spelling.trace(wanted.trace)
    if max(found.homes) >= count:
        raise UsageError(
            f"the trace asks node {max(found.homes) + 1}, and there are {count}",
            hint="test as many nodes as the trace has",
        )
    return found


def _bursts(wanted: Wanted) -> Bursts | None:
    if wanted.bursts is None:
        return None
    found = spelling.arrivals(wanted.bursts) if "/" in wanted.bursts else None
    if not isinstance(found, Bursts):
        raise UsageError(
            f"--bursts {wanted.bursts!r} is nothing that can be",
            hint="write LOW/HIGH:SECONDS/SECONDS, for example 0.3/4:40/6",
        )
    return found
