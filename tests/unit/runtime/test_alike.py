from __future__ import annotations

from os.path import commonprefix

from hypothesis import given
from hypothesis import strategies as st

from dmoa.runtime.alike import common_length

FEW = st.text("ab", max_size=6)


@given(FEW, FEW)
def test_it_counts_what_both_begin_with(one: str, other: str) -> None:
    assert common_length(one, other) == len(commonprefix([one, other]))  # noqa: RUF071
    assert common_length(one.encode(), other.encode()) == common_length(one, other)
    assert common_length(one, one + other) == len(one)
