"""What a person at a terminal sees: on a pseudo-terminal, with keys."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from scripted_api import ScriptedNode, answered

pty = pytest.importorskip("pty")
pytestmark = pytest.mark.real


class Terminal:
    """One command on a terminal of its own."""

    def __init__(self, node: ScriptedNode, *args: str) -> None:
        self.keys, ours = pty.openpty()
        self.seen = ""
        environ = os.environ | {"DMOA_URL": node.url, "TERM": "xterm", "COLUMNS": "80"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dmoa", *args],
            stdin=ours,
            stdout=ours,
            stderr=ours,
            env=environ,
            preexec_fn=lambda: os.login_tty(ours),  # noqa: PLW1509 - so that keys are signals
        )
        os.close(ours)

    def wait_for(self, words: str) -> str:
        """Read until the words are there; give what came until their end."""
        while words not in self.seen:
            readable, _, _ = select.select([self.keys], [], [], 20.0)
            try:
                piece = os.read(self.keys, 65536) if readable else b""
            except OSError:  # it ended
                piece = b""
            self.seen += piece.decode(errors="replace")
            assert piece, f"{words!r} is not in {self.seen!r}"
        before, found, self.seen = self.seen.partition(words)
        return before + found

    def type(self, keys: str) -> None:
        os.write(self.keys, keys.encode())

    def ends(self) -> int:
        return self.process.wait(timeout=20)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for each in opened:
        each.process.kill()
        each.process.wait()
        os.close(each.keys)


def test_progress_gives_way_to_the_answer(node: ScriptedNode, terminals: list[Terminal]) -> None:
    node.chats(answered("Of \x1b]0;me\x07", "scattering."))
    terminal = Terminal(node, "ask", "Why?")
    terminals.append(terminal)
    seen = terminal.wait_for("note: n3 was lost")
    assert "layer 1" in seen
    assert '"Because"' in seen
    assert "Of ]0;mescattering." in seen
    assert "wrote" not in seen
    assert terminal.ends() == 0


def test_a_conversation_is_typed(node: ScriptedNode, terminals: list[Terminal]) -> None:
    node.chats(answered("Good."))
    terminal = Terminal(node, "chat")
    terminals.append(terminal)
    assert "n1 and 2 peers listen" in terminal.wait_for("> ")
    terminal.type("How?\n")
    terminal.wait_for("Good.")
    terminal.wait_for("> ")
    time.sleep(0.3)  # Python's `input` misses a signal between its prompt and its waiting
    terminal.type("\x03")
    terminal.wait_for("Ctrl-D leaves")
    terminal.wait_for("> ")
    terminal.type("/what\n")
    terminal.wait_for("/what is no command")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.ends() == 0


def test_an_answer_is_stopped_and_the_conversation_goes_on(
    node: ScriptedNode, terminals: list[Terminal]
) -> None:
    node.pause = 1.0
    node.chats(answered("Good."))
    terminal = Terminal(node, "chat")
    terminals.append(terminal)
    terminal.wait_for("> ")
    terminal.type("How?\n")
    while not node.bodies:
        time.sleep(0.01)
    terminal.type("\x03")
    terminal.wait_for("(stopped)")
    node.pause = 0.0
    terminal.wait_for("> ")
    terminal.type("And now?\n")
    terminal.wait_for("Good.")
    terminal.wait_for("> ")
    terminal.type("/quit\n")
    assert terminal.ends() == 0
    assert [turn["content"] for turn in node.bodies[1]["messages"]] == ["And now?"]
