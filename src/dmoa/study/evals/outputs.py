"""The answers of a run in the form of AlpacaEval, as its package reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dmoa.study.evals.folder import Folder
from dmoa.study.evals.plan import written
from dmoa.study.evals.records import Answer, Item

_UNSAFE = re.compile(r"[^A-Za-z0-9._+@-]")
"""What some file systems would not have in a name."""


def write_outputs(folder: Folder) -> list[Path]:
    """Write `outputs/NAME.json` for each configuration of the plan, and return these files.

    Each is a list of {instruction, output, generator, dataset, datasplit} in the order of the
    items. An item that was not answered has the output "", which is a loss. Of several turns
    the first and its answer stand there, as the form has room for one.
    """
    items, answers = folder.items(), folder.answers()
    files: list[Path] = []
    with written(folder.place):
        folder.outputs.mkdir(exist_ok=True)
        for name in folder.plan().configurations:
            rows = [_row(item, answers.get((name, item.id)), name) for item in items]
            file = folder.outputs / f"{_UNSAFE.sub('_', name)}.json"
            # whole or not at all: somebody may be reading it
            part = file.with_suffix(".part")
            part.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
            part.replace(file)
            files.append(file)
    return files


def _row(item: Item, answer: Answer | None, name: str) -> dict[str, str]:
    """Write one item; only what was answered to its end counts."""
    answered = answer is not None and answer.status == "answered"
    return {
        "instruction": item.instruction,
        "output": answer.outputs[0] if answer is not None and answered else "",
        "generator": name,
        "dataset": item.dataset,
        "datasplit": "eval",
    }
