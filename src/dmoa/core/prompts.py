"""From a job to the prompt a model reads: instruction, proposals, budget, hygiene.

Layout: one system message that holds, in this order, the constant instruction, the
user's own system text and the numbered proposals; then the user's conversation as it
is, turn by turn. What is constant comes first, byte for byte, so that a backend's
prefix cache meets it again; what changes last (the proposals) comes last.

Budget: tokens are estimated from bytes, on the safe side. Where a backend still finds
the prompt too long, the agent renders it again with a larger `squeeze`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from dmoa.core.job import Job, Profile, Prompt, Turn
from dmoa.core.limits import Limits

INSTRUCTION = (
    "You have been provided with a set of responses from various open-source models to the "
    "latest user query. Your task is to synthesize these responses into a single, high-quality "
    "response. It is crucial to critically evaluate the information provided in these responses, "
    "recognizing that some of it may be biased or incorrect. Your response should not simply "
    "replicate the given answers but should offer a refined, accurate, and comprehensive reply "
    "to the instruction. Ensure your response is well-structured, coherent, and adheres to the "
    "highest standards of accuracy and reliability. Do not add any additional comments about how "
    "you created these responses. Just synthesize these responses as instructed."
)
"""The aggregation prompt of MoA (arXiv 2406.04692), which the paper takes over."""

INSTRUCTION_SHORT = (
    "You are a helpful assistant. Here are answers from other assistants. Some may be wrong."
)
"""For models below a billion parameters, which do better with fewer words."""

_CLOSING = {
    "full": "",
    "short": "\nUse them to give the best answer to the user.",
}
_OPENING = {
    "full": INSTRUCTION + "\n\nResponses from models:",
    "short": INSTRUCTION_SHORT,
}

BYTES_PER_TOKEN = 3.0
"""English has 4.5 to 4.75 bytes a token; the difference is the margin for other text."""
TURN_TOKENS = 8
"""What a chat template adds around one message, at most, in the templates we know."""
CUT_MARK = " […]"
SQUEEZES = 2
"""How often a prompt may be rendered smaller before its backend is believed."""

# Whole control tokens of the chat templates in use. Only complete ones are touched, so
# that `a |> b` and `a <| b |> c` in somebody's code stay as they are.
_CONTROL = re.compile(
    r"<([|\uff5c])(?=[^<>|\uff5c\s]{1,64}\1>)"
    r"|<(?=/?(?:s|bos|eos|unk|pad|mask|start_of_turn|end_of_turn|sop|eop)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS)\])"
    r"|<(?=</?SYS>>)",
    re.IGNORECASE,
)


def neutralise(text: str) -> str:
    """Break the control strings of chat templates, so that they are read as text.

    `<|im_end|>` becomes `< |im_end|>`: still legible, no longer one token. Idempotent.
    """
    return _CONTROL.sub(lambda match: match[0][0] + " " + match[0][1:], text)


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text, from above for ordinary prose and code."""
    return int(len(text.encode()) / BYTES_PER_TOKEN) + 1


def cut(text: str, tokens: int) -> str:
    """Shorten a text to about `tokens` estimated tokens, at a space where there is one."""
    return cut_bytes(text, int(tokens * BYTES_PER_TOKEN))


def cut_bytes(text: str, size: int) -> str:
    """Shorten a text to at most `size` bytes, at a space where there is one, and mark it."""
    raw = text.encode()
    if len(raw) <= size:
        return text
    room = size - len(CUT_MARK.encode())
    if room <= 0:
        return ""
    kept = raw[:room].decode(errors="ignore")
    space = kept.rfind(" ", len(kept) // 2)
    return (kept[:space] if space > 0 else kept) + CUT_MARK


def share(sizes: Sequence[int], total: int) -> list[int]:
    """Divide `total` fairly: nobody gets more than asked for, and what the small leave
    goes to the large.
    """  # noqa: D205
    grants = [0] * len(sizes)
    left, claimants = max(0, total), sorted(range(len(sizes)), key=lambda index: sizes[index])
    for served, index in enumerate(claimants):
        grants[index] = min(sizes[index], left // (len(sizes) - served))
        left -= grants[index]
    return grants


def _fitted(proposals: Sequence[str], budget: int, most: int, squeeze: int) -> list[str]:
    """Cut proposals so that together they fit `budget` tokens, and each `most`.

    Each squeeze halves what they would take: where a budget was estimated too large, to
    halve the budget alone need not change anything.
    """
    wanted = [min(most, estimate_tokens(text) + 1) for text in proposals]
    grants = share(wanted, min(budget, sum(wanted)) >> squeeze)
    return [cut(text, grant) for text, grant in zip(proposals, grants, strict=True)]


def _length(job: Job, profile: Profile, limits: Limits, squeeze: int) -> int:
    """Choose how many tokens the model may write, for a proposal or an answer."""
    usual = profile.proposal_tokens if job.role == "proposer" else profile.answer_tokens
    asked = job.sampling.max_tokens
    if asked is None:
        asked = max(16, min(usual, profile.context_tokens // 2) >> squeeze)
    return min(asked, limits.answer_tokens)


def render(job: Job, profile: Profile, limits: Limits, *, squeeze: int = 0) -> Prompt:
    """Make the prompt of a job for the model that serves it.

    `squeeze` counts how often the backend has found it too long: 1 halves the proposals,
    SQUEEZES leaves them out. However long an answer the user allows, proposals may take
    half of the context; the answer then gets what they leave.
    """
    turns = [replace(turn, content=neutralise(turn.content)) for turn in job.turns]
    length = _length(job, profile, limits, squeeze)
    kept: list[str] = []
    if job.proposals and squeeze < SQUEEZES:
        own = turns.pop(0).content if turns and turns[0].role == "system" else ""
        opening = _OPENING[profile.layout] + (f"\n\n{own}\n" if own else "")
        closing = _CLOSING[profile.layout]
        spent = estimate_tokens(opening + closing) + TURN_TOKENS
        spent += sum(estimate_tokens(turn.content) + TURN_TOKENS for turn in turns)
        reserve = min(length, profile.context_tokens // 2)
        room = profile.context_tokens - reserve - spent - TURN_TOKENS * len(job.proposals)
        kept = _fitted(
            [neutralise(text) for text in job.proposals], room, limits.proposal_tokens, squeeze
        )
        listed = "".join(
            f"\n{number}. {text}" for number, text in enumerate(filter(None, kept), start=1)
        )
        if listed:
            turns.insert(0, Turn("system", opening + listed + closing))
            left = profile.context_tokens - spent - estimate_tokens(listed)
            length = min(length, max(reserve, left))
        elif own:
            turns.insert(0, Turn("system", own))
    sampling = replace(job.sampling, max_tokens=length)
    unread = len(job.proposals) - sum(map(bool, kept))
    return Prompt(job.role, tuple(turns), sampling, job.options, unread)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.lower().split())


def most_agreed(proposals: Sequence[str]) -> int:
    """Find the proposal most like the others (mean Jaccard likeness of words); ties: first.

    This is what is returned where no aggregator could judge.
    """
    bags = [_words(text) for text in proposals]

    def likeness(index: int) -> float:
        return sum(
            len(bags[index] & bag) / len(bags[index] | bag)
            for other, bag in enumerate(bags)
            if other != index and (bags[index] or bag)
        )

    return max(range(len(proposals)), key=lambda index: (likeness(index), -index))
