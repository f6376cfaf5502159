"""What a judge said, read: a preference from log probabilities, or from a text that is clear."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isnan, log
from typing import Final

import msgspec

from dmoa.study.evals.records import Verdict

LONE: Final = "only one identifier among the tokens"
"""The detail of a preference that log probabilities made all or nothing."""
_WORDS: Final = 80
"""Letters kept of what a judge said that cannot be understood."""
_SPACES: Final = " \t\r\n\u0120\u010a\u2581"
"""Around a token; the last three stand for spaces and ends of lines in vocabularies."""
_FAR: Final = 700.0
"""A difference of log probabilities whose exponential is still a number."""

_THOUGHT: Final = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_SAID: Final = re.compile(
    r"""["'`*(\[]*(?:(?i:the\s+)?(?i:output|answer|model)\s+)?["'`*(\[]*([mM])["'`*)\].:!,]*"""
)
_LETTER: Final = re.compile(r"(?<![\w'])[mM](?![\w'])")


class _Token(msgspec.Struct):
    token: str
    logprob: float | None = None


class _Position(msgspec.Struct):
    top_logprobs: list[_Token] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Position] | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Said
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """What came of one question: `first` is the probability that the first answer is better.

    It is None unless the verdict is `judged`; `graded` tells that log probabilities made it.
    """

    verdict: Verdict
    first: float | None = None
    graded: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    detail: str = ""


def read_completion(data: bytes) -> tuple[Opinion, bool | None]:
    """Read a completion: the opinion, and whether there were log probabilities in it.

    None for the latter where that cannot be told.
    """
    try:
        found = msgspec.json.decode(data, type=_Completion)
    except msgspec.MsgspecError:
        return Opinion("rubbish", detail="it answered no chat completion"), None
    if not found.choices:
        return Opinion("rubbish", detail="it answered without a choice"), None
    choice, usage = found.choices[0], found.usage or _Usage()
    tokens = (usage.prompt_tokens, usage.completion_tokens)
    positions = (choice.logprobs.content if choice.logprobs else None) or []
    top = (positions[0].top_logprobs if positions else None) or []
    if choice.message.refusal or choice.finish_reason == "content_filter":
        why = choice.message.refusal or "a filter of its contents"
        return Opinion("refused", None, False, *tokens, _excerpt(why)), None
    pairs = [(each.token, each.logprob) for each in top if each.logprob is not None]
    if (first := grade(pairs)) is not None:
        letters = {token.strip(_SPACES) for token, _ in pairs} & {"m", "M"}
        detail = LONE if len(letters) == 1 else ""
        return Opinion("judged", first, True, *tokens, detail), True
    text = choice.message.content or ""
    if (first := read_text(text)) is not None:
        return Opinion("judged", first, False, *tokens), bool(top)
    return Opinion("rubbish", None, False, *tokens, f"it said {_excerpt(text)!r}"), bool(top)


def grade(tokens: Sequence[tuple[str, float]]) -> float | None:
    """Give p(m) / (p(m) + p(M)) of the first token's log probabilities; None without either.

    Where only one of both is among them the other counts as impossible, as it does in
    AlpacaEval's package.
    """
    small, large = (_sum(tokens, letter) for letter in "mM")
    if isnan(small) or isnan(large) or small == large == -inf:
        return None
    if small == -inf or large == -inf:
        return 0.0 if small == -inf else 1.0
    distance = large - small
    return 1.0 / (1.0 + exp(distance)) if distance < _FAR else 0.0


def _sum(tokens: Sequence[tuple[str, float]], letter: str) -> float:
    """Add up the probabilities of a letter's spellings, as logarithms."""
    found = [value for token, value in tokens if token.strip(_SPACES) == letter]
    most = max(found, default=-inf)
    if most == -inf or isnan(most):
        return most
    return most + log(sum(exp(value - most) for value in found))


def read_text(text: str) -> float | None:
    """Read a verdict in words: 1.0 for m, 0.0 for M, None for what is not clearly either.

    Understood are the identifier alone, in quotes, or as in `Output m.`; a line of its own at
    the start will do, unless the other letter stands somewhere after it.
    """
    text = _THOUGHT.sub("", text, count=1).strip()
    line, _, rest = text.partition("\n")
    match = _SAID.fullmatch(line.strip())
    if match is None or any(found[0] != match[1] for found in _LETTER.finditer(rest)):
        return None
    return 1.0 if match[1] == "m" else 0.0


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WORDS else line[: _WORDS - 1] + "…"
