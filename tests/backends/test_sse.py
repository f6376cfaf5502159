from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.backends import sse


def parse(*pieces: bytes) -> list[str]:
    parser = sse.Parser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.feed(b"", final=True)


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: one\n\ndata: two\n\n", ["one", "two"]),
        (b"data: one\r\n\r\ndata:two\r\rdata: three\n\n", ["one", "two", "three"]),
        (b": a comment\n\ndata: one\n: another\n\n", ["one"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"event: message\nid: 7\nretry: 3\ndata: one\n\n", ["one"]),
        (b"\xef\xbb\xbfdata: one\n\n", ["one"]),
        ("data: a\u2028b\u0085c\x0bd\n\n".encode(), ["a\u2028b\u0085c\x0bd"]),
        (b"data: last, unfinished", ["last, unfinished"]),
        (b"data: last, one newline\n", ["last, one newline"]),
        (b"data: last, cr\r", ["last, cr"]),
        (b"data:  two spaces\n\n", [" two spaces"]),
        (b"<html>no stream</html>\n\n", []),
        (b"", []),
    ],
)
def test_reads(raw, events):
    assert parse(raw) == events


line = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))


@given(
    st.lists(st.lists(line, min_size=1, max_size=3).map("\n".join)),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.lists(st.integers(0, 400)),
)
def test_however_it_is_cut_the_events_are_the_same(texts, end, cuts):
    events = ("".join(f"data: {one}{end}" for one in text.split("\n")) + end for text in texts)
    raw = "".join(events).encode()
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    pieces = [raw[low:high] for low, high in pairwise(places)]
    assert parse(*pieces) == texts


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_bytes_may_come_one_by_one(end):
    raw = f"data: a{end}data: \u00fc{end}{end}data: c{end}{end}".encode()
    assert parse(*(bytes([byte]) for byte in raw)) == ["a\n\u00fc", "c"]


def test_an_event_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "EVENT_BYTES", 1000)
    for piece in (b"x", b"data: x\n"):
        with pytest.raises(ValueError, match="longer"):
            parse(*[piece] * 2000)


def test_tells_whether_anything_came():
    parser = sse.Parser()
    assert not parser.fed
    parser.feed(b"<html>")
    assert parser.fed
    assert not parser.found
    parser.feed(b"\n\ndata: x\n\n")
    assert parser.found
