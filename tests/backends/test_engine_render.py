"""What the embedded engine's chat template makes of a chat, and where it is asked."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from speaking_gguf import speaking_gguf

from dmoa.backends import engine as module
from dmoa.backends.engine import Engine
from dmoa.errors import BackendRefusedError, BackendUnavailableError

pytestmark = pytest.mark.real

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
SECONDS = 120
AT_ONCE = """
import sys
from pathlib import Path
from dmoa.backends.engine import Engine
for _ in range(20):
    Engine(Path(sys.argv[1]), context=64, slots=1, threads=1).close()
"""
CHAT = {"messages": [{"role": "user", "content": "Wie schön?"}], "max_tokens": 3}


@pytest.fixture
def load(tmp_path):
    engines = []

    def load():
        path = speaking_gguf(tmp_path / "m.gguf", TEMPLATE, [])
        engines.append(Engine(path, context=256, slots=1, threads=1))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


def test_tells_what_the_template_makes_of_a_chat(load):
    engine = load()
    assert engine.render(CHAT) == "<user>Wie schön?<assistant>"
    with pytest.raises(BackendRefusedError):
        engine.render({"messages": 7})
    engine.close()
    with pytest.raises(BackendUnavailableError):
        engine.render(CHAT)


def test_without_unix_sockets_it_listens_here_alone_and_wants_the_key(load, monkeypatch):
    monkeypatch.setattr(
        module, "sys", SimpleNamespace(platform="win32", maxsize=sys.maxsize), raising=True
    )
    engine = load()
    assert engine._server.listening_address.startswith("http://127.0.0.1:")
    assert engine.render(CHAT) == "<user>Wie schön?<assistant>"
    engine._key = "a guess"
    with pytest.raises(BackendRefusedError):
        engine.render(CHAT)


def test_a_server_that_does_not_answer_is_unavailable(tmp_path):
    with pytest.raises(BackendUnavailableError):
        module._connection(f"unix://{tmp_path}/absent.sock")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'"x"', b"\xff"])
def test_an_answer_without_a_text_is_a_refusal(body):
    with pytest.raises(BackendRefusedError):
        module._rendered(body)


def test_one_that_is_closed_as_soon_as_it_is_loaded_ends(tmp_path):
    """A server of llama.cpp forgets an end that comes before its loop has begun."""
    path = speaking_gguf(tmp_path / "m.gguf", TEMPLATE, [])
    subprocess.run([sys.executable, "-c", AT_ONCE, path], check=True, timeout=SECONDS)
