"""What is asked: our own tasks, public sets, or anybody's file of questions.

A file is UTF-8, a JSON list of objects or one object after the other (JSONL), in any of these
shapes, told apart by their keys:

- our own `Item` lines, as in the folder of a run: `id`, `dataset`, `turns`, ...;
- AlpacaEval's: `instruction`, `dataset`, and the reference as `output` by `generator`; or the
  outputs of several models in one, as `outputs`, of which the baseline's is the reference;
- MT-Bench's: `question_id`, `category`, `turns`;
- anybody's: `instruction`, `prompt` or `question`, with `answer` or `answers` and a `metric`
  where the right answer is known.

AlpacaEval's data is licensed CC BY-NC 4.0 and no part of dmoa; see `hubset`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import msgspec

from dmoa.errors import UsageError
from dmoa.study.evals import hubset
from dmoa.study.evals.metrics import score
from dmoa.study.evals.records import Item, Metric
from dmoa.study.evals.tasks import KINDS, tasks

BASELINE = "gpt4_1106_preview"
"""With whose answers AlpacaEval 2.0 compares."""
ALPACA_EVAL_COUNT = 805
"""Questions of AlpacaEval 2.0; a list of as many has each at its official position."""
FILE_MAX = 64 << 20
"""Bytes of a file of items."""
ITEMS_MAX = 100_000
"""Of one run."""
TEXT_MAX = 100_000
"""Characters of a turn, an answer or a reference."""
ID_MAX = 200
"""Characters of the name of an item or of its dataset."""

_ORIGINS = {"helpful_base", "koala", "oasst", "selfinstruct", "vicuna"}  # of AlpacaEval's
_TEXTS = ("instruction", "prompt", "question", "turns")
_SHAPES = "each object needs `instruction`, `prompt`, `question` or `turns`"


def load_items(
    source: str,
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[Item, ...]:
    """Read the items of a source, at most `limit` of them.

    `source` is `tasks` or `tasks:KIND,KIND` (ours, see `tasks`), `alpaca_eval` or `mt_bench`
    (from the model hub), or the path of a file; `./tasks` is a file of that name. A file is
    sampled by dataset, each with its share to within one item, by `seed`, and in the order of
    the file; each item keeps its `index`. Of our tasks the first are taken, whatever the `seed`,
    as they are mixed. `progress` is told what is fetched.

    UsageError where a file, or a line of it, cannot be read; MissingExtraError and
    BackendUnavailableError where the hub cannot.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"{limit} items cannot be asked", hint="ask 1 or more")
    name, colon, kinds = source.partition(":")
    if name == "tasks" and (colon or not kinds):
        return tasks(kinds.split(",") if colon else KINDS, limit=limit)
    if source == "alpaca_eval":
        found = read_items(hubset.fetched(hubset.ALPACA_EVAL, progress), name=source)
    elif source == "mt_bench":
        found = read_items(hubset.fetched(hubset.MT_BENCH, progress), name=source)
    else:
        found = read_items(Path(source))
    return sampled(found, limit, seed)


def sampled(items: Sequence[Item], limit: int | None, seed: int = 0) -> tuple[Item, ...]:
    """Take `limit` items, of each dataset its share to within one, in their order."""
    if limit is None or limit >= len(items):
        return tuple(items)
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.dataset, []).append(item)
    shares = {name: divmod(limit * len(group), len(items)) for name, group in groups.items()}
    quotas = {name: whole for name, (whole, _) in shares.items()}
    left = limit - sum(quotas.values())
    for name in sorted(shares, key=lambda name: (-shares[name][1], name))[:left]:
        quotas[name] += 1
    kept: set[str] = set()
    for name, group in groups.items():
        order = sorted(group, key=lambda item: sha256(f"{seed}/{item.id}".encode()).digest())
        kept.update(item.id for item in order[: quotas[name]])
    return tuple(item for item in items if item.id in kept)


def read_items(file: Path, *, name: str = "") -> tuple[Item, ...]:
    """Read all items of a file; `name` begins the names of those that have none."""
    found: list[Item] = []
    lines: dict[str, int] = {}
    listed = 0  # of AlpacaEval's shape, without a position of their own
    for number, (line, entry) in enumerate(_entries(file, _text(file))):
        where = f"{file}, line {line}"
        if not isinstance(entry, dict):
            raise UsageError(f"{where}: is no object", hint=_SHAPES)
        row = cast("dict[str, Any]", entry)
        item = _Row(where, row).item(name or file.stem, number)
        if item.id in lines:
            raise UsageError(
                f"{where}: {item.id[:80]!r} is there already, in line {lines[item.id]}",
                hint="give every item an `id` of its own",
            )
        if len(found) == ITEMS_MAX:
            raise UsageError(f"{file} has more than {ITEMS_MAX} items", hint="split it")
        lines[item.id] = line
        listed += item.index is None and item.dataset in _ORIGINS
        found.append(item)
    if not found:
        raise UsageError(f"{file} has no items", hint=_SHAPES)
    if listed == len(found) == ALPACA_EVAL_COUNT:
        return tuple(
            msgspec.structs.replace(each, index=at, id=f"alpaca_eval-{at:03}")
            for at, each in enumerate(found)
        )
    return tuple(found)


# -- one entry --------------------------------------------------------------------------


