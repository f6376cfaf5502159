"""What is asked of whom: configurations as people write them, and the run that keeps them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import msgspec

from dmoa.core.limits import Limits
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.recipe import PAPER_RECIPE, Recipe
from dmoa.errors import MixtureError, UsageError
from dmoa.study.evals.folder import Folder, hash_of
from dmoa.study.evals.records import Answer, Item, Member, Plan, Span
from dmoa.study.lines import Lines

LOCAL = "local"
DEFAULT = "dmoa"
_SEED_BITS = 0x7FFFFFFF
_HINT = "write local, local@NODE, dmoa-mMkK or dmoa-mMkK-RECIPE, with commas between"

# -- configurations -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Configuration:
    """A model name, and the node that is its home; every node in turn where that is empty.

    `mixture` is None for `dmoa`, of which each node has its own.
    """

    model: str
    home: str = ""
    mixture: Mixture | None = None
    recipe: Recipe = PAPER_RECIPE

    @property
    def name(self) -> str:
        """As it is written: MODEL, or MODEL@NODE."""
        return f"{self.model}@{self.home}" if self.home else self.model

    @property
    def visits(self) -> int:
        """Jobs of one query, as far as that is known before."""
        return (self.mixture or Mixture()).visits

    @property
    def peers(self) -> int:
        """Peers that a home has to know."""
        asks = self.mixture is not None and self.mixture.layers and not self.recipe.own
        return self.mixture.fanout if self.mixture is not None and asks else 0

    def homes(self, nodes: Sequence[str]) -> tuple[int, ...]:
        """Tell the indices of the nodes that are asked, item by item in turn."""
        return (nodes.index(self.home),) if self.home else tuple(range(len(nodes)))


def configuration(text: str) -> Configuration:
    """Read `MODEL` or `MODEL@NODE`; UsageError if there can be no such."""
    model, at, home = text.strip().partition("@")
    if at and not home:
        raise UsageError(f"{text!r} names no node behind the @", hint=_HINT)
    if model == LOCAL:
        return Configuration(LOCAL, home, ALONE)
    if model == DEFAULT:
        return Configuration(DEFAULT, home)
    begin, _, rest = model.partition("-")
    shape, dash, words = rest.partition("-")
    if begin != DEFAULT or not Mixture.is_name(shape) or (dash and not words):
        raise UsageError(f"{text!r} is no configuration", hint=_HINT)
    mixture, recipe = Mixture.parse(shape), Recipe.parse(words)
    limits = Limits()
    if mixture.layers > limits.layers or mixture.fanout > limits.fanout:
        raise MixtureError(
            f"{text}: {mixture.layers} layers with a fanout of {mixture.fanout} are too many",
            hint=f"at most {limits.layers} layers and a fanout of {limits.fanout} are allowed",
        )
    # words in their own order, so that one recipe is one configuration
    named = f"{DEFAULT}-{mixture.name}" + (f"-{recipe.name}" if recipe.name else "")
    return Configuration(named, home, mixture, recipe)


def configurations(
    text: str, nodes: Sequence[str], *, peers: int, members: bool = True
) -> tuple[Configuration, ...]:
    """Read a list with commas; `local` is each node's own model.

    Of `members` every node's own model comes first, whether it is in the list or not: without
    them nobody could tell which of them is the best. UsageError where one cannot be, or needs
    more than the `peers` that every node knows.
    """
    read = [configuration(each) for each in text.split(",") if each.strip()]
    if not read:
        raise UsageError("--ask names no configuration", hint=_HINT)
    alone = [Configuration(LOCAL, node, ALONE) for node in nodes]
    found = list(alone) if members else []
    for each in read:
        found += alone if each.model == LOCAL and not each.home else [each]
    for each in found:
        if each.home and each.home not in nodes:
            raise UsageError(
                f"{each.name}: there is no node {each.home[:40]!r}",
                hint=f"nodes: {', '.join(nodes)}",
            )
        if each.peers > peers:
            raise UsageError(
                f"{each.name} asks {each.peers} peers, and there are {peers} beside a home",
                hint="wait until the nodes have met, add some, or ask for a smaller fanout",
            )
    return tuple({each.name: each for each in found}.values())


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan as far as a person has said it; what the nodes are is not known yet.

    `ask` is a list of configurations. `started` are the members of a run that starts them
    itself; without any they are whoever answers. Rates are queries per second at each node.
    """

    ask: str
    items: tuple[Item, ...]
    seed: int = 0
    rate: float = 0.0
    concurrency: int = 0
    deadline: float = 0.0
    max_tokens: int = 0
    members: bool = True
    started: tuple[Member, ...] = ()

    def configurations(self, nodes: Sequence[str], peers: int) -> tuple[Configuration, ...]:
        """Read what is asked of these nodes, each of which knows so many `peers`."""
        return configurations(self.ask, nodes, peers=peers, members=self.members)

    def known(self) -> dict[str, Any]:
        """Tell the fields of the plan that are sure before any node was met."""
        known: dict[str, Any] = {
            "items": hash_of(self.items),
            "count": len(self.items),
            "seed": self.seed,
            "rate": self.rate,
            "concurrency": self.concurrency,
            "deadline": self.deadline,
            "max_tokens": self.max_tokens,
        }
        if self.started:
            names = [each.node for each in self.started]
            wanted = self.configurations(names, len(names) - 1)
            known["configurations"] = tuple(each.name for each in wanted)
        return known

    def check(self, run: Run) -> None:
        """Refuse, before any node starts, a folder whose run is another one."""
        run.check(self.known())
        if run.plan is not None and self.started:
            # their models' names are told once they run
            settings = {each.node: each.settings for each in run.plan.members}
            if settings != {each.node: each.settings for each in self.started}:
                run.check({"members": self.started})

    def joined(self, met: Sequence[Member]) -> tuple[Member, ...]:
        """Bring together what nodes say of themselves and what they were started with."""
        given = {each.node: each.settings for each in self.started}
        return tuple(Member(each.node, each.model, given.get(each.node, {})) for each in met)

    def plan(self, wanted: Sequence[Configuration], members: Sequence[Member]) -> Plan:
        """Make the plan."""
        known = self.known()
        known["configurations"] = tuple(each.name for each in wanted)
        return Plan(members=tuple(members), **known)


