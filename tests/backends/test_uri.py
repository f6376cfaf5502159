from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.backends.uri import BackendUri, parse_uri
from dmoa.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", BackendUri("smollm2")),
        ("smollm2", BackendUri("smollm2")),
        (" smollm2 ", BackendUri("smollm2")),
        ("?slots=2", BackendUri("smollm2", slots=2)),
        ("smollm2?context=2048&threads=3", BackendUri("smollm2", context=2048, threads=3)),
        ("llama:/models/a b.gguf", BackendUri("llama", "/models/a b.gguf")),
        ("llama:~/m.gguf", BackendUri("llama", "~/m.gguf")),
        (r"llama:C:\m.gguf?layout=full", BackendUri("llama", r"C:\m.gguf", layout="full")),
        ("hub:Own/Repo-GGUF/sub/f.gguf", BackendUri("hub", "Own/Repo-GGUF/sub/f.gguf")),
        ("openai:http://h:1/v1", BackendUri("openai", "http://h:1/v1")),
        ("openai:http://h:1/v1/#qwen3:4b", BackendUri("openai", "http://h:1/v1", "qwen3:4b")),
        ("openai:https://h/v1?slots=4#a/b", BackendUri("openai", "https://h/v1", "a/b", slots=4)),
        (
            "openai:https://h/v1#a/b?slots=4&key_env=MY_KEY&stall=30s",
            BackendUri("openai", "https://h/v1", "a/b", slots=4, key_env="MY_KEY", stall=30.0),
        ),
        ("fake:0.2", BackendUri("fake", seconds=0.2)),
        ("fake:0.2s#ann", BackendUri("fake", name="ann", seconds=0.2)),
        (
            "fake:1?tokens=20&slots=2&fail=too_long&after=3&answer=7&proposal=5",
            BackendUri(
                "fake",
                seconds=1.0,
                tokens=20,
                slots=2,
                fail="too_long",
                after=3,
                answer=7,
                proposal=5,
            ),
        ),
        (
            "fake:0.2?cv=0.5&seed=7&slots=2&crowding=.3#ann",
            BackendUri("fake", name="ann", seconds=0.2, cv=0.5, seed=7, slots=2, crowding=0.3),
        ),
        (
            "smollm2?temperature=0.9&top_p=.95&repeat_penalty=1&seed=3",
            BackendUri("smollm2", temperature=0.9, top_p=0.95, repeat_penalty=1.0, seed=3),
        ),
        (
            "fake:1?prefill=0.005&ahead=off",
            BackendUri("fake", seconds=1, prefill=0.005, ahead="off"),
        ),
        ("openai:http://h/v1?ahead=slot", BackendUri("openai", "http://h/v1", ahead="slot")),
        (
            "openai:http://h/v1#m?ahead=prefix",
            BackendUri("openai", "http://h/v1", "m", ahead="prefix"),
        ),
        ("fake:1?cv=0&seed=0&crowding=0", BackendUri("fake", seconds=1.0, seed=0)),
        ("fake:1?cv=1000&crowding=1000.0", BackendUri("fake", seconds=1.0, cv=1e3, crowding=1e3)),
    ],
)
def test_reads_every_form(text, expected):
    assert parse_uri(text) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("gpt4", "gpt4"),
        ("ollama:qwen", "ollama"),
        ("smollm2:x", "smollm2"),
        ("smollm2#x", "`#`"),
        ("llama:", "file"),
        ("hub:one/two", "OWNER/REPO"),
        ("openai:host:80", "URL"),
        ("openai:http://", "URL"),
        ("openai:http://h:99999/v1", "URL"),
        ("openai:http://[::1/v1", "URL"),
        ("fake:", "seconds"),
        ("fake:-1", "seconds"),
        ("fake:nan", "seconds"),
        ("fake:1?tokens=0", "tokens"),
        ("fake:1?fail=loudly", "fail"),
        ("fake:1?after=-1", "after"),
        ("fake:1?cv=-1", "`cv` needs a number from 0 to 1000"),
        ("fake:1?cv=nan", "`cv` needs a number from 0 to 1000"),
        ("fake:1?cv=inf", "cv"),
        ("fake:1?cv=", "cv"),
        ("fake:1?cv=1e3", "cv"),
        ("fake:1?cv=1000.1", "cv"),
        ("fake:1?cv=0.5&cv=0.6", "cv"),
        ("fake:1?cv=\u0662", "cv"),
        ("fake:1?crowding=-0.1", "`crowding` needs a number from 0 to 1000"),
        ("fake:1?crowding=much", "crowding"),
        ("fake:1?seed=-1", "`seed` needs a whole number, 0 or above"),
        ("fake:1?seed=1.5", "seed"),
        ("fake:1?seed=", "seed"),
        ("fake:1?prefill=-1", "`prefill` needs a number of seconds"),
        ("fake:1?ahead=slot", "`ahead` is `off`, or left out"),
        ("openai:http://h/v1?ahead=on", "`ahead` is `off`, `slot` or `prefix`"),
        ("smollm2?ahead=off", "a smollm2 backend has no setting `ahead`"),
        ("smollm2?crowding=0.3", "a smollm2 backend has no setting `crowding`"),
        ("llama:x.gguf?cv=0.5", "a llama backend has no setting `cv`"),
        ("openai:http://h/v1?cv=7", "has no setting `cv`"),
        ("fake:1?temperature=1", "has no setting `temperature`"),
        ("smollm2?temperature=2.1", "`temperature` needs a number from 0 to 2"),
        ("smollm2?top_p=1.01", "`top_p` needs a number from 0 to 1"),
        ("llama:a.gguf?repeat_penalty=-1", "`repeat_penalty` needs a number from 0 to 2"),
        ("smollm2?con\ntext=1", "not a URI"),
        ("openai:http://h/v1#\x1b[31m", "not a URI"),
        ("?context=many", "context"),
        ("?context=0", "context"),
        ("?context=99999999999999999999", "context"),
        ("?slots=\u0662", "slots"),
        ("?slots=1&slots=2", "slots"),
        ("?layout=long", "layout"),
        ("?stall=0", "stall"),
        ("?contxt=5", "contxt"),
        ("llama:x.gguf?key_env=A", "key_env"),
    ],
)
def test_refuses_what_it_does_not_know_and_names_it(text, named):
    with pytest.raises(ConfigError) as caught:
        parse_uri(text)
    assert named in caught.value.message
    assert "\n" not in caught.value.message


def test_an_unknown_setting_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        parse_uri("openai:http://h/v1?kontext=5")
    for key in ("context", "slots", "threads", "answer", "proposal", "layout", "key_env"):
        assert key in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "openai:http://user:SECRET@h/v1",
        "openai:http://SECRET@h/v1",
        "openai:http://h/v1?api_key=SECRET",
        "openai:http://h/v1?key_env=sk-SECRET",
        "openai:http://h/v1?slots=SECRET",
        "http://user:SECRET@h/v1",
    ],
)
def test_a_secret_is_refused_and_never_repeated(text):
    with pytest.raises(ConfigError) as caught:
        parse_uri(text)
    assert "SECRET" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"


@given(st.text(max_size=60) | st.text(max_size=40).map("openai:http://".__add__))
def test_any_text_is_a_uri_or_a_config_error(text):
    with suppress(ConfigError):
        assert isinstance(parse_uri(text), BackendUri)


def test_reading_a_uri_imports_no_engine_and_no_client():
    code = (
        "import sys; from dmoa.backends import registry; registry.open_backend('fake:1');"
        "print(*{'xllamacpp', 'httpx2', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
