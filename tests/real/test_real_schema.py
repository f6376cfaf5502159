"""A live node, asked all that its own description and OpenAI's allow, and some that they do not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from real_room import NodeProcess
from schemathesis import Case, GenerationMode, checks
from schemathesis.schemas import APIOperation, BaseSchema

pytestmark = pytest.mark.real
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "4"))
"""Of each operation and kind; more by hand."""
HANG_SECONDS = 60
CONFORMANCE = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
OPENAI = Path(__file__).parents[2].parent / "shared" / "data" / "openai_subset_openapi.json"
GROWTH = 64 * 1024 * 1024
"""Bytes that a node may grow by under all of it."""


@pytest.fixture(name="node", scope="module")
def _node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    place = tmp_path_factory.mktemp("schema")
    (place / "config.toml").write_text('store = ""\n')
    flags = [
        "--config",
        str(place / "config.toml"),
        "--model",
        "fake:0.001?tokens=1",
        "--realm",
        f"schema-{os.getpid()}",
    ]
    node = NodeProcess("n1", *flags, log=place / "log").ready()
    yield node
    node.process.terminate()
    assert node.finish() == 0
    assert "Traceback" not in (place / "log").read_text()


def memory(node: NodeProcess) -> int:
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def operations(schema: BaseSchema) -> Iterator[APIOperation]:
    for each in schema.get_all_operations():
        yield each.ok()


def ask(operation: APIOperation, check: Any) -> None:
    """Ask an operation what it allows, and then what it does not."""
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @seed(1)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def asked(case: Case) -> None:
            check(case)

        with suppress(Unsatisfiable):  # where there is nothing that it does not allow
            asked()


def test_it_does_what_it_says_of_itself(node: NodeProcess) -> None:
    schema = schemathesis.openapi.from_url(f"{node.url}/openapi.json")
    told = {f"{each.method.upper()} {each.path}" for each in operations(schema)}
    assert {"POST /v1/chat/completions", "GET /health", "POST /v1/responses"} <= told
    before = memory(node)

    def check(case: Case) -> None:
        answer = case.call(base_url=node.url, timeout=HANG_SECONDS)
        assert answer.status_code != 500, answer.text
        case.validate_response(answer, checks=CONFORMANCE)

    for operation in operations(schema):
        ask(operation, check)
    assert memory(node) - before < GROWTH


@pytest.mark.skipif(not OPENAI.exists(), reason="OpenAI's description is not there")
def test_it_answers_what_openai_would(node: NodeProcess) -> None:
    schema = schemathesis.openapi.from_path(str(OPENAI))
    before = memory(node)

    def check(case: Case) -> None:
        answer = case.call(base_url=f"{node.url}/v1", timeout=HANG_SECONDS)
        assert answer.status_code != 500, answer.text
        if answer.status_code >= 400:
            error = json.loads(answer.content)["error"]
            assert {"message", "type", "param", "code"} <= error.keys()

    for operation in operations(schema):
        ask(operation, check)
    assert memory(node) - before < GROWTH
