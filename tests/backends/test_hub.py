from __future__ import annotations

import sys
from types import ModuleType

import pytest

from dmoa.backends.hub import ensure_file
from dmoa.errors import BackendUnavailableError, ConfigError


def hub(monkeypatch, *answers):
    """Put a hub in place that gives or raises the answers, and records how it was asked."""
    asked = []
    left = list(answers)

    def hf_hub_download(**fields):
        asked.append(fields)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = ModuleType("huggingface_hub")
    module.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_takes_what_is_here_without_asking_the_net(monkeypatch):
    asked = hub(monkeypatch, "/cache/f.gguf")
    assert ensure_file("own/repo/sub/f.gguf").as_posix() == "/cache/f.gguf"
    assert asked == [{"repo_id": "own/repo", "filename": "sub/f.gguf", "local_files_only": True}]


def test_fetches_what_is_not_here_and_says_so(monkeypatch):
    asked = hub(monkeypatch, FileNotFoundError("not here"), "/cache/f.gguf")
    said = []
    assert ensure_file("own/repo/f.gguf", said.append).name == "f.gguf"
    assert not asked[1].get("local_files_only")
    assert len(said) == 1


@pytest.mark.parametrize("kind", [OSError, ValueError, RuntimeError])
def test_a_failed_fetch_keeps_the_hubs_first_line(monkeypatch, kind):
    hub(monkeypatch, FileNotFoundError("not here"), kind("no route\nand more"))
    with pytest.raises(BackendUnavailableError) as caught:
        ensure_file("own/repo/f.gguf")
    assert caught.value.message.endswith("no route")
    assert caught.value.hint


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError) as caught:
        ensure_file("own/repo/f.gguf")
    assert "dmoa[hub]" in caught.value.hint
