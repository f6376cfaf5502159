"""What a chat template puts in front of a text that is not complete yet.

A template is a program that nobody can run half. So it renders the whole chat with a mark in
place of the open text: what comes before the mark is the head, and the text follows it as it
is. The mark holds what a template might change (quotes, brackets, empty lines, indentation), so
that one which does is found out: it drops, repeats or alters the mark, and is not read ahead.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from dmoa.core.job import Prompt, Sampling, Turn
from dmoa.errors import BackendError, BackendRefusedError

MARK: Final = (
    'The "text" isn\'t <here> & [yet], but\\so it {{ will }} {% be %}:\n\n1. `so`\n   ä  *so*\nend'
)
"""Stands where the open text is to stand."""
_HEADS: Final = 16
"""Chats whose heads are remembered; one is a conversation's length at most."""


class Heads:
    """Finds the heads of open prompts; `render` gives the text a chat becomes.

    One head serves all steps in which a prompt is read: only its open text differs.
    """

    def __init__(self, render: Callable[[Prompt], Awaitable[str]]) -> None:
        self._render = render
        self._known: OrderedDict[Prompt, str | None] = OrderedDict()

    async def can(self) -> bool:
        """Tell whether the template keeps an open text where aggregators have theirs."""
        turns = (Turn("system", ""), Turn("user", "?"))
        try:
            await self.find(Prompt("aggregator", turns, Sampling(), open=0))
        except BackendError:
            return False
        return True

    async def find(self, prompt: Prompt) -> str:
        """Give the head of an open prompt; BackendRefusedError where its chat has none."""
        marked = _marked(prompt)
        if marked not in self._known:
            self._known[marked] = _before(await self._render(marked))
            while len(self._known) > _HEADS:
                self._known.popitem(last=False)
        head = self._known[marked]
        if head is None:
            raise BackendRefusedError("the chat template does not keep an open text as it is")
        return head


def _marked(prompt: Prompt) -> Prompt:
    """Put the mark in the place of the open text, and leave out what changes from step to step."""
    if prompt.open is None:
        raise BackendRefusedError("a complete prompt is not read ahead")
    turns = list(prompt.turns)
    turns[prompt.open] = replace(turns[prompt.open], content=MARK)
    return replace(prompt, turns=tuple(turns), sampling=Sampling(max_tokens=1), unread=0, job="")


def _before(text: str) -> str | None:
    head, *rest = text.split(MARK)
    return head if len(rest) == 1 else None
