"""Streams of language models: the same events, however they are cut."""

from __future__ import annotations

from dmoa.backends.sse import Parser


def seeds() -> list[bytes]:
    return [
        b'\x07data: {"choices": []}\n\ndata: [DONE]\n\n',
        b"\x03: a comment\r\ndata: a\r\ndata:b\r\n\r\nevent: x\rdata: c",
        b"\x01\xef\xbb\xbfdata: \xe2\x82\xac\xe2\x80\xa8\n\nid: 1\n\n\n",
        b"\x02data: \xff\xfe\r\r\ndata\n\ndata:\n\n",
    ]


def cross(data: bytes) -> None:
    size, stream = (data[0] if data else 0) or 1, data[1:]
    whole = Parser().feed(stream, final=True)
    parser = Parser()
    cut = [
        event for at in range(0, len(stream), size) for event in parser.feed(stream[at : at + size])
    ]
    assert cut + parser.feed(b"", final=True) == whole