# -- dice -----------------------------------------------------------------------------------


def seed_of(seed: int, configuration: str, item: str) -> int:
    """Make the seed of one query: 31 bits that depend on nothing else."""
    text = "\0".join((str(seed), configuration, item))
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big") & _SEED_BITS


def due_times(count: int, homes: Sequence[int], rate: float, seed: int) -> tuple[float, ...]:
    """Draw when each item is due (seconds): at each home a Poisson process of its own.

    Item number i is asked at home i mod n. The dice depend on `seed` and the home alone, so
    that every configuration meets the same arrivals.
    """
    dice = {home: random.Random(f"arrivals {seed} {home}") for home in homes}
    at = dict.fromkeys(homes, 0.0)
    times: list[float] = []
    for number in range(count):
        home = homes[number % len(homes)]
        at[home] += dice[home].expovariate(rate)
        times.append(at[home])
    return tuple(times)


# -- the run ----------------------------------------------------------------------------------


@contextmanager
def written(place: Path) -> Generator[None]:
    """Say in one line where a folder cannot be written: a UsageError."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{place} cannot be written: {error.strerror or error}",
            hint="make room, or name another folder with --out; what it has is kept",
        ) from None


class Run:
    """The answers of a run, in memory and in its file; open it within a `with`.

    UsageError where the folder cannot be written, holds something else, or somebody else is
    writing to it. `plan` is None until it begins.
    """

    def __init__(self, place: Path) -> None:
        self.folder = Folder(place)
        self.plan: Plan | None = None
        self.items: tuple[Item, ...] = ()
        self.answers: dict[tuple[str, str], Answer] = {}
        self.legs = Counter[tuple[str, str]]()
        self._lines = Lines(self.folder.answers_file)

    def __enter__(self) -> Self:
        """Read what is there, and keep others from writing to it."""
        with written(self.folder.place):
            self.folder.place.mkdir(parents=True, exist_ok=True)
        self._lines.__enter__()
        try:
            self._read()
        except BaseException:
            self._lines.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *what: object) -> None:
        """Let go of it; what was written is there already."""
        self._lines.__exit__(None, None, None)

    def check(self, known: Mapping[str, Any]) -> None:
        """Refuse to go on with another plan; `known` are fields of the one that is wanted."""
        if self.plan is None:
            return
        differing = [key for key, value in known.items() if getattr(self.plan, key) != value]
        if differing:
            shown = "; ".join(
                f"{key} was {_short(getattr(self.plan, key))} and is {_short(known[key])}"
                for key in differing
            )
            raise UsageError(
                f"{self.folder.place} has a run of another plan: {shown}",
                hint="name another folder with --out, or give what the run was begun with",
            )

    def begin(self, plan: Plan, items: Sequence[Item]) -> None:
        """Begin, or go on where the same was begun before."""
        self.check({key: getattr(plan, key) for key in plan.__struct_fields__})
        if self.plan is None:
            with written(self.folder.place):
                self.folder.write_items(items)
                self._lines.add("plan", plan, sync=True)
            self.plan, self.items = plan, tuple(items)

    def answer(self, answer: Answer) -> None:
        """Take what came of an item; it is on the disk when this returns."""
        with written(self.folder.place):
            self._lines.add("answer", answer, sync=True)
        self.answers[answer.configuration, answer.item] = answer

    def span(self, span: Span) -> None:
        """Take how long a node was watched."""
        with written(self.folder.place):
            self._lines.add("span", span)
        self._leg(span)

    def left(self, configuration: str, *, again: bool = False) -> list[int]:
        """List the numbers of the items that have no answer; those that failed too, if `again`."""
        found: list[int] = []
        for number, item in enumerate(self.items):
            answer = self.answers.get((configuration, item.id))
            if answer is None or (again and answer.status == "failed"):
                found.append(number)
        return found

    def of(self, configuration: str) -> list[Answer]:
        """List the answers of a configuration."""
        pairs = ((configuration, each.id) for each in self.items)
        return [self.answers[pair] for pair in pairs if pair in self.answers]

    def _read(self) -> None:
        for number, row in enumerate(self._lines.rows, 1):
            try:
                well = (row["kind"] == "plan") is (number == 1)
                if well:
                    self._know(row)
                why = "it stands where it cannot"
            except msgspec.ValidationError as error:
                well, why = False, str(error)
            if not well:
                raise UsageError(
                    f"{self._lines.file}, line {number}: was changed after it was written ({why})",
                    hint="name another folder with --out",
                )
        if self.plan is not None:
            self.items = self.folder.items()
            if hash_of(self.items) != self.plan.items:
                raise UsageError(
                    f"{self.folder.items_file} was changed after it was written",
                    hint="name another folder with --out",
                )

    def _know(self, row: dict[str, Any]) -> None:
        match row["kind"]:
            case "plan":
                self.plan = msgspec.convert(row, Plan)
            case "answer":
                answer = msgspec.convert(row, Answer)
                self.answers[answer.configuration, answer.item] = answer
            case "span":
                self._leg(msgspec.convert(row, Span))
            case kind:
                raise msgspec.ValidationError(f"{str(kind)[:40]!r} is of no known kind")

    def _leg(self, span: Span) -> None:
        key = (span.configuration, span.node)
        self.legs[key] = max(self.legs[key], span.leg + 1)


def _short(value: object) -> str:
    """Write what a person can compare at a glance."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:59] + "…"  # noqa: PLR2004
