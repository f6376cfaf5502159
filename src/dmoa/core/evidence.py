"""What a proposal gives away: rubbish that nobody can use, and words meant for its reader.

Only what is plain is evidence. Rubbish is nothing after many tokens, one word over and over, or
mostly control characters. An injection opens a turn of a chat template, or tells its reader to
leave out the others or what it was told; where the conversation itself has such words, an honest
answer may repeat them, and they are no evidence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from dmoa.core.events import Offence
from dmoa.core.job import Completion, Turn

CLAIMED = 32
"""Tokens that a model says it wrote, from which on an empty proposal is rubbish."""
REPEATED = 24
"""Words, from which on a text of at most two different ones is rubbish."""
RUN = 200
"""Characters without a space, from which on a text of at most three different ones is rubbish."""
CONTROLS = 0.5
"""Share of control characters, from which on a text is rubbish."""
LEAST = 16
"""Characters below which their kind tells nothing."""

_OTHERS = (
    r"(?:other|previous|preceding|above|remaining)\s+"
    r"(?:(?:ai|model|assistant)(?:s'|'s)?\s+)?"
    r"(?:responses?|answers?|proposals?|assistants?|models?|candidates?)"
)
_ORDERS = r"(?:previous|prior|above|earlier|preceding)\s+(?:instructions?|prompts?|directions?)"
_LEAVE = r"(?:ignore|disregard|forget|discard|do\s+not\s+(?:use|consider|trust))"
PATTERNS: dict[str, re.Pattern[str]] = {
    "leave out the others": re.compile(
        rf"\b{_LEAVE}\s+(?:all\s+)?(?:of\s+)?(?:the\s+|these\s+|those\s+)?{_OTHERS}", re.IGNORECASE
    ),
    "leave out the orders": re.compile(
        rf"\b{_LEAVE}\s+(?:all\s+)?(?:of\s+)?(?:the\s+|your\s+|my\s+)?{_ORDERS}", re.IGNORECASE
    ),
    "speak in another role": re.compile(
        r"^\s*(?:new\s+)?(?:system|developer)\s+(?:prompt|message|instructions?)\s*:",
        re.IGNORECASE | re.MULTILINE,
    ),
    "only this one": re.compile(
        r"\b(?:repeat|copy|output|reproduce)\s+(?:only\s+)?this\s+(?:response|answer|proposal)\s+"
        r"(?:verbatim|exactly|word\s+for\s+word)",
        re.IGNORECASE,
    ),
    "open a turn": re.compile(
        r"<[|\uff5c](?:im_start|start|start_header_id|start_of_role|start_of_turn_token|channel"
        r"|system|user|assistant|turn)[|\uff5c]?>|<start_of_turn>|\[/?INST\]|\[SYSTEM_PROMPT\]"
        r"|<<SYS>>",
        re.IGNORECASE,
    ),
}
"""Words that are meant for the reader of a proposal, by what they want. Few, and whole phrases:
answers about answers, chat templates or obedience are to pass."""


def rubbish(completion: Completion) -> str:
    """Say why nobody can use what a peer's model wrote; empty where it can be read."""
    text = completion.text.strip()
    if not text:
        return "nothing, after many tokens" if completion.completion_tokens >= CLAIMED else ""
    words = text.split()
    if len(words) >= REPEATED and len(set(words)) <= 2:  # noqa: PLR2004  (da capo, or in turns)
        return "one word over and over"
    if len(words) == 1 and len(text) >= RUN and len(set(text)) <= 3:  # noqa: PLR2004  (the same)
        return "one letter over and over"
    if len(text) >= LEAST and _controls(text) >= CONTROLS * len(text):
        return "mostly control characters"
    return ""


def _controls(text: str) -> int:
    """Count the characters that nobody can see, or that stand for what could not be decoded."""
    return sum(
        each == "\ufffd" or (unicodedata.category(each)[0] == "C" and not each.isspace())
        for each in text
    )


def injections(text: str, turns: Iterable[Turn] = ()) -> list[str]:
    """Name what a proposal wants of its reader, as far as the conversation has no such words."""
    return [
        name
        for name, pattern in PATTERNS.items()
        if pattern.search(text) and not any(pattern.search(turn.content) for turn in turns)
    ]


def weigh(completion: Completion, turns: tuple[Turn, ...]) -> tuple[Offence | None, str]:
    """Find what a peer is to be blamed for, and why its proposal is of no use where it is none."""
    if flaw := rubbish(completion):
        return "rubbish", f"rubbish: {flaw}"
    if not completion.text.strip():
        return None, "an empty proposal"
    return ("injection" if injections(completion.text, turns) else None), ""
