from __future__ import annotations

from dataclasses import replace

from dmoa.core.job import OVERHEAD, Turn

from .room import make_job


def test_a_turn_counts_all_its_text_in_bytes() -> None:
    assert Turn("user", "").size == OVERHEAD + 4
    assert Turn("user", "\u65e5\u672c").size == OVERHEAD + 4 + 6
    assert Turn("tool", "", '{"a":"\u00e9"}').size == OVERHEAD + 4 + 10


def test_a_job_counts_its_conversation_proposals_and_options() -> None:
    job = make_job(turns=(Turn("user", "12345"),), proposals=("ab", "\u00e9"))
    assert job.size == (OVERHEAD + 4 + 5) + (OVERHEAD + 2) + (OVERHEAD + 2)
    assert replace(job, options='{"\u00e9"}').size == job.size + 6


def test_nothing_is_free_in_any_number() -> None:
    job = make_job(turns=(Turn("", ""),) * 1000, proposals=("",) * 1000)
    assert job.size >= 2000 * OVERHEAD