class _Row:
    """One entry of a file, and where it stands; what it lacks or has wrong is a UsageError."""

    def __init__(self, where: str, row: dict[str, Any]) -> None:
        self._where = where
        self._row = row

    def item(self, name: str, number: int) -> Item:
        """Read the entry, the `number`th (from 0) of the set `name`."""
        row = self._row
        index = row.get("index")
        own = row.get("question_id", row.get("id", index))
        name_own = f"{name}-{number + 1:03}" if own is None else str(own)
        if "question_id" in row:
            name_own = f"mt_bench-{own}"
        elif isinstance(own, int) and ("outputs" in row or row.get("dataset") in _ORIGINS):
            index, name_own = own, f"alpaca_eval-{own:03}"
        if index is not None and (not isinstance(index, int) or index < 0):
            raise self._wrong("`index` is a position, from 0")
        category = f"mt_bench/{row['category']}" if "category" in row else name
        answers = self._answers()
        reference, model = self._reference()
        item = Item(
            id=self._checked(name_own, "id", ID_MAX),
            dataset=self._checked(row.get("dataset", category), "dataset", ID_MAX),
            turns=self._turns(),
            answers=answers,
            metric=self._metric(answers),
            reference=reference,
            reference_model=model,
            index=index,
        )
        for each in answers if item.metric else ():
            if score(item, each) != 1.0:
                raise self._wrong(
                    f"{each[:60]!r} would be wrong by the metric {item.metric} itself",
                    "choose another `metric`, or leave it out for a judge",
                )
        return item

    def _wrong(self, what: str, hint: str = _SHAPES) -> UsageError:
        return UsageError(f"{self._where}: {what}", hint=hint)

    def _checked(self, value: object, key: str, longest: int = TEXT_MAX) -> str:
        """Give a text that can be asked and written down."""
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(f"`{key}` is a text, and not empty")
        if len(value) > longest:
            raise self._wrong(
                f"`{key}` has {len(value)} characters", f"it may have {longest}; shorten it"
            )
        if any("\ud800" <= each <= "\udfff" for each in value):
            raise self._wrong(
                f"`{key}` has half of a surrogate pair", r"mend its \ud... escapes: they go in twos"
            )
        return value

    def _turns(self) -> tuple[str, ...]:
        key = next((each for each in _TEXTS if each in self._row), "")
        if not key:
            raise self._wrong(f"asks nothing; its keys are {', '.join(self._row)[:80] or 'none'}")
        turns = self._row[key]
        some = cast("list[object]", turns) if isinstance(turns, list) else [turns]
        if not some:
            raise self._wrong(f"`{key}` is empty")
        return tuple(self._checked(each, key) for each in some)

    def _answers(self) -> tuple[str, ...]:
        given = self._row.get("answers", self._row.get("answer"))
        if given is None:
            return ()
        some = cast("list[object]", given) if isinstance(given, list) else [given]
        numbers = [isinstance(each, (int, float)) and not isinstance(each, bool) for each in some]
        return tuple(
            self._checked(str(each) if number else each, "answers")
            for each, number in zip(some, numbers, strict=True)
        )

    def _metric(self, answers: tuple[str, ...]) -> Metric:
        """Read the metric; where none is named, it goes by the answers."""
        named = self._row.get("metric")
        if named is None and answers:
            return "numeric" if all(_is_number(each) for each in answers) else "contains"
        try:
            metric = msgspec.convert(named or "", Metric)
        except msgspec.ValidationError:
            raise self._wrong(
                f"{str(named)[:40]!r} is no metric", "known: exact, contains, numeric"
            ) from None
        if metric and not answers:
            raise self._wrong(f"the metric {metric} needs `answers`", "add what is right")
        return metric

    def _reference(self) -> tuple[str, str]:
        """Find the answer that others are compared with, and whose it is."""
        outputs: object = self._row.get("outputs")
        if isinstance(outputs, dict):
            text = cast("dict[str, object]", outputs).get(BASELINE)
            return ("", "") if text is None else (self._checked(text, "outputs"), BASELINE)
        if text := self._row.get("reference") if "reference_model" in self._row else None:
            return self._checked(text, "reference"), str(self._row["reference_model"])
        if text := self._row.get("output"):
            model = self._row.get("generator", "reference")
            return self._checked(text, "output"), self._checked(model, "generator", ID_MAX)
        return "", ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text.replace(",", "")))
    except ValueError:
        return False


# -- files ------------------------------------------------------------------------------


def _text(file: Path) -> str:
    """Read a file of bounded size as text."""
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror or error}",
            hint="name a file, or one of: tasks, alpaca_eval, mt_bench",
        ) from None
    if len(content) > FILE_MAX:
        raise UsageError(f"{file} has more than {FILE_MAX >> 20} MiB", hint="split it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{file}, line {line}: is not UTF-8", hint="save it as UTF-8 text"
        ) from None


def _entries(file: Path, text: str) -> Iterator[tuple[int, object]]:
    """Read the entries of a JSON list, or JSON values one after the other, with their lines."""
    decoder = json.JSONDecoder()
    place = _after(text, 0)
    listed = text.startswith("[", place)
    place = _after(text, place + listed)
    line, counted, open_ = 1, 0, False
    while place < len(text) and not (listed and text[place] == "]"):
        line += text.count("\n", counted, place)
        counted = place
        try:
            entry, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise UsageError(
                f"{file}, line {error.lineno}: is not JSON: {error.msg}", hint=_SHAPES
            ) from None
        except (ValueError, RecursionError):  # a number of too many digits, or lists too deep
            raise UsageError(
                f"{file}, line {line}: is no JSON that can be read", hint=_SHAPES
            ) from None
        yield line, entry
        place = _after(text, place)
        open_ = listed and text.startswith(",", place)
        if open_:
            place = _after(text, place + 1)
        elif listed and not text.startswith("]", place):
            break
    if listed and (open_ or _after(text, place + 1) < len(text) or not text.startswith("]", place)):
        raise UsageError(
            f"{file}, line {line}: the list does not end after this entry, nor go on",
            hint="is the file whole? entries have commas between them, and ] at the end",
        )


def _after(text: str, place: int) -> int:
    """Pass over the white space that JSON allows."""
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place
