"""From a backend URI to its adapter; only the adapter asked for is imported."""

from __future__ import annotations

from collections.abc import Callable

from dmoa.backends.uri import BackendUri, parse_uri
from dmoa.runtime.ports import Backend

# The imports stand inside so that reading a URI costs neither numpy nor an HTTP client.


def open_backend(uri: str, *, progress: Callable[[str], None] | None = None) -> Backend:
    """Make the backend that `uri` names; its `open()` then loads or reaches the model.

    `progress` hears, from any thread, lines for a person while weights are prepared.
    ConfigError when the URI is wrong.
    """
    parsed = parse_uri(uri)
    match parsed.kind:
        case "fake":
            return _fake(parsed)
        case "openai":
            from dmoa.backends.openai import OpenAIBackend  # noqa: PLC0415

            return OpenAIBackend(parsed)
        case "smollm2" | "llama" | "hub":
            from dmoa.backends.llamacpp import LlamaBackend  # noqa: PLC0415

            return LlamaBackend(parsed, progress=progress)


def _fake(uri: BackendUri) -> Backend:
    from dmoa.backends.fake import FakeBackend  # noqa: PLC0415

    return FakeBackend.from_uri(uri)
