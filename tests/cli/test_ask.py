"""`dmoa ask` and `dmoa chat`: text on stdout, talk on stderr, errors in one line."""

from __future__ import annotations

import json

import pytest
from scripted_api import LAST, TRACE, Dmoa, ScriptedNode, answered, chunk, refused, sse


def test_the_answer_is_on_stdout_and_the_talk_on_stderr(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(answered("Of ", "scattering."))
    result = dmoa("ask", "Why?", "--layers", "1", "--fanout", "3")
    assert result.exit_code == 0
    assert result.stdout == "Of scattering.\n"
    assert result.stderr.splitlines() == [
        "layer 1: n2 is asked",
        "layer 1: n2 wrote 7 tokens in 1.50 s",
        "layer 1: n3 lost, it died",
        "note: n3 was lost",
    ]
    (body,) = node.bodies
    assert body["model"] == "dmoa"
    assert body["stream"] is True
    assert body["messages"] == [{"role": "user", "content": "Why?"}]
    assert body["dmoa"] == {"layers": 1, "fanout": 3}


def test_what_was_read_ahead_is_told_behind_the_answer(dmoa: Dmoa, node: ScriptedNode) -> None:
    asked = chunk(dmoa={"progress": LAST | {"outcome": "pending", "early_tokens": 0}})
    end = (chunk(dmoa={"progress": LAST}), chunk(finish="stop", dmoa=TRACE | {"degraded": []}))
    node.chats(sse(asked, chunk("So."), *end))
    result = dmoa("ask", "Why?")
    assert result.stdout == "So.\n"
    assert result.stderr.splitlines() == [
        "aggregation: n1 is asked",
        "aggregation: n1 wrote 7 tokens in 1.50 s, 112 of 187 prompt tokens were read before",
    ]


def test_the_prompt_can_come_from_stdin_and_any_model_be_asked(
    dmoa: Dmoa, node: ScriptedNode
) -> None:
    node.chats(answered("x\n"))
    result = dmoa("ask", "-", "--model", "local", typed="Long story.\n")
    assert result.stdout == "x\n"
    (body,) = node.bodies
    assert body["messages"][0]["content"] == "Long story.\n"
    assert (body["model"], body["dmoa"]) == ("local", {})


def test_a_question_can_be_kept_at_home(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(answered("x\n"))
    dmoa("ask", "Why?", "--private")
    dmoa("chat", "--private", typed="Why?\n")
    assert [each["dmoa"] for each in node.bodies] == [{"private": True}, {"private": True}]


def test_json_is_one_object(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(answered("Of ", "scattering.\u2028"))
    result = dmoa("ask", "Why?", "--json")
    assert json.loads(result.stdout) == {"answer": "Of scattering.\u2028", "dmoa": TRACE}
    assert result.stdout.count("\n") == 1


def test_a_server_without_traces_will_do(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(sse(chunk("Hello"), chunk(finish="length")))
    result = dmoa("ask", "Why?", "--url", node.url + "/v1/")
    assert result.stdout == "Hello\n"
    assert result.stderr == "note: the answer was cut at its limit of tokens\n"


UNMEASURED = {"model": "local", "why": "unmeasured", "detail": "nobody has measured it"}


@pytest.mark.parametrize("why", ["unmeasured", "measured", "chosen"])
def test_who_got_no_mixture_is_told_why(dmoa: Dmoa, node: ScriptedNode, why: str) -> None:
    trace = TRACE | {"degraded": [], "jobs": [], "default": UNMEASURED | {"why": why}}
    node.chats(sse(chunk("Yes"), chunk(finish="stop", dmoa=trace)))
    said = "the own model answered alone: nobody has measured it"
    assert (said in dmoa("ask", "Why?").stderr) == (why == "unmeasured")
    chat = dmoa("chat", typed="one\ntwo\n")
    assert chat.stderr.count(said) == (why == "unmeasured"), "it is said once"


def test_an_empty_prompt_is_refused(dmoa: Dmoa) -> None:
    result = dmoa("ask", " ")
    assert result.exit_code == 2
    assert result.stderr == 'error: the prompt is empty\n\nhint: write it like `dmoa ask "Why?"`\n'


def test_nobody_there_is_said_with_a_hint(dmoa: Dmoa) -> None:
    result = dmoa("ask", "Why?", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "error: no node answers at http://127.0.0.1:9\n\nhint: start one with `dmoa up`\n"
    )


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://", "http://a:b", ""])
def test_a_url_that_is_none_is_refused(dmoa: Dmoa, url: str) -> None:
    result = dmoa("ask", "Why?", "--url", url)
    assert result.exit_code == 2
    assert f"error: {url!r} is no URL of a node\n" in result.stderr


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, "invalid_mixture", (2, None)),
        (404, "model_not_found", (2, "`dmoa` and `local` are always offered")),
        (400, "context_length_exceeded", (1, "shorten the prompt")),
        (429, None, (1, "try again in 3 s")),
        (503, None, (1, None)),
        (500, "who knows", (1, None)),
    ],
)
def test_an_error_of_the_node_becomes_one_here(
    dmoa: Dmoa, node: ScriptedNode, status: int, code: str | None, outcome: tuple[int, str | None]
) -> None:
    node.chats(refused("not so", code), status, retry_after="3")
    result = dmoa("ask", "Why?")
    exit_code, hint = outcome
    assert result.exit_code == exit_code
    assert result.stderr == "error: not so\n" + (f"\nhint: {hint}\n" if hint else "")


def test_a_hint_of_the_node_is_passed_on(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(refused("not so (as you know) (hint: do (or do not))", "model_not_found"), 404)
    assert dmoa("ask", "Why?").stderr == "error: not so (as you know)\n\nhint: do (or do not)\n"


def test_an_error_without_a_body_becomes_one_too(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(b"<html>", 502)
    result = dmoa("ask", "Why?")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: HTTP status 502 from http://127.0.0.1:")


def test_an_error_in_mid_stream_ends_the_answer(dmoa: Dmoa, node: ScriptedNode) -> None:
    problem = json.loads(refused("its deadline passed", "deadline_exceeded"))
    node.chats(sse(chunk("Of "), problem))
    result = dmoa("ask", "Why?")
    assert (result.exit_code, result.stdout) == (1, "Of ")
    assert result.stderr == "error: its deadline passed\n"


def test_a_node_that_goes_away_is_said(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(sse(chunk("Of "), done=False))
    result = dmoa("ask", "Why?")
    assert result.exit_code == 1
    assert "went away in the middle of its answer" in result.stderr


def test_what_is_no_node_is_said(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(b"data: nonsense\n\n")
    result = dmoa("ask", "Why?")
    assert result.exit_code == 1
    assert "is no node of dmoa" in result.stderr
    assert "hint: name the URL that `dmoa up` printed" in result.stderr


def test_a_conversation_is_remembered(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(answered("Good."))
    result = dmoa("chat", "--fanout", "0", typed="How?\n\nAnd you?\n/new\nWho?\n/quit\nNever.\n")
    assert result.exit_code == 0
    assert result.stdout == "Good.\n" * 3
    assert [[turn["content"] for turn in body["messages"]] for body in node.bodies] == [
        ["How?"],
        ["How?", "Good.", "And you?"],
        ["Who?"],
    ]
    assert node.bodies[0]["dmoa"] == {"fanout": 0}


def test_an_unknown_word_in_a_pipe_ends_a_conversation(dmoa: Dmoa) -> None:
    result = dmoa("chat", typed="/what\n")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: /what is no command\n\nhint: /quit or Ctrl-D leaves")


def test_a_conversation_in_a_pipe_ends_with_its_first_error(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.chats(refused("no", "overloaded"), 429)
    result = dmoa("chat", typed="How?\nAnd you?\n")
    assert result.exit_code == 1
    assert len(node.bodies) == 1
