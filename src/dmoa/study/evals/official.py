"""AlpacaEval's own package on the answers of a run: the official number, by the same judge.

The package (extra `eval`) runs as a process of its own: it takes seconds to import, changes the
root logger, and would keep judgements beside its code. It is told to do none of that: the
reference is always given, nothing is cached, and all that it writes is in the run's folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import fsum, nan
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dmoa.errors import BackendUnavailableError, DmoaError, MissingExtraError, UsageError
from dmoa.study.evals.docket import BASELINE, NO_ANSWER, Question, Wish, docket_of
from dmoa.study.evals.folder import Folder
from dmoa.study.evals.judge import LOCAL, TEXT_TOKENS, TRIES, Judge
from dmoa.study.evals.outputs import write_outputs
from dmoa.study.evals.records import Item, Judgement
from dmoa.study.evals.template import OWN

ITEMS = 805
"""Of AlpacaEval 2.0: the package controls for length only where all of them are there."""
_TEMPLATE = "evaluators_configs/alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt"
"""The published words, where the package has them."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._+@-]")
"""What some file systems would not have in a name."""
_NAME = "judge"
"""Of the configuration of the package."""

_SCRIPT = """
import json, sys
from pathlib import Path
def read(file):
    return json.loads(Path(file).read_text(encoding="utf-8"))
spec = read("spec.json")
import pandas
from alpaca_eval import metrics
from alpaca_eval.main import evaluate
for name, folder in spec["places"].items():
    place = Path(folder)
    board, found = evaluate(
        model_outputs=read(place / "outputs.json"),
        reference_outputs=read(place / "reference.json"),
        annotators_config=str((place / "judge").resolve()), name=name, output_path=folder,
        precomputed_leaderboard=None, is_return_instead_of_print=True, is_cache_leaderboard=False,
        fn_metric="get_winrate", sort_by="win_rate", caching_path=None, seed=spec["seed"],
    )
    told = {key: board.loc[name, key] for key in ("win_rate", "standard_error", "n_total")}
    if len(found) == spec["whole"]:
        try:
            more = metrics.get_length_controlled_winrate(
                pandas.DataFrame(found), save_weights_dir=None
            )
            told |= {key: more[key] for key in ("length_controlled_winrate", "lc_standard_error")}
        except Exception as error:
            told["why"] = f"{type(error).__name__}: {error}".splitlines()[0]
    told = {k: v if isinstance(v, str) else None if v != v else float(v) for k, v in told.items()}
    (place / "result.json").write_text(json.dumps(told), encoding="utf-8")
"""
"""What the package is told to do, in the folder that all of it stands in."""

Rows = list[dict[str, str]]
"""Of AlpacaEval's form: instruction, output, generator, dataset, datasplit."""


