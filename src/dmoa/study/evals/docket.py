"""What a judge has to be asked of a run: every answer beside its reference, in both orders.

Or in one order, that a hash of the instruction picks. What needs no judge is settled without
one: an answer that does not exist loses, and the same text twice is a draw.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from dmoa.errors import UsageError
from dmoa.study.evals.folder import Folder
from dmoa.study.evals.judge import Judge
from dmoa.study.evals.opinion import Opinion
from dmoa.study.evals.records import Answer, Item, Judgement
from dmoa.study.evals.template import OWN, Message, Template, fitted, harmless, told

BASELINE = "baseline"
"""The reference that stands in the items themselves."""
NO_ANSWER = "no answer"
SAME_TEXT = "the same text"
"""Details of judgements that needed no judge."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be judged, and how.

    `reference` is BASELINE or a configuration; no `configurations` are all of the run. Each
    question is put `draws` times, in `both` orders or in one by a hash of `seed`.
    """

    reference: str = BASELINE
    configurations: tuple[str, ...] = ()
    draws: int = 1
    both: bool = True
    seed: int = 0
    template: Template = OWN


@dataclass(frozen=True, slots=True)
class Question:
    """One answer beside one reference, in one order, once; all it takes to ask, and to keep.

    `texts` are the instruction, the first and the second answer as the judge will read them.
    `content` is a hash of what is sent, `key` of that and of what it is about. `settled` tells
    why no judge is needed, `is_cut` that an answer was too long; `longer` is how many characters
    the answer has more than the reference.
    """

    item: str
    configuration: str
    reference: str
    swapped: bool
    draw: int
    template: Template
    texts: tuple[str, str, str]
    content: str
    key: str
    settled: str = ""
    is_cut: bool = False
    longer: int = 0

    @property
    def messages(self) -> list[Message]:
        """What is sent to the judge."""
        return self.template.messages(*self.texts)

    def judgement(self, judge: str, opinion: Opinion, detail: str = "") -> Judgement:
        """Write down what a judge said of it; the answer stands second where it is swapped."""
        first = opinion.first
        preference = 1.0 - first if first is not None and self.swapped else first
        return Judgement(
            item=self.item,
            configuration=self.configuration,
            reference=self.reference,
            judge=judge,
            swapped=self.swapped,
            draw=self.draw,
            verdict=opinion.verdict,
            key=self.key,
            preference=preference,
            graded=opinion.graded,
            prompt_tokens=0 if detail else opinion.prompt_tokens,
            completion_tokens=0 if detail else opinion.completion_tokens,
            detail=detail or opinion.detail,
        )


@dataclass(frozen=True, slots=True)
class Docket:
    """All questions of a wish, and what is not among them.

    `unasked` counts answers that the run does not have yet, by configuration; `unreferenced`
    items whose reference does not exist. `answers` counts the answers of each configuration.
    """

    questions: tuple[Question, ...]
    answers: dict[str, int]
    unasked: dict[str, int]
    unreferenced: dict[str, int]


def is_switched(instruction: str, seed: int) -> bool:
    """Tell whether the answer stands first: AlpacaEval's own rule, item by item the same."""
    rng = random.Random(f"is_switched_outputs{instruction}{seed}")
    return rng.choices((False, True), k=1)[0]


def text_of(item: Item, answer: Answer | None) -> tuple[str, ...] | None:
    """Give the turns of an answer; None unless there is a text for each of them."""
    if answer is None or answer.status != "answered" or len(answer.outputs) != len(item.turns):
        return None
    return answer.outputs if all(text.strip() for text in answer.outputs) else None


# -- what is asked ------------------------------------------------------------------------


def docket_of(folder: Folder, wish: Wish, judge: Judge) -> Docket:
    """List what a judge has to be asked of a run; UsageError where that cannot be."""
    known = folder.plan().configurations
    for name in (*wish.configurations, wish.reference):
        if name not in known and name != BASELINE:
            raise UsageError(
                f"the run has no configuration {name!r}", hint=f"it has {', '.join(known)}"
            )
    names = [each for each in wish.configurations or known if each != wish.reference]
    items = _items(folder, wish)
    answers = folder.answers()
    questions: list[Question] = []
    there, unasked, unreferenced = (dict.fromkeys(names, 0) for _ in range(3))
    for name in names:
        for item in items:
            answer = answers.get((name, item.id))
            if answer is None:
                unasked[name] += 1
                continue
            there[name] += 1
            reference = _reference(item, wish, answers)
            if reference is None:
                unreferenced[name] += 1
                continue
            questions += _questions(item, answer, reference, wish, judge)
    if not any(there.values()):
        raise UsageError(
            f"there is nothing to judge in {folder.place}",
            hint="name other configurations than the reference, or ask them by `dmoa eval run`",
        )
    return Docket(tuple(questions), there, unasked, unreferenced)


def _items(folder: Folder, wish: Wish) -> list[Item]:
    """Choose the items: beside the baseline all but those that a metric scores instead."""
    items = folder.items()
    if wish.reference != BASELINE:
        return list(items)
    if not any(item.reference for item in items):
        raise UsageError(
            f"no item of {folder.place} has a baseline to compare with",
            hint="compare with a configuration: --reference local@NODE",
        )
    return [item for item in items if item.reference or not item.metric]


@dataclass(frozen=True, slots=True)
class _Reference:
    """What an answer is compared with: its turns, and whose they are."""

    texts: tuple[str, ...]
    whose: str


def _reference(item: Item, wish: Wish, answers: dict[tuple[str, str], Answer]) -> _Reference | None:
    """Find what an answer is compared with; a baseline has one turn."""
    if wish.reference != BASELINE:
        texts = text_of(item, answers.get((wish.reference, item.id)))
        return None if texts is None else _Reference(texts, wish.reference)
    if not item.reference.strip() or len(item.turns) != 1:
        return None
    return _Reference((item.reference,), item.reference_model or BASELINE)


def _questions(
    item: Item, answer: Answer, reference: _Reference, wish: Wish, judge: Judge
) -> Iterator[Question]:
    """List the questions that one answer takes."""
    own = text_of(item, answer)
    settled = NO_ANSWER if own is None else SAME_TEXT if own == reference.texts else ""
    longer = sum(map(len, own or ())) - sum(map(len, reference.texts))
    instruction = harmless(told(item.turns, "turn"))
    one = not is_switched(item.instruction, wish.seed)
    mine, theirs = (harmless(told(each or ("",), "answer")) for each in (own, reference.texts))
    for swapped in (False, True) if wish.both else (one,):
        full = (theirs, mine) if swapped else (mine, theirs)
        first, second = fitted(wish.template, instruction, *full, context=judge.uri.context)
        texts = (instruction, first, second)
        for draw in range(wish.draws):
            content = _hash(judge.name, judge.uri.answer, wish.template.text, *texts, draw)
            yield Question(
                item=item.id,
                configuration=answer.configuration,
                reference=reference.whose,
                swapped=swapped,
                draw=draw,
                template=wish.template,
                texts=texts,
                content=content,
                key=_hash(content, item.id, answer.configuration, reference.whose, settled),
                settled=settled,
                is_cut=(first, second) != full,
                longer=longer,
            )


def _hash(*parts: str | float | None) -> str:
    return sha256(json.dumps(parts).encode()).hexdigest()[:32]
