"""Server-sent events, as far as language models use them: the data of each event.

A parser fed with bytes as they come, however they are cut. Lines end in LF, CR or both;
comments and fields other than `data` are dropped. An event that lacks its closing empty
line at the end of the stream still counts, as some servers leave it out.
"""

from __future__ import annotations

import codecs
from typing import Final

EVENT_BYTES: Final = 4 * 1024 * 1024
"""Bound of one event; beyond it, what comes is no stream of tokens."""


class Parser:
    """Turns bytes into the data of events."""

    def __init__(self) -> None:
        # Only whole lines are split off, and only at CR and LF: str.splitlines also
        # splits at U+2028 and its kin, which may stand unescaped in JSON.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest: str = ""
        self._data: list[str] = []
        self._size = 0
        self.fed = self.found = False
        """Whether there were any bytes, and any events."""

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        """Take bytes, give the data of the events they complete.

        ValueError when one event grows beyond the bound.
        """
        self.fed = self.fed or bool(data)
        text = self._rest + self._decoder.decode(data, final)
        held = ""
        if text.endswith("\r") and not final:  # its LF may be still to come
            text, held = text[:-1], "\r"
        *lines, self._rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest += held
        if final:
            lines += [self._rest, ""]
            self._rest = ""
        events = [event for line in lines if (event := self._line(line)) is not None]
        self.found = self.found or bool(events)
        if self._size + len(self._rest) > EVENT_BYTES:
            raise ValueError(f"one event is longer than {EVENT_BYTES} bytes")
        return events

    def _line(self, line: str) -> str | None:
        if line:
            field, _, value = line.partition(":")
            if field == "data":
                self._data.append(value.removeprefix(" "))
                self._size += len(value)
            return None
        if not self._data:
            return None
        event, self._data, self._size = "\n".join(self._data), [], 0
        return event
