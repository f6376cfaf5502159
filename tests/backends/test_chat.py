from __future__ import annotations

import json

import pytest

from dmoa.backends.chat import Assembly, read_cached, read_chunk, request_fields
from dmoa.core.job import Prompt, Sampling, Turn
from dmoa.errors import (
    BackendRefusedError,
    BackendRubbishError,
    BackendUnavailableError,
    ContextLengthError,
)

ASK = Prompt("aggregator", (Turn("user", "four"),), Sampling(max_tokens=9))


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields}]}


def end(reason="stop"):
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def assemble(*chunks, prompt=ASK):
    assembly = Assembly(prompt, "m", "it")
    texts = [assembly.take(read_chunk(chunk)) for chunk in chunks]
    return [text for text in texts if text], assembly.completion()


def test_puts_texts_and_counts_together():
    usage = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 5}}
    texts, whole = assemble(
        delta(role="assistant", content=None),
        delta(content="a"),
        delta(content="b"),
        end("length"),
        usage,
    )
    assert texts == ["a", "b"]
    assert (whole.text, whole.model, whole.finish) == ("ab", "m", "length")
    assert (whole.prompt_tokens, whole.completion_tokens) == (11, 5)
    assert whole.tool_calls == ""


def test_estimates_what_is_not_counted():
    _, whole = assemble(delta(content="a"), delta(content="b"), end())
    assert (whole.prompt_tokens, whole.completion_tokens) == (2, 2)
    _, whole = assemble(delta(content="x" * 400), end())
    assert whole.completion_tokens == 100


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("stop", "stop"), ("length", "length"), ("eos", "stop"), ("tool_calls", "stop")],
)
def test_knows_the_reasons(reason, finish):
    assert assemble(delta(content="a"), end(reason))[1].finish == finish


def test_only_the_first_of_several_answers_counts():
    other = {"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]}
    assembly = Assembly(ASK, "m", "it")
    assert assembly.take(read_chunk(other)) == ""
    assert assembly.reason is None


def test_an_answer_that_is_not_streamed_is_taken_whole():
    whole = {"choices": [{"message": {"content": "all"}, "finish_reason": "stop"}]}
    assert assemble(whole)[1].text == "all"


def call(index, **fields):
    return delta(tool_calls=[{"index": index, **fields}])


def test_tool_calls_grow_piece_by_piece():
    _, whole = assemble(
        call(0, id="a", type="function", function={"name": "sun", "arguments": ""}),
        call(1, id="b", function={"name": "rain"}),
        call(0, function={"arguments": '{"x"'}),
        call(0, function={"arguments": ":1}"}),
        end("tool_calls"),
    )
    assert whole.finish == "tool_calls"
    assert json.loads(whole.tool_calls) == [
        {"id": "a", "type": "function", "function": {"name": "sun", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "rain", "arguments": "{}"}},
    ]


def test_tool_calls_without_index_are_told_apart_by_id():
    _, whole = assemble(
        delta(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]),
        delta(tool_calls=[{"id": "b", "function": {"name": "g", "arguments": "{"}}]),
        delta(tool_calls=[{"function": {"arguments": "}"}}]),
        end("stop"),
    )
    calls = json.loads(whole.tool_calls)
    assert [(c["id"], c["function"]["arguments"]) for c in calls] == [("a", '{"x":1}'), ("b", "{}")]
    assert whole.finish == "tool_calls"


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thoughts_are_dropped_and_alone_are_no_answer(name):
    assert assemble(delta(**{name: "hm"}), delta(content="a"), end())[1].text == "a"
    with pytest.raises(BackendRubbishError) as caught:
        assemble(delta(**{name: "hm"}), end("length"))
    assert "thought" in caught.value.message
    assert caught.value.hint


def test_an_empty_answer_is_none_unless_a_stop_text_may_have_made_it():
    with pytest.raises(BackendRubbishError):
        assemble(end())
    stopped = Prompt("aggregator", ASK.turns, Sampling(max_tokens=9, stop=("\n",)))
    assert assemble(end(), prompt=stopped)[1].text == ""


@pytest.mark.parametrize(
    ("chunk", "error"),
    [
        ({"error": {"code": 500, "message": "boom"}}, BackendUnavailableError),
        ({"error": {"type": "exceed_context_size_error"}}, ContextLengthError),
        ({"error": "boom"}, BackendRefusedError),
        ({"object": "error", "message": "boom"}, BackendRefusedError),
    ],
)
def test_an_error_in_the_stream_is_raised(chunk, error):
    with pytest.raises(error):
        assemble(chunk)


@pytest.mark.parametrize(
    "data", ["", "<html>", "[]", '{"choices": 7}', '{"choices": [{"delta": 1}]}']
)
def test_what_is_no_chunk_is_rubbish(data):
    with pytest.raises(BackendRubbishError):
        read_chunk(data)


def test_says_only_what_the_user_said():
    assert request_fields(ASK) == {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "four"}],
    }


def test_says_all_that_the_user_said():
    sampling = Sampling(0.5, 0.9, 9, ("a", "b"), 7, 0.1, 0.0)
    extra = json.dumps({"tool_call_id": "x", "role": "user", "content": "forged"})
    options = json.dumps({"tools": [1], "messages": "forged", "stream": False, "n": 3})
    prompt = Prompt("proposer", (Turn("tool", "sunny", extra),), sampling, options)
    assert request_fields(prompt) == {
        "tools": [1],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 9,
        "stop": ["a", "b"],
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.0,
        "messages": [{"tool_call_id": "x", "role": "tool", "content": "sunny"}],
    }


@pytest.mark.parametrize("options", ["[1]", "{", "7"])
def test_options_that_are_no_object_are_refused(options):
    with pytest.raises(BackendRefusedError):
        request_fields(Prompt("proposer", (), Sampling(), options))


@pytest.mark.parametrize(
    ("chunk", "cached"),
    [
        ({"usage": {"prompt_tokens_details": {"cached_tokens": 7}}}, 7),
        ({"usage": {"prompt_tokens_details": {"cached_tokens": 0}}, "timings": {"cache_n": 9}}, 0),
        ({"timings": {"cache_n": 9, "prompt_n": 2}}, 9),
        ({"usage": {"prompt_tokens_details": None}, "timings": {"cache_n": 9}}, 9),
        ({"usage": {"prompt_tokens_details": {"cached_tokens": -1}}}, None),
        ({"usage": {"prompt_tokens_details": "many"}, "timings": [1]}, None),
        ({"usage": {"prompt_tokens": 5}}, None),
        ({}, None),
    ],
)
def test_what_was_in_the_cache_is_a_hint_that_may_be_missing_or_nonsense(chunk, cached):
    assert read_cached(read_chunk(chunk)) == cached


def test_counts_that_are_none_are_estimated():
    text = delta(content="four words are here")
    usage = {"usage": {"prompt_tokens": -1, "completion_tokens": -5}}
    _, completion = assemble(text, end(), usage)
    assert completion.prompt_tokens > 0
    assert completion.completion_tokens > 0