@dataclass(frozen=True, slots=True)
class Official:
    """What the package says of one configuration (percent); nan where it says nothing.

    `own` is the mean preference of our own judgements of the same items in the same order, of
    which there are `own_items`. `items` are those that got a preference.
    """

    configuration: str
    items: int
    win_rate: float
    standard_error: float
    length_controlled: float
    length_controlled_error: float
    own: float
    own_items: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What the package is to judge: the outputs of one configuration beside its reference.

    `settings` tell it how, as the text of its own file of them.
    """

    outputs: Rows
    reference: Rows
    settings: str


@dataclass(frozen=True, slots=True)
class Package:
    """How AlpacaEval's package is to judge: `words` is a template, by default the published one.

    MissingExtraError where the package is not installed.
    """

    judge: Judge
    words: Path
    concurrency: int
    seed: int

    @classmethod
    def find(cls, judge: Judge, template: Path | None, concurrency: int, seed: int) -> Package:
        """Find the package, without importing it."""
        spec = find_spec("alpaca_eval")
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(
                "the package alpaca_eval is not installed", hint="pip install 'dmoa[eval]'"
            )
        words = template or Path(spec.submodule_search_locations[0]) / _TEMPLATE
        return cls(judge, words.resolve(), concurrency, seed)

    def run(self, place: Path, tasks: Mapping[str, Task]) -> dict[str, dict[str, Any]]:
        """Judge the outputs of some configurations; give what the package tells of each.

        All that it reads and writes is in the folder `place`. DmoaError where it fails.
        """
        results: dict[str, Path] = {}
        for name, task in tasks.items():
            folder = place / _UNSAFE.sub("_", name)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _NAME).mkdir(exist_ok=True)
            (folder / _NAME / "configs.yaml").write_text(task.settings, encoding="utf-8")
            _write(folder / "outputs.json", task.outputs)
            _write(folder / "reference.json", task.reference)
            results[name] = folder / "result.json"
            results[name].unlink(missing_ok=True)
        places = {name: file.parent.name for name, file in results.items()}
        _write(place / "spec.json", {"seed": self.seed, "whole": ITEMS, "places": places})
        ended = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-c", _SCRIPT],
            cwd=place,
            env=self._environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = ended.stdout.decode("utf-8", "replace")
        said = said.replace(self.judge.key, "***") if self.judge.key else said
        (place / "log.txt").write_text(said, encoding="utf-8")
        if ended.returncode:
            last = ["", *(line for line in said.splitlines() if line.strip())][-1]
            raise DmoaError(
                f"alpaca_eval failed: {last[:200]}",
                hint=f"what it said is in {place / 'log.txt'}",
            )
        return {name: json.loads(file.read_bytes()) for name, file in results.items()}

    def settings(self) -> str:
        """Write its settings, as YAML, for a judge that was met.

        They ask for log probabilities where there are some, else for a text. What the text is
        matched with always takes all of it, so that there is one match.
        """
        judge = self.judge
        asked: dict[str, Any] = {
            "model_name": judge.model,
            "price_per_token": 0,
            "requires_chatml": True,  # it would take `instruct` in a name for an older API
            "client_kwargs": {"timeout": judge.timeout, "max_retries": TRIES - 1},
        }
        if judge.graded and judge.top is not None:
            asked |= {"max_tokens": 1, "temperature": 1.0, "logprobs": True}
            asked |= {"top_logprobs": judge.top}
            parser = (
                "fn_completion_parser: logprob_parser\n  completion_key: completions_all\n"
                '  completion_parser_kwargs: {numerator_token: "m", '
                'denominator_tokens: ["m", "M"], is_binarize: false}\n'
            )
        else:
            asked |= {"max_tokens": judge.uri.answer or TEXT_TOKENS, "temperature": 0.0}
            parser = (
                "fn_completion_parser: regex_parser\n  completion_parser_kwargs:\n"
                "    outputs_to_match:\n"
                "      1: '(?s)^\\W*m\\b.*$'\n      2: '(?s)^\\W*M\\b.*$'\n      .nan: '(?s)^.+$'\n"
            )
        return (
            f"{_NAME}:\n  prompt_template: {json.dumps(str(self.words))}\n"
            f"  fn_completions: openai_completions\n  batch_size: 1\n"
            f"  completions_kwargs: {json.dumps(asked)}\n  {parser}"
        )

    def _environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Tell it where the judge is; a key goes nowhere but here."""
        theirs = ("OPENAI_API_KEYS", "OPENAI_ORGANIZATION_IDS", "OPENAI_BASE_URL")
        kept = {key: value for key, value in environ.items() if key not in theirs}
        host = urlsplit(self.judge.uri.target).hostname or ""
        if host in LOCAL:
            direct = ",".join(filter(None, (kept.get("no_proxy", kept.get("NO_PROXY")), host)))
            kept |= {"NO_PROXY": direct, "no_proxy": direct}
        return kept | {
            "OPENAI_API_BASE": self.judge.uri.target,
            "OPENAI_API_KEY": self.judge.key or "none",
            "OPENAI_MAX_CONCURRENCY": str(self.concurrency),
            "OPENAI_CLIENT_CONFIG_PATH": os.devnull,
            "IS_ALPACA_EVAL_2": "True",
            "PYTHONWARNINGS": "ignore",
        }


@dataclass(frozen=True, slots=True)
class Case:
    """A run made ready for the package: tasks and our own questions, by configuration."""

    tasks: dict[str, Task]
    questions: dict[str, list[Question]]
    known: Mapping[str, Judgement]

    def conclude(self, told: Mapping[str, dict[str, Any]]) -> tuple[Official, ...]:
        """Put what the package tells of each task beside what we have of the same questions."""
        return tuple(
            _official(name, told[name], self.questions[name], self.known) for name in self.tasks
        )


