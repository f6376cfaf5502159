"""Items asked of live nodes, one configuration after the other, each answer kept as it comes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul

import httpx2
import msgspec

from dmoa.core.mixture import ALONE
from dmoa.errors import PeerSilentError, UnreachableError, UsageError
from dmoa.study.evals.ask_records import Said, Tally, expected_tokens, said_of, tally_of
from dmoa.study.evals.plan import Configuration, Draft, Run, due_times, seed_of
from dmoa.study.evals.records import Answer, Item, Member, Plan
from dmoa.study.evals.watch import Watch
from dmoa.study.load.generator import ENDLESS, greet
from dmoa.study.load.live import CONNECT_SECONDS, SLACK_SECONDS, Nodes, NodeState, not_let_in

GIVE_UP = 10
"""Items in a row that met no node, after which a configuration is left."""
REFUSALS = 10
"""Times that a refused turn is asked again, where nothing says when it is due."""
WAIT_SECONDS = 60.0
"""The longest wait before that, whatever the node says."""
TOLD_SECONDS = 0.5
"""Between two words on how far it is."""
_UNWILLING = ("model_not_found", "invalid_mixture")
"""Codes of errors that every other item of the configuration would meet as well."""


class Speakers(Nodes):
    """The nodes of a run, by their URLs; open them within an `async with`."""

    async def members(self) -> tuple[Member, ...]:
        """Ask all nodes who they are; a NetworkError of the first that does not say."""
        found = [await self._get(node, "/v1/peers", _Here) for node in range(len(self.urls))]
        return tuple(Member(each.node.node, each.node.model) for each in found)

    async def say(self, node: int, body: bytes, patience: float) -> Said:
        """Ask a turn, and wait for all of its answer; what goes wrong is an answer as well."""
        timeout = httpx2.Timeout(patience + SLACK_SECONDS, connect=CONNECT_SECONDS)
        headers = {"content-type": "application/json"}
        try:
            response = await self._http[node].post(
                "/v1/chat/completions", content=body, headers=headers, timeout=timeout
            )
        except httpx2.ReadTimeout:  # it is there, and silent
            return Said("failed", detail="ReadTimeout")
        except httpx2.TransportError as error:
            return Said("failed", detail=type(error).__name__, away=True)
        return said_of(response)


class _Who(msgspec.Struct, frozen=True):
    node: str
    model: str = ""


class _Here(msgspec.Struct, frozen=True):
    node: _Who


@dataclass(frozen=True, slots=True)
class Met:
    """The nodes and who they are, in the order of their URLs.

    `slots` are the jobs each serves at once, `peers` is how many each of them knows at least.
    """

    nodes: Speakers
    members: tuple[Member, ...]
    slots: tuple[int, ...]
    peers: int


async def meet(nodes: Speakers) -> Met:
    """See that all nodes answer, and are different ones.

    A NetworkError of the first that does not answer, a UsageError of one that is named twice.
    """
    states: tuple[NodeState, ...] = await greet(nodes, ALONE)
    slots = tuple(each.slots for each in states)
    return Met(nodes, await nodes.members(), slots, min(len(each.peers) for each in states))


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is: jobs done and in all, what is asked now, and tokens.

    `items` counts those of `configuration` that are over, of `count`. `tokens` are all so far,
    `expected` those of the whole run, None while nothing is known of them.
    """

    done: int
    total: int
    configuration: str
    items: int
    count: int
    tokens: int
    expected: int | None


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A configuration that was left, and how many of its items nobody was asked."""

    configuration: str
    left: int


Told = Callable[[Standing], None]


class _GoneError(Exception):
    """Too many items in a row met no node."""


class Asking:
    """Asks what a run that has begun has no answers to.

    A configuration's items are asked as many at once as its homes have slots, or as the plan
    says; or when they are due, where the plan has a rate. `again` asks those that failed too.
    """

    def __init__(
        self, run: Run, wanted: Sequence[Configuration], met: Met, told: Told, *, again: bool
    ) -> None:
        assert run.plan is not None, "the run has begun"
        self._run = run
        self._plan = run.plan
        self._wanted = tuple(wanted)
        self._nodes = met.nodes
        self._names = [each.node for each in met.members]
        self._slots = met.slots
        self._told = told
        self._again = again
        self._epoch = 0.0
        self._adrift: list[Answer] = []
        self._tallies: dict[str, Tally] = {}
        self._next = 0.0

    async def all(self) -> tuple[Abandoned, ...]:
        """Ask all that is left; tell which configurations had to be left.

        UnreachableError once no node answers, UsageError where nodes know no such model. Being
        cancelled keeps all that was answered; items under way are asked again another time.
        """
        self._epoch = time.time() - asyncio.get_running_loop().time()
        abandoned: list[Abandoned] = []
        for each in self._wanted:
            self._tell(each)
        for each in self._wanted:
            left = self._run.left(each.name, again=self._again)
            if not left:
                continue
            await self._ask_all(each, left)
            if missing := len(self._run.left(each.name)):
                abandoned.append(Abandoned(each.name, missing))
                await self._see_anybody()
        return tuple(abandoned)

    async def _see_anybody(self) -> None:
        """Refuse to go through all that is left where nobody is there to answer."""
        if not any([await self._nodes.sample(each) for each in range(len(self._names))]):
            raise UnreachableError(
                "no node answers any more; what was answered is kept",
                hint="start the nodes again, and then this command",
            )

    async def _ask_all(self, wanted: Configuration, left: Sequence[int]) -> None:
        watch = Watch(self._run, wanted.name, self._names, self._nodes)
        await watch.begin()
        watching = asyncio.create_task(watch.go_on())
        try:
            await self._ask_left(wanted, left)
        except BaseExceptionGroup as trouble:
            for each in trouble.exceptions:
                if not isinstance(each, _GoneError):
                    raise each from None
        finally:
            watching.cancel()
        await self._settle()
        await watch.look()
        self._tell(wanted)

    async def _ask_left(self, wanted: Configuration, left: Sequence[int]) -> None:
        async with asyncio.TaskGroup() as group:
            if self._plan.rate:
                await self._open_loop(group, wanted, left)
                return
            homes = wanted.homes(self._names)
            width = self._plan.concurrency or sum(self._slots[each] for each in homes)
            numbers = iter(left)
            for _ in range(min(width, len(left))):
                group.create_task(self._closed_loop(wanted, numbers))

    async def _closed_loop(self, wanted: Configuration, numbers: Iterator[int]) -> None:
        for number in numbers:
            await self._ask(wanted, number, _now())

    async def _open_loop(
        self, group: asyncio.TaskGroup, wanted: Configuration, left: Sequence[int]
    ) -> None:
        """Ask every item when it is due; of a run that goes on the first that is left is due."""
        homes = wanted.homes(self._names)
        times = due_times(len(self._run.items), homes, self._plan.rate, self._plan.seed)
        ordered = sorted(left, key=lambda number: times[number])
        begin = times[ordered[0]] if len(left) < len(times) else 0.0
        zero = _now() - begin
        for number in ordered:
            await asyncio.sleep(max(0.0, zero + times[number] - _now()))
            group.create_task(self._ask(wanted, number, zero + times[number]))

    # -- one item ---------------------------------------------------------------------------

    async def _ask(self, wanted: Configuration, number: int, due: float) -> None:
        item = self._run.items[number]
        homes = wanted.homes(self._names)
        home = homes[number % len(homes)]
        asked = _Asked(wanted, item, self._names[home], self._plan)
        lag = _now() - due
        while (body := asked.body()) is not None:
            said, waited = await self._say(home, body)
            lag += waited
            asked.take(said)
        if (shut := not_let_in(asked.home, asked.last.detail)) is not None:
            raise shut  # else all that is left would count as failed
        if asked.last.detail in _UNWILLING:
            raise UsageError(
                f"{asked.home} does not offer {wanted.model!r} ({asked.last.detail})",
                hint="see what it offers at GET /v1/models; all nodes need the same version",
            )
        answer = asked.answer(_now() - due, lag, self._epoch + due)
        self._end(wanted, answer, away=asked.last.away)

    async def _say(self, home: int, body: bytes) -> tuple[Said, float]:
        """Ask a turn, again while it is refused and nothing is due; tell the seconds waited."""
        patience, begun = self._plan.deadline or ENDLESS, _now()
        for _ in range(0 if self._plan.rate else REFUSALS):
            sent = _now()
            said = await self._nodes.say(home, body, patience)
            if said.status != "refused":
                return said, sent - begun
            await asyncio.sleep(min(said.retry_after or 1.0, WAIT_SECONDS))
        sent = _now()
        return await self._nodes.say(home, body, patience), sent - begun

    def _end(self, wanted: Configuration, answer: Answer, *, away: bool) -> None:
        """Keep what came; items that met no node only once another has met one."""
        if away:
            self._adrift.append(answer)
            if len(self._adrift) >= GIVE_UP:
                raise _GoneError
            return
        for each in (*self._adrift, answer):
            self._run.answer(each)
        self._adrift.clear()
        if _now() >= self._next:
            self._tell(wanted)

    async def _settle(self) -> None:
        """Keep failures whose home answers; leave the others, to be asked another time."""
        adrift, self._adrift = self._adrift, []
        for each in adrift if len(adrift) < GIVE_UP else ():
            if await self._nodes.sample(self._names.index(each.node)) is not None:
                self._run.answer(each)

    def _tell(self, wanted: Configuration) -> None:
        """Tell how far it is; only what was asked now is counted anew."""
        self._next = _now() + TOLD_SECONDS
        count = len(self._run.items)
        self._tallies[wanted.name] = tally_of(wanted.name, self._run.of(wanted.name), count)
        if len(self._tallies) < len(self._wanted):
            return
        over = [count - self._tallies[each.name].left for each in self._wanted]
        visits = [each.visits for each in self._wanted]
        tallies = [self._tallies[each.name] for each in self._wanted]
        self._told(
            Standing(
                done=sum(map(mul, over, visits)),
                total=sum(visits) * count,
                configuration=wanted.name,
                items=count - self._tallies[wanted.name].left,
                count=count,
                tokens=sum(each.tokens for each in tallies),
                expected=expected_tokens(tallies, visits, count),
            )
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


class _Asked:
    """The conversation about one item, turn by turn, and what it took."""

    def __init__(self, wanted: Configuration, item: Item, home: str, plan: Plan) -> None:
        self.home = home
        self.last = Said("failed")
        self._wanted = wanted
        self._item = item
        self._plan = plan
        self._said: list[Said] = []
        self._outputs: list[str] = []

    def body(self) -> bytes | None:
        """Write the next turn; None where there is none, or the one before was not answered."""
        turn = len(self._outputs)
        if turn == len(self._item.turns) or turn < len(self._said):
            return None
        messages: list[dict[str, str]] = []
        for said, heard in zip(self._item.turns, self._outputs, strict=False):
            messages.append({"role": "user", "content": said})
            messages.append({"role": "assistant", "content": heard})
        messages.append({"role": "user", "content": self._item.turns[turn]})
        plan = self._plan
        body: dict[str, object] = {
            "model": self._wanted.model,
            "messages": messages,
            "seed": seed_of(plan.seed, self._wanted.name, self._item.id),
        }
        if plan.max_tokens:
            body["max_tokens"] = plan.max_tokens
        if plan.deadline:
            body["dmoa"] = {"deadline": plan.deadline}
        return json.dumps(body).encode()

    def take(self, said: Said) -> None:
        """Take what came of the turn."""
        self.last = said
        self._said.append(said)
        if said.status == "answered":
            self._outputs.append(said.text)

    def answer(self, seconds: float, lag: float, asked: float) -> Answer:
        """Sum up all turns."""
        last, traces = self.last, [each.trace for each in self._said]
        notes = dict.fromkeys(note for each in traces for note in each.degraded)
        return Answer(
            item=self._item.id,
            configuration=self._wanted.name,
            node=self.home,
            status=last.status,
            outputs=tuple(self._outputs),
            seconds=round(seconds, 6),
            lag=round(lag, 6),
            queued_seconds=round(sum(each.queued_seconds for each in traces), 6),
            prompt_tokens=sum(each.usage.prompt_tokens for each in self._said),
            completion_tokens=sum(each.usage.completion_tokens for each in self._said),
            jobs=sum(job.outcome == "ok" for each in traces for job in each.jobs),
            layers=last.trace.mixture.layers,
            fanout=last.trace.mixture.fanout,
            recipe=last.trace.recipe or "",
            source=last.trace.source,
            degraded=tuple(notes),
            asked=round(asked, 3),
            http=last.http,
            detail=last.detail,
        )


async def perform(
    run: Run, urls: Sequence[str], draft: Draft, told: Told, *, again: bool = False
) -> tuple[Abandoned, ...]:
    """Ask all that is left of a run, or of a new one; tell which configurations were left.

    A DmoaError where nodes do not answer, are not those of the run, or cannot do what is wanted.
    """
    async with Speakers(urls) as nodes:
        met = await meet(nodes)
        members = draft.joined(met.members)
        wanted = draft.configurations([each.node for each in members], met.peers)
        run.begin(draft.plan(wanted, members), draft.items)
        return await Asking(run, wanted, met, told, again=again).all()


def unanswered(abandoned: Sequence[Abandoned]) -> PeerSilentError:
    """Say which configurations could not be asked to their end."""
    listed = ", ".join(f"{each.configuration} ({each.left} items)" for each in abandoned)
    return PeerSilentError(
        f"nodes went away, and there is more to ask: {listed}",
        hint="see that all nodes answer, then give the same command again",
    )
