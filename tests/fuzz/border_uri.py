"""URIs of backends: a model, or one line that says what is wrong."""

from __future__ import annotations

from dmoa.backends.registry import open_backend
from dmoa.backends.uri import parse_uri
from dmoa.errors import DmoaError

from .border_config import known


def seeds() -> list[bytes]:
    return [
        b"smollm2?context=4096&slots=2",
        b"llama:/models/a.gguf?threads=4&layout=short",
        b"hub:owner/repo/file.gguf?answer=100&proposal=50",
        b"openai:http://[::1]:8080/v1#name?key_env=KEY&stall=5&temperature=0.7&top_p=0.5",
        b"openai:https://user@host/v1#a/b:c?repeat_penalty=1.1&seed=7",
        b"fake:0.2?cv=0.5&seed=7&slots=2&crowding=0.1&tokens=3#m",
        b"fake:1?fail=refused&after=3",
    ]


def cross(data: bytes) -> None:
    text = data.decode("utf-8", "replace")  # settings are text
    try:
        parse_uri(text)
        if text.startswith(("fake", "openai")):  # others look for files
            open_backend(text)
    except DmoaError as error:
        known(error)
