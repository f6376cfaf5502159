from __future__ import annotations

import pytest

from dmoa.backends.fake import FakeBackend
from dmoa.backends.llamacpp import LlamaBackend
from dmoa.backends.openai import OpenAIBackend
from dmoa.backends.registry import open_backend
from dmoa.errors import ConfigError


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("", LlamaBackend),
        ("smollm2?slots=2", LlamaBackend),
        ("llama:m.gguf", LlamaBackend),
        ("hub:a/b/c.gguf", LlamaBackend),
        ("openai:http://127.0.0.1:9/v1#m", OpenAIBackend),
        ("fake:0", FakeBackend),
    ],
)
def test_makes_the_backend_that_is_named(uri, kind):
    assert type(open_backend(uri)) is kind


def test_refuses_an_unknown_backend():
    with pytest.raises(ConfigError):
        open_backend("nonsense:1")


def test_settings_reach_the_profile():
    backend = open_backend("fake:0?slots=3&context=99&proposal=5&answer=6&layout=short#ann")
    profile = backend.profile
    assert (profile.model, profile.slots, profile.context_tokens) == ("ann", 3, 99)
    assert (profile.proposal_tokens, profile.answer_tokens, profile.layout) == (5, 6, "short")
