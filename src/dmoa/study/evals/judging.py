"""The answers of a run put before a judge, and what it says kept as it comes.

Nothing that was judged is asked again, and what could not be judged is nobody's win: it is
counted, and asked anew by the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from dmoa.errors import UsageError
from dmoa.study.evals.docket import SAME_TEXT, Docket, Question, Wish, docket_of
from dmoa.study.evals.folder import Folder
from dmoa.study.evals.judge import Judge
from dmoa.study.evals.opinion import Opinion
from dmoa.study.evals.records import Judgement
from dmoa.study.lines import Lines

IN_A_ROW = 20
"""Judgements that fail one after the other, until a judge is not asked any more."""
COPIED = "as of "
"""How the detail of a judgement begins that was made of the same texts elsewhere."""

Told = Callable[[int, int, str], None]
"""Told what is done, of how much, and a word about it."""
Place = tuple[str, str, str, str, bool, int]
"""What a judgement is of, whatever the texts: of several at one place the last one holds."""


@dataclass(slots=True)
class Bench:
    """The judgements of one file: those that hold, and how many were made anew.

    `found` has the judgement of each question, failed ones included. `asked` were put to the
    judge now, `known` were there before, `copied` have the same texts as another one. `gave_up`
    is what the judge failed with when it was not asked any more; empty where it was.
    """

    found: dict[str, Judgement] = field(default_factory=dict[str, Judgement])
    asked: int = 0
    known: int = 0
    copied: int = 0
    gave_up: str = ""


async def judge_run(
    folder: Folder, judge: Judge, wish: Wish, *, concurrency: int, report: Told
) -> tuple[Docket, Bench]:
    """Put a run before a judge that is not open yet; give what was to be asked, and what it said.

    UsageError where the wish does not fit the run, besides the errors of `sit`.
    """
    docket_of(folder, wish, judge)  # what cannot be is refused before anybody is called
    async with judge:
        docket = docket_of(folder, wish, judge)
        with Lines(folder.judgements_file) as log:
            return docket, await sit(docket, judge, log, concurrency=concurrency, report=report)


async def sit(docket: Docket, judge: Judge, log: Lines, *, concurrency: int, report: Told) -> Bench:
    """Ask all that is not known yet, `concurrency` questions at once, and keep every answer.

    BackendRefusedError where the judge can never be asked. Whatever ends it, an error or a
    cancellation, what was judged until then is in the file.
    """
    return await _Session(docket, judge, log, report).run(concurrency)


class _Session:
    """One start of the judging of a run."""

    def __init__(self, docket: Docket, judge: Judge, log: Lines, report: Told) -> None:
        self._judge = judge
        self._log = log
        self._report = report
        self._docket = docket
        self._bench = Bench()
        self._failed = 0
        self._done = 0
        self._tokens = 0
        self._troubles = 0

    async def run(self, concurrency: int) -> Bench:
        waiting = iter(self._open_questions())
        self._say()

        async def work(most: int | None = None) -> None:
            for group in islice(waiting, most):
                self._take(group, await self._judge.compare(group[0].messages, group[0].draw))
                if self._bench.gave_up:
                    return

        await work(1)  # alone: from it is learnt what the endpoint takes
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(concurrency):
                    tasks.create_task(work())
        except BaseExceptionGroup as trouble:
            raise trouble.exceptions[0] from None
        return self._bench

    def _open_questions(self) -> list[list[Question]]:
        """Settle what can be, and group what is left by what would be sent."""
        there, last = _read(self._log)
        contents: dict[str, Judgement] = {}
        for question in self._docket.questions:
            if (known := there.get(question.key)) is not None and not question.settled:
                contents.setdefault(question.content, known)
        groups: dict[str, list[Question]] = {}
        for question in self._docket.questions:
            known = there.get(question.key)
            if known is not None:
                self._bench.known += 1
                self._keep(known, is_new=last[_place(known)] != known.key)
            elif question.settled:
                first = 0.5 if question.settled == SAME_TEXT else float(question.swapped)
                opinion = Opinion("judged", first)
                self._keep(question.judgement(self._judge.name, opinion, question.settled))
            elif (twin := contents.get(question.content)) is not None:
                self._copy(question, _opinion(twin), twin.configuration)
            else:
                groups.setdefault(question.content, []).append(question)
        return list(groups.values())

    def _take(self, group: Sequence[Question], opinion: Opinion) -> None:
        """Keep what came of a question, and for all others with the same texts as well."""
        self._bench.asked += 1
        self._tokens += opinion.prompt_tokens + opinion.completion_tokens
        self._keep(group[0].judgement(self._judge.name, opinion))
        for other in group[1:]:
            self._copy(other, opinion, group[0].configuration)
        self._failed = 0 if opinion.verdict == "judged" else self._failed + 1
        self._troubles += opinion.verdict != "judged"
        if self._failed >= IN_A_ROW:
            self._bench.gave_up = opinion.detail or opinion.verdict
        self._say()

    def _copy(self, question: Question, opinion: Opinion, whose: str) -> None:
        self._bench.copied += 1
        self._keep(question.judgement(self._judge.name, opinion, f"{COPIED}{whose}"))

    def _keep(self, judgement: Judgement, *, is_new: bool = True) -> None:
        self._bench.found[judgement.key] = judgement
        self._done += 1
        if is_new:
            self._log.add("judgement", judgement)

    def _say(self) -> None:
        what = f"{self._tokens} tokens"
        if self._troubles:
            what += f", {self._troubles} without a verdict"
        self._report(self._done, len(self._docket.questions), what)


def _read(log: Lines) -> tuple[dict[str, Judgement], dict[Place, str]]:
    """Read the judgements there are, by key, and the key of the last one at each place."""
    there: dict[str, Judgement] = {}
    last: dict[Place, str] = {}
    for row in log.rows:
        if row["kind"] != "judgement":
            continue
        try:
            found = msgspec.convert(row, Judgement)
        except msgspec.ValidationError as error:
            raise UsageError(
                f"{log.file}: {error}", hint="it was changed after it was written"
            ) from None
        last[_place(found)] = found.key
        if found.verdict == "judged" and found.preference is not None:
            there[found.key] = found
    return there, last


def _place(of: Judgement) -> Place:
    return of.item, of.configuration, of.reference, of.judge, of.swapped, of.draw


def _opinion(of: Judgement) -> Opinion:
    """Take a judgement back to what was said of the first answer."""
    first = of.preference
    first = 1.0 - first if first is not None and of.swapped else first
    return Opinion(of.verdict, first, of.graded)
