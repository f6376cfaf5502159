"""What is read ahead is how the prompt begins, whatever it holds and however far it is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.job import Completion, Job, Profile, Prompt, Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.prompts import INSTRUCTION, INSTRUCTION_SHORT, RANKING, render, render_ahead
from dmoa.core.query import as_proposal

LIMITS = Limits()
CLOSINGS = ("Use them to give the best answer", "Reply with the numbers")

pieces = st.sampled_from(
    [
        *("word", "a", "über", "🙂", "x" * 40, "2.", "\n2. no", "Response:", "1."),
        *("<|im_end|>", "<|im_", "end|>", "[INST]", "<", "|>", "</s>", "<<SYS>>", "\\n"),
        *(" ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\u2028", "\x0c", "\x85", "   "),
    ]
)
texts = st.lists(pieces, min_size=1, max_size=8).map("".join).filter(str.strip)
roles = st.sampled_from(["proposer", "aggregator", "ranker"])
conversations = st.sampled_from(
    [
        (Turn("user", "hi"),),
        (Turn("system", "You are kind."), Turn("user", "What is 2+2?")),
        (Turn("user", "a"), Turn("assistant", "b\n2. c"), Turn("user", "<|im_end|> d")),
    ]
)
profiles = st.builds(
    Profile,
    st.just("toy"),
    layout=st.sampled_from(["full", "short"]),
    persona=st.sampled_from(["", "You doubt everything."]),
    context_tokens=st.sampled_from([4096, 32768]),
)


def make_job(role: str, turns: tuple[Turn, ...], proposals: tuple[str, ...], **other) -> Job:
    query = QueryId("a/1/1")
    return Job(
        JobId("a/1/1/2.0"), query, NodeId("a"), role, 2, turns, proposals, Sampling(), 9.0, **other
    )


def proposal(text: str, limits: Limits = LIMITS) -> str:
    return as_proposal(Completion(text, "toy", 1, 1), limits).text


def begins(early: Prompt, last: Prompt) -> str:
    """Assert that a prompt begins with what was read of it; give what is left of that turn."""
    at = early.open
    assert at is not None
    assert early.job == last.job
    assert early.turns[:at] == last.turns[:at]
    assert [turn.role for turn in early.turns] == [turn.role for turn in last.turns]
    assert early.turns[at + 1 :] == last.turns[at + 1 :], "what follows is known"
    known, whole = early.turns[at].content, last.turns[at].content
    assert whole.startswith(known), f"{whole!r} does not begin with {known!r}"
    return whole[len(known) :]


@settings(max_examples=100, deadline=None)
@given(
    role=roles,
    turns=conversations,
    profile=profiles,
    proposals=st.lists(texts, min_size=1, max_size=5),
    data=st.data(),
)
def test_what_is_read_ahead_is_how_the_prompt_begins(role, turns, profile, proposals, data) -> None:
    kept = tuple(map(proposal, proposals))
    last = render(make_job(role, turns, kept), profile, LIMITS)
    assert not last.unread
    count = data.draw(st.integers(0, len(kept)), label="known")
    written = kept[count] if count < len(kept) else ""
    writing = written[: data.draw(st.integers(0, len(written)), label="written")]
    early = render_ahead(make_job(role, turns, kept[:count]), profile, LIMITS, writing)
    if early is None:
        assert count == 0
        return
    rest = begins(early, last)
    assert early.unread == 0
    assert not any(each in early.turns[early.open or 0].content for each in CLOSINGS)
    if count == len(kept):
        assert not rest or rest.strip().startswith(CLOSINGS), "all proposals were there"


@settings(max_examples=25, deadline=None)
@given(role=roles, turns=conversations, profile=profiles, text=texts)
def test_it_only_grows_while_a_proposal_is_written(role, turns, profile, text) -> None:
    job = make_job(role, turns, ("known",))
    early = [render_ahead(job, profile, LIMITS, text[:end]) for end in range(len(text) + 1)]
    for one, other in pairwise(early):
        assert one is not None
        assert other is not None
        begins(one, other)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 40), limit=st.sampled_from([20, 60, 100]), end=st.integers(0, 200))
def test_what_is_longer_than_a_proposal_may_be_is_read_up_to_there(count, limit, end) -> None:
    """But for one word, which the mark of the cut may take the place of."""
    limits, profile, turns = Limits(proposal_bytes=limit), Profile("toy"), (Turn("user", "hi"),)
    text = "word " * count
    last = render(make_job("aggregator", turns, (proposal(text, limits),)), profile, limits)
    early = render_ahead(make_job("aggregator", turns, ()), profile, limits, text[:end])
    if early is None:
        assert " " not in text[:end]
    else:
        assert last.turns[0].content.startswith(early.turns[0].content.rpartition(" ")[0])


@given(role=roles, profile=profiles, writing=st.sampled_from(["", "word", " ", "\n", " \n "]))
def test_nothing_is_read_before_anything_is_there(role, profile, writing) -> None:
    turns = (Turn("user", "hi"),)
    assert render_ahead(make_job(role, turns, ()), profile, LIMITS, writing) is None


def test_the_opening_stands_before_all_that_changes() -> None:
    openings = {"full": INSTRUCTION, "short": INSTRUCTION_SHORT}
    for layout, opening in openings.items():
        for role in ("proposer", "aggregator"):
            job = make_job(role, (Turn("user", "hi"),), ("yes",))
            early = render_ahead(job, Profile("toy", layout=layout), LIMITS, "and so")
            assert early is not None
            assert early.open == 0
            assert early.turns[0].content.startswith(opening)
            assert early.turns[0].content.endswith("\n1. yes\n2. and")
    ranker = render_ahead(make_job("ranker", (Turn("user", "hi"),), ("yes",)), Profile("t"), LIMITS)
    assert ranker is not None
    assert (ranker.open, ranker.turns[0].content) == (1, RANKING)
    assert ranker.turns[1].content.endswith("\n1. yes")


def test_an_answer_that_is_to_be_improved_cannot_be_read_ahead() -> None:
    seeded = make_job("aggregator", (Turn("user", "hi"),), ("yes", "no"), seed=True)
    assert render_ahead(seeded, Profile("toy"), LIMITS, "and so on") is None
    ranked = replace(seeded, role="ranker")
    assert render_ahead(ranked, Profile("toy"), LIMITS) is not None


def test_what_does_not_fit_is_not_read_ahead() -> None:
    job = make_job("aggregator", (Turn("user", "hi " * 200),), ("yes " * 50,) * 3)
    small = Profile("toy", context_tokens=160)
    assert render(job, small, LIMITS).unread == 3
    assert render_ahead(job, small, LIMITS, "more of it") is None
