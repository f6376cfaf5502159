from __future__ import annotations

import pytest

from dmoa.backends.refusals import as_object, read_refusal
from dmoa.errors import (
    BackendRefusedError,
    BackendTimeoutError,
    BackendUnavailableError,
    ContextLengthError,
)

LLAMA = {
    "error": {
        "code": 400,
        "message": "request (1931 tokens) exceeds the available context size (1024 tokens)",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 1931,
        "n_ctx": 1024,
    }
}
OPENAI = {
    "error": {
        "message": "This model's maximum context length is 8192 tokens. However, your messages "
        "resulted in 9001 tokens. Please reduce the length of the messages.",
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
    }
}
VLLM = {
    "object": "error",
    "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 "
    "tokens (4744 in the messages, 256 in the completion).",
    "type": "BadRequestError",
    "code": 400,
}


@pytest.mark.parametrize(
    ("status", "body", "prompt", "context"),
    [
        (400, LLAMA, 1931, 1024),
        (0, LLAMA, 1931, 1024),
        (400, {"error": LLAMA["error"]["message"]}, 1931, 1024),
        (400, OPENAI, 9001, 8192),
        (400, VLLM, 4744, 4096),
        (400, {"error": {"code": "context_length_exceeded"}}, 0, 0),
        (413, "<html>", 0, 0),
        (500, {"error": "input exceeds the context window"}, 0, 0),
    ],
)
def test_knows_a_prompt_that_is_too_long(status, body, prompt, context):
    error = read_refusal(status, body, who="it")
    assert isinstance(error, ContextLengthError)
    assert (error.prompt_tokens, error.context_tokens) == (prompt, context)
    assert error.hint


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (400, BackendRefusedError, None),
        (401, BackendRefusedError, "key"),
        (403, BackendRefusedError, "key"),
        (404, BackendRefusedError, None),
        (408, BackendTimeoutError, None),
        (422, BackendRefusedError, None),
        (429, BackendUnavailableError, "busy"),
        (500, BackendUnavailableError, "busy"),
        (503, BackendUnavailableError, "busy"),
        (529, BackendUnavailableError, "busy"),
    ],
)
def test_every_status_has_its_error_and_keeps_the_servers_words(status, error, hint):
    found = read_refusal(status, {"error": {"message": "its  own\nwords"}}, who="it")
    assert type(found) is error
    assert found.message == "it refused: its own words"
    assert (hint is None) == (found.hint is None)
    assert hint is None or hint in found.hint


@pytest.mark.parametrize("body", ["plain", {"detail": "plain"}, {"error": "plain"}])
def test_finds_the_words_in_every_shape(body):
    assert read_refusal(400, body, who="it").message == "it refused: plain"


@pytest.mark.parametrize("body", ["", {}, [], None, 7, {"error": None}])
def test_without_words_it_tells_the_status(body):
    assert read_refusal(418, body, who="it").message == "it refused: status 418"


def test_an_error_in_a_stream_has_the_status_of_its_code():
    error = read_refusal(0, {"error": {"code": 503, "message": "loading"}}, who="it")
    assert type(error) is BackendUnavailableError
    assert type(read_refusal(0, {"error": "no"}, who="it")) is BackendRefusedError


def test_long_words_are_cut():
    assert len(read_refusal(400, "x" * 10_000, who="it").message) < 600


def test_as_object_gives_only_objects():
    assert as_object({"a": 1}) == {"a": 1}
    assert as_object([1]) == {}
