"""From a job to the prompt a model reads: instruction, proposals, budget, hygiene.

Layout: one system message that holds, in this order, the constant instruction, the
user's own system text and the numbered proposals; then the user's conversation as it
is, turn by turn. What is constant comes first, byte for byte, so that a backend's
prefix cache meets it again; what changes last (the proposals) comes last. In the `seed`
layout the first proposal follows the conversation as the model's own answer, and a last
turn of the user asks to improve it, with the other proposals beside. A ranker gets the
conversation and the proposals in one turn, for it is not to answer.

Each proposal is fenced: it is an item of a numbered list, every further line of which is
indented. What stands at the edge is ours alone, so that a proposal can neither end its own item
nor begin another's or an instruction, whatever it holds; a list of n proposals has n items,
always. A proposal of one line reads as in the paper, to the letter.

A node's `persona` opens the system message of what its model proposes, and of what it
answers alone; an aggregator has none, as it is to weigh the proposals.

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

RANKING = (
    "You compare answers. Below are a conversation and numbered answers to its last message. "
    "Judge how correct and helpful each answer is."
)
"""What a ranker is told first."""
_RANK = (
    "Reply with the numbers of the answers, the best first, separated by commas, and with "
    "nothing else."
)
RANKING_TOKENS = 48
"""Of a ranking: numbers and commas."""
_SEED = "Improve your answer. Correct what is wrong in it, and keep what is right."
_BESIDE = "Other assistants answered so; some of it may be wrong:"
_WHOLE = "Reply with the improved answer alone."

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

_INDENT = "   "
"""Begins every line of a proposal but its first."""

# Whole control tokens of the chat templates in use: ChatML (Qwen, SmolLM, Yi, InternLM, Hermes),
# Llama 2 to 4, Mistral, Gemma, Phi, DeepSeek, Command R, Granite, GLM, Kimi, Seed, gpt-oss; and
# those of reasoning and tools. Only complete ones are touched, so that `a |> b` and
# `a <| b |> c` in somebody's code stay as they are.
_CONTROL = re.compile(
    r"<([|\uff5c])(?=[^<>|\uff5c\s]{1,64}\1>)"
    r"|<(?=[|\uff5c][a-z_]{1,32}>)"
    r"|<(?=[a-z_]{1,32}[|\uff5c]>)"
    r"|<(?=/?(?:s|bos|eos|unk|pad|mask|cls|sep|start_of_turn|end_of_turn|sop|eop|start_of_image"
    r"|end_of_image|end_of_utterance|think|tool_call|tool_response|tool_calls|unused\d{1,4}"
    r"|reserved_\d{1,4}|extra_id_\d{1,4}|seed:[a-z_:]{1,32})>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CONTENT|TOOL_CALLS|ARGS"
    r"|CALL_ID|THINK|PREFIX|SUFFIX|MIDDLE|IMG|gMASK|sMASK)\])"
    r"|<(?=</?SYS>>)",
    re.IGNORECASE,
)


def neutralise(text: str) -> str:
    """Break the control strings of chat templates, so that they are read as text.

    `<|im_end|>` becomes `< |im_end|>`: still legible, no longer one token. Idempotent.
    """
    return _CONTROL.sub(lambda match: match[0][0] + " " + match[0][1:], text)


def fence(text: str) -> str:
    """Indent a text as one item of a list: only its first line begins where it stands.

    Whatever ends a line anywhere (a lone return, a form feed, Unicode's separators) does so here.
    """
    return f"\n{_INDENT}".join(text.splitlines())


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
    """Choose how many tokens the model may write, for a proposal, a ranking or an answer."""
    if job.role == "ranker":
        return RANKING_TOKENS
    usual = profile.proposal_tokens if job.role == "proposer" else profile.answer_tokens
    asked = job.sampling.max_tokens
    if asked is None:
        asked = max(16, min(usual, profile.context_tokens // 2) >> squeeze)
    return min(asked, limits.answer_tokens)


def render(
    job: Job, profile: Profile, limits: Limits, *, squeeze: int = 0, opened: bool = False
) -> Prompt:
    """Make the prompt of a job for the model that serves it.

    `squeeze` counts how often the backend has found it too long: 1 halves the proposals,
    SQUEEZES leaves them out. However long an answer the user allows, proposals may take
    half of the context; the answer then gets what they leave. An `opened` prompt ends its list of
    proposals with the last one known, and says in which turn that is.
    """
    turns = [replace(turn, content=neutralise(turn.content)) for turn in job.turns]
    length = _length(job, profile, limits, squeeze)
    own = turns.pop(0).content if turns and turns[0].role == "system" else ""
    if profile.persona and (job.role == "proposer" or not job.proposals):
        own = f"{profile.persona}\n\n{own}" if own else profile.persona
    frame = _frame(job, profile, own)
    kept: list[str] = []
    if job.proposals and squeeze < SQUEEZES:
        spent = estimate_tokens(frame) + TURN_TOKENS
        spent += sum(estimate_tokens(turn.content) + TURN_TOKENS for turn in turns)
        reserve = min(length, profile.context_tokens // 2)
        room = profile.context_tokens - reserve - spent - TURN_TOKENS * len(job.proposals)
        texts = _fenced(job)
        kept = list(filter(None, _fitted(texts, room, limits.proposal_tokens, squeeze)))
        left = profile.context_tokens - spent - sum(estimate_tokens(text) + 2 for text in kept)
        length = min(length, max(reserve, left)) if kept else length
    sampling = replace(job.sampling, max_tokens=length)
    laid, at = _laid(job, profile, own, turns, kept, opened=opened)
    unread = len(job.proposals) - len(kept)
    return Prompt(job.role, tuple(laid), sampling, job.options, unread, job.id, at)


def render_ahead(job: Job, profile: Profile, limits: Limits, writing: str = "") -> Prompt | None:
    """Make what is known of the prompt of a job that will come; None where that is nothing.

    `job` has the proposals that are there, `writing` is what the next one holds so far; of that
    whole words are taken. As far as it goes the text is that of the job as it will be rendered,
    unless all that comes does not fit the context: then some of the end differs.
    """
    writing = cut_bytes(writing, limits.proposal_bytes)
    words = writing[: max(writing.rfind(" "), writing.rfind("\n"), 0)].rstrip()
    proposals = (*job.proposals, words) if words else job.proposals
    if not proposals:
        return None
    prompt = render(replace(job, proposals=proposals), profile, limits, opened=True)
    return None if prompt.open is None or prompt.unread else prompt


def _fenced(job: Job) -> list[str]:
    """Make proposals harmless: all but one that is to stand as the model's own answer, fenced."""
    texts = [neutralise(text) for text in job.proposals]
    own = 1 if job.seed and job.role != "ranker" else 0
    return [*texts[:own], *map(fence, texts[own:])]


def _frame(job: Job, profile: Profile, own: str) -> str:
    """Tell all that stands around the proposals, for its length."""
    if job.role == "ranker":
        return f"{RANKING}\n\n{own}\n{_RANK}"
    if job.seed:
        return f"{own}\n{_SEED}\n{_BESIDE}\n{_WHOLE}"
    return f"{_OPENING[profile.layout]}\n\n{own}\n{_CLOSING[profile.layout]}"


def _laid(  # noqa: PLR0913  (the parts of a prompt)
    job: Job, profile: Profile, own: str, turns: list[Turn], kept: list[str], *, opened: bool
) -> tuple[list[Turn], int | None]:
    """Lay a prompt out: the conversation, with the proposals where they are to stand.

    Where it is `opened`, and its layout can be, with the turn whose text goes on.
    """
    if job.role == "ranker":
        said = "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)
        asked = f"{own}\n\n{said}" if own else said
        text = f"Conversation:\n{asked}\n\nAnswers:{_listed(kept)}"
        closing = "" if opened else f"\n\n{_RANK}"
        return [Turn("system", RANKING), Turn("user", text + closing)], 1 if opened else None
    if not kept:
        return [Turn("system", own), *turns] if own else turns, None
    if job.seed:
        beside = f" {_BESIDE}{_listed(kept[1:])}\n\n{_WHOLE}" if kept[1:] else f" {_WHOLE}"
        seeded = [*turns, Turn("assistant", kept[0]), Turn("user", _SEED + beside)]
        return [Turn("system", own), *seeded] if own else seeded, None
    opening = _OPENING[profile.layout] + (f"\n\n{own}\n" if own else "")
    closing = "" if opened else _CLOSING[profile.layout]
    system = Turn("system", opening + _listed(kept) + closing)
    return [system, *turns], 0 if opened else None


def _listed(texts: Sequence[str]) -> str:
    return "".join(f"\n{number}. {text}" for number, text in enumerate(texts, start=1))
