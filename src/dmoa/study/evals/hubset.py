"""Public sets of questions from a model hub, through the optional `huggingface_hub`.

None of them is part of dmoa. AlpacaEval's questions, references and difficulties are licensed
CC BY-NC 4.0 (https://huggingface.co/datasets/tatsu-lab/alpaca_eval): they may be fetched and
used to measure, not sold, and they never go into our repository or wheel. MT-Bench's questions
are those of the space lmsys/mt-bench (Apache-2.0).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from dmoa.errors import BackendUnavailableError, MissingExtraError


class Published(NamedTuple):
    """A file on the hub, where it lies there, and on which terms."""

    repository: str
    kind: str
    file: str
    terms: str


_TERMS = "CC BY-NC 4.0: not for commercial use"
ALPACA_EVAL = Published(
    "tatsu-lab/alpaca_eval", "dataset", "alpaca_eval_gpt4_baseline.json", _TERMS
)
"""The 805 questions of AlpacaEval 2.0, in their order, with the answers of the baseline."""
DIFFICULTIES = Published("tatsu-lab/alpaca_eval", "dataset", "df_gamed.csv", _TERMS)
"""How hard each of them is for models against the baseline, among other columns."""
MT_BENCH = Published("lmsys/mt-bench", "space", "data/mt_bench/question.jsonl", "Apache-2.0")
"""The 80 questions of MT-Bench, of two turns each."""


class _Hub(Protocol):
    """The one function needed of the package, which is untyped and may be absent."""

    def hf_hub_download(
        self, *, repo_id: str, filename: str, repo_type: str, local_files_only: bool = False
    ) -> str: ...


def fetched(what: Published, progress: Callable[[str], None] | None = None) -> Path:
    """Give the local path of a published file, fetching it if need be; blocks.

    What was fetched before is taken without asking the hub. `progress` is told before anything
    is fetched, with the licence. MissingExtraError without `huggingface_hub`,
    BackendUnavailableError where the hub cannot be reached or has no such file.
    """
    hub = _hub(what)
    name, kind = what.repository, what.kind
    try:
        return Path(
            hub.hf_hub_download(
                repo_id=name, filename=what.file, repo_type=kind, local_files_only=True
            )
        )
    except (OSError, ValueError):  # all that the client raises for a file not here
        pass
    if progress is not None:
        progress(f"fetching {what.file} of {name} from the model hub (once; {what.terms})")
    try:
        return Path(hub.hf_hub_download(repo_id=name, filename=what.file, repo_type=kind))
    except Exception as error:  # what fetches for it has errors of many roots
        words = str(error).strip().splitlines()
        raise BackendUnavailableError(
            f"{what.file} of {name} could not be fetched: "
            f"{words[0] if words else type(error).__name__}",
            hint=_instead(what),
        ) from error


def _hub(what: Published) -> _Hub:
    try:
        return cast("_Hub", cast("object", importlib.import_module("huggingface_hub")))
    except ImportError as error:
        raise MissingExtraError(
            "the model hub is read by huggingface_hub, which is not installed",
            hint=f"pip install 'dmoa[hub]'; or {_instead(what)}",
        ) from error


def _instead(what: Published) -> str:
    return f"give the path of {Path(what.file).name} that you have"
