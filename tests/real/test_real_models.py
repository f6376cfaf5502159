"""Real language models: embedded ones beside a server of another kind, and the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from real_room import Fleet, clean_environment, fleet_of

from dmoa.backends.weights import ensure_weights

pytestmark = pytest.mark.real

SHORT = "proposal=16&answer=16"
"""Real models are slow on small machines: a few tokens prove as much as many."""
SERVER = Path(__file__).parents[1] / "backends" / "llama_server.py"
PROMPT = "Name three uses of a paper clip."


# -- two kinds of backends ---------------------------------------------------------------


@pytest.fixture(scope="module")
def llama_server() -> Iterator[str]:
    """Run llama.cpp's own HTTP server on the small model."""
    with subprocess.Popen(
        [sys.executable, str(SERVER), str(ensure_weights())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(20)


@pytest.fixture(scope="module")
def fleet(llama_server: str) -> Iterator[Fleet]:
    remote = f"openai:{llama_server}/v1#served?{SHORT}"
    embedded = f"smollm2?{SHORT}"
    with fleet_of([embedded, remote, embedded, remote]) as fleet:
        yield fleet.meet()


@pytest.mark.parametrize(("home", "streams"), [("n1", True), ("n2", False)])
def test_a_mixture_of_embedded_and_served_models_works(
    fleet: Fleet, home: str, *, streams: bool
) -> None:
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    with fleet[home].sdk as client:
        if streams:
            chunks = list(
                client.chat.completions.create(
                    model="dmoa-m1k3", messages=messages, stream=True, timeout=60
                )
            )
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            trace = chunks[-1].model_extra["dmoa"]
            assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) > 4
        else:
            answer = client.chat.completions.create(
                model="dmoa-m1k3", messages=messages, timeout=60
            )
            text, trace = answer.choices[0].message.content or "", answer.model_extra["dmoa"]
            assert answer.choices[0].finish_reason in ("stop", "length")
    assert text.strip()
    assert (trace["home"], trace["degraded"]) == (home, [])
    assert [job["outcome"] for job in trace["jobs"]] == ["ok"] * 5
    models = {job["node"]: job["model"] for job in trace["jobs"]}
    assert models.keys() == {"n1", "n2", "n3", "n4"}
    assert models["n1"] == models["n3"] != models["n2"] == models["n4"]
    for job in trace["jobs"]:
        assert 0 < job["completion_tokens"] <= 16
        assert job["prompt_tokens"] > 10
    aggregator = trace["jobs"][-1]
    assert aggregator["node"] == home
    assert aggregator["prompt_tokens"] > trace["jobs"][0]["prompt_tokens"] + 16


def test_a_prompt_beyond_the_context_of_a_real_model_is_refused_in_openais_words(
    fleet: Fleet,
) -> None:
    messages: list[Any] = [{"role": "user", "content": "word " * 20_000}]
    for home in ("n1", "n2"):
        with (
            fleet[home].sdk as client,
            pytest.raises(openai.BadRequestError, match="Please reduce") as caught,
        ):
            client.chat.completions.create(model="local", messages=messages, timeout=60)
        assert caught.value.code == "context_length_exceeded"


# -- the demo ----------------------------------------------------------------------------


def demo(*args: str) -> tuple[dict[str, Any], float]:
    """Run a demo that must leave nothing behind; with its seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "dmoa", "demo", "--json", "--prompt", PROMPT, *args]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    assert out.count("\n") == 1
    assert left_of(process.pid) == []
    return json.loads(out), time.monotonic() - began


def left_of(pid: int) -> list[str]:
    """List the processes of a demo that still run, by the realm that it gave them."""
    realm = f"demo-{pid}".encode()
    left = []
    for process in Path("/proc").iterdir():
        try:
            words = (
                (process / "cmdline").read_bytes().split(b"\0") if process.name.isdigit() else []
            )
        except OSError:
            continue
        if realm in words:
            left.append(process.name)
    return left


@pytest.mark.parametrize(
    ("model", "layers", "fanout", "jobs"),
    [(f"smollm2?{SHORT}", 1, 2, 4), ("fake:0.05", 2, 3, 9)],
)
def test_a_demo_shows_its_jobs_and_leaves_no_process(
    model: str, layers: int, fanout: int, jobs: int
) -> None:
    shown, seconds = demo("--layers", str(layers), "--fanout", str(fanout), "--model", model)
    assert list(shown) == ["answer", "nodes", "dmoa"]
    assert shown["answer"].strip()
    nodes = [node["node"] for node in shown["nodes"]]
    assert len(set(nodes)) == 4
    assert len({node["pid"] for node in shown["nodes"]} | {os.getpid()}) == 5
    assert not [node for node in shown["nodes"] if Path(f"/proc/{node['pid']}").exists()]
    trace = shown["dmoa"]
    assert [job["outcome"] for job in trace["jobs"]] == ["ok"] * jobs
    assert trace["mixture"] == {"layers": layers, "fanout": fanout}
    assert {job["node"] for job in trace["jobs"]} <= set(nodes)
    assert len({job["node"] for job in trace["jobs"]}) == fanout + 1
    assert trace["degraded"] == []
    assert seconds < 100