def evaluate(folder: Folder, wish: Wish, package: Package) -> tuple[Official, ...]:
    """Let the package judge the configurations of a wish, each item once and in one order.

    UsageError where the run has what the package has no form for, DmoaError where it fails.
    """
    case = prepare(folder, wish, package)
    return case.conclude(package.run((folder.place / "official").resolve(), case.tasks))


def prepare(folder: Folder, wish: Wish, package: Package) -> Case:
    """Make a run ready for the package, and meet the judge; errors as of `evaluate`."""
    judge, wish = package.judge, replace(wish, both=False, draws=1)
    docket_of(folder, wish, judge)  # what cannot be is refused before anybody is called
    asyncio.run(_meet(judge))
    docket, known = docket_of(folder, wish, judge), folder.judgements()
    questions = {
        name: [each for each in docket.questions if each.configuration == name]
        for name in docket.answers
    }
    rows = _outputs(folder)
    tasks: dict[str, Task] = {}
    for name, asked in questions.items():
        if asked:
            items = _chosen(folder, {each.item for each in asked})
            reference = [
                _baseline(item) if wish.reference == BASELINE else rows[wish.reference][at]
                for at, item in items.items()
            ]
            tasks[name] = Task([rows[name][at] for at in items], reference, package.settings())
    return Case(tasks, questions, known)


async def _meet(judge: Judge) -> None:
    """Find out the judge's model, and whether it gives log probabilities."""
    async with judge:
        opinion = await judge.compare(OWN.messages("How much is 1 + 1?", "It is 2.", "It is 3."))
    if opinion.verdict not in ("judged", "rubbish"):
        raise BackendUnavailableError(
            f"the judge does not judge: {opinion.detail}", hint="is it running?"
        )


def _outputs(folder: Folder) -> dict[str, Rows]:
    """Write the outputs of a run, and read them as the package would."""
    files = zip(folder.plan().configurations, write_outputs(folder), strict=True)
    return {name: json.loads(file.read_bytes()) for name, file in files}


def _chosen(folder: Folder, ids: set[str]) -> dict[int, Item]:
    """Give the items of some ids by their place; UsageError where the package has no form."""
    found = {at: item for at, item in enumerate(folder.items()) if item.id in ids}
    if any(len(item.turns) > 1 for item in found.values()):
        raise UsageError(
            "alpaca_eval knows items of one turn only, and there are others",
            hint="judge them without --annotator",
        )
    counts = Counter(item.instruction for item in found.values())
    doubled = [each for each, count in counts.items() if count > 1]
    if doubled:
        raise UsageError(
            f"alpaca_eval tells items by their instruction, and {len(doubled)} stand there twice",
            hint="judge them without --annotator",
        )
    return found


def _baseline(item: Item) -> dict[str, str]:
    return {
        "instruction": item.instruction,
        "output": item.reference,
        "generator": item.reference_model or BASELINE,
        "dataset": item.dataset,
        "datasplit": "eval",
    }


def _write(file: Path, what: object) -> None:
    file.write_text(json.dumps(what, ensure_ascii=False), encoding="utf-8")


def _official(
    name: str, told: dict[str, Any], asked: Sequence[Question], known: Mapping[str, Judgement]
) -> Official:
    """Put what the package says beside what we have of the same questions."""
    ours = (known[each.key].preference for each in asked if each.key in known)
    own = [each for each in ours if each is not None]
    lost = sum(each.settled == NO_ANSWER for each in asked)

    def figure(key: str) -> float:
        value = told.get(key)
        return nan if value is None else float(value)

    notes: list[str] = []
    if "length_controlled_winrate" not in told:
        why = told.get("why", f"the package takes all {ITEMS} items of AlpacaEval for granted")
        notes.append(f"no length-controlled win rate: {why}; `dmoa eval score` has one")
    if lost:
        notes.append(f"{lost} answers that do not exist went to the judge as empty ones")
    if not own:
        notes.append("nothing of our own is beside it; judge without --annotator for that")
    return Official(
        configuration=name,
        items=int(told["n_total"]),
        win_rate=figure("win_rate"),
        standard_error=figure("standard_error"),
        length_controlled=figure("length_controlled_winrate"),
        length_controlled_error=figure("lc_standard_error"),
        own=100.0 * fsum(own) / len(own) if own else nan,
        own_items=len(own),
        notes=tuple(notes),
    )
