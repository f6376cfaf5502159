"""`traceparent`, as W3C has it: what is one, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.net.codec import TRACE_CHARACTERS
from dmoa.telemetry.context import Context, begin, incoming

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-a-later-version-says", True),
    ],
)
def test_a_parent_is_read(text: str, *, sampled: bool) -> None:
    assert Context.parse(text) == Context(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        GOOD.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{'g' * 32}-{SPAN}-01",
        f"00-{TRACE.replace('0', chr(0x660))}-{SPAN}-01",
    ],
)
def test_what_is_none_is_passed_over(text: str) -> None:
    assert Context.parse(text) is None


def test_only_one_header_counts_and_is_told_in_its_plain_form() -> None:
    assert incoming([f" {GOOD}\t"]) == GOOD
    assert incoming([f"cc-{TRACE}-{SPAN}-01-{'x' * 5000}"]) == GOOD
    assert incoming([]) == incoming([GOOD, GOOD]) == incoming(["x"]) == ""


@given(st.binary(min_size=64, max_size=64))
def test_what_is_begun_can_be_read_and_fits_into_a_job(chance: bytes) -> None:
    left = [int.from_bytes(chance[at : at + 16]) for at in (0, 16, 32, 48)]

    def dice(bits: int) -> int:
        return left.pop() % 2**bits

    first = begin(dice)
    second = first.child(dice)
    assert second.trace == first.trace
    for each in (first, second):
        assert Context.parse(each.text) == each
        assert len(each.text) <= TRACE_CHARACTERS


def test_nothing_is_ever_named_zero() -> None:
    first = begin(lambda _: 0)
    assert (first.trace, first.span, first.child(lambda _: 0).span) == (1, 1, 1)
