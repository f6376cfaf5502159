"""Whatever JSON comes in: an answer or an error of OpenAI's shape, never a 500."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from api_room import HELLO, error_of, events_of, in_process, opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmoa.api.schema import ChatMessage, ChatRequest, DmoaOptions
from dmoa.runtime import virtual

# Halves of characters, NaN and numbers beyond all bounds can be written in JSON, too.
words = st.text(st.characters(exclude_categories=()), max_size=8)
numbers = st.integers() | st.floats() | st.sampled_from([0, 1, 2, -1, 10**30])
plain = st.none() | st.booleans() | numbers | words
anything = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def like(names: Any, **usual: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Make objects with the right names, and mostly the wrong values."""
    every = {name: usual.get(name, st.nothing()) | anything for name in names}
    return st.fixed_dictionaries({}, optional=every)


part = like(["type", "text"], type=st.just("text"), text=words)
message = like(
    ChatMessage.model_fields,
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    content=words | st.lists(part, max_size=3),
)
wishes = like(
    DmoaOptions.model_fields,
    layers=st.integers(0, 3),
    fanout=st.integers(0, 3),
    deadline=st.floats(0.001, 100),
    drafts=st.booleans(),
)
request = like(
    ChatRequest.model_fields,
    model=st.sampled_from(["dmoa", "local", "dmoa-m2k3", "dmoa-m0k0"]),
    messages=st.just(HELLO) | st.lists(message, max_size=3),
    stream=st.booleans(),
    stop=words | st.lists(words, max_size=5),
    max_tokens=st.integers(1, 20),
    dmoa=wishes,
)
sound = st.fixed_dictionaries(
    {"model": st.sampled_from(["dmoa", "local"]), "messages": st.just(HELLO)},
    optional={
        "stream": st.booleans(),
        "dmoa": wishes,
        "tools": anything,
        "stop": anything,
        "logit_bias": anything,
        "seed": numbers,
        "n": anything,
        "stream_options": anything,
    },
)


async def _asked(sent: Any) -> None:
    async with opened("n1", "n2", seconds=0.1) as room, in_process(room.home) as http:
        headers = {"content-type": "application/json"}
        response = await http.post(
            "/v1/chat/completions", content=json.dumps(sent), headers=headers
        )
        assert response.status_code != 500, response.text
        if response.status_code != 200:
            error_of(response)
        elif response.headers["content-type"] == "application/json":
            assert response.json()["object"] == "chat.completion"
        else:
            *_, last = events_of(response.text)
            assert last == "[DONE]" or "error" in last
        assert room.idle()
        calls = room.home._calls
        ours = {asyncio.current_task(), *calls._jobs.values(), *calls._probes}
        assert not asyncio.all_tasks() - ours


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(request | sound | anything)
def test_any_json_gets_an_answer_or_an_error(sent: Any) -> None:
    virtual.run(_asked(sent))
