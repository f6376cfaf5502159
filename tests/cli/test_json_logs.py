"""The log of a node: lines for people, or one object a line for programs."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from dmoa.cli.logs import Discreet, Lines


def record(text: str, *args: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("dmoa.net", level, __file__, 1, text, args, None)


def test_a_record_is_one_object_on_one_line() -> None:
    made = record("peer %s says\n%s", "n2", '"\x1b[31m\u2028"')
    line = Lines(Discreet(), "n1").format(made)
    assert "\n" not in line
    assert line.isascii()
    told = json.loads(line)
    assert list(told) == ["time", "level", "logger", "node", "message"]
    assert (told["level"], told["logger"], told["node"]) == ("warning", "dmoa.net", "n1")
    assert told["message"] == 'peer n2 says\n"\x1b[31m\u2028"'
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["time"])
    moment = datetime.fromisoformat(told["time"])
    assert abs(moment.timestamp() - made.created) < 0.001
    assert moment.tzinfo == UTC


def test_what_was_raised_is_told_as_discreetly_as_elsewhere() -> None:
    made = record("it failed")
    try:
        int("marked-prompt")
    except ValueError:
        made.exc_info = sys.exc_info()
    told = json.loads(Lines(Discreet(), "n1").format(made))
    assert told["exception"].endswith("ValueError (log_prompts = true shows what it says)")
    assert "test_json_logs.py" in told["exception"]
    frank = json.loads(Lines(logging.Formatter(), "n1").format(made))
    assert "invalid literal" in frank["exception"]
    assert "invalid literal" not in told["exception"]


LOGS = """
import logging, sys
from dmoa.cli.logs import begin
begin("info", prompts=False, node="n1" if sys.argv[1] == "json" else "")
logging.getLogger("dmoa.x").info("it is %s", "so")
logging.getLogger("dmoa.x").debug("nobody hears it")
"""


@pytest.mark.real
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_process_writes_its_log_as_it_was_told(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGS, form],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.stdout == ""
    if form == "text":
        assert done.stderr == "INFO dmoa.x: it is so\n"
    else:
        assert json.loads(done.stderr)["message"] == "it is so"
        assert done.stderr.count("\n") == 1
