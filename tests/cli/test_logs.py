"""The log of a node: where it was raised is told, what it says is not."""

from __future__ import annotations

import asyncio
import io
import logging

import pytest

from dmoa.cli import logs


def written(formatter: logging.Formatter) -> str:
    """Log an error that quotes a prompt, behind one that quotes a key."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("test")  # noqa: LOG001 - one that nobody keeps
    logger.addHandler(handler)
    try:
        try:
            raise KeyError("marked-key")  # noqa: TRY301
        except KeyError as error:
            raise ValueError("marked-prompt") from error
    except ValueError:
        logger.exception("it %s", "broke")
    return stream.getvalue()


def test_what_an_exception_says_is_hidden_and_where_it_was_is_told() -> None:
    told = written(logs.Discreet("%(message)s"))
    assert "marked-prompt" not in told.replace('raise ValueError("marked-prompt")', "", 1)
    assert "marked-key" not in told.replace('raise KeyError("marked-key")', "", 1)
    lines = told.splitlines()
    assert lines[0] == "it broke"
    assert [line for line in lines if line.startswith(("KeyError", "ValueError"))] == [
        "KeyError (log_prompts = true shows what it says)",
        "ValueError (log_prompts = true shows what it says)",
    ]
    assert "test_logs.py" in told
    assert "ValueError: marked-prompt" in written(logging.Formatter("%(message)s"))


def test_what_nobody_waited_for_is_told_without_those_that_had_a_part(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def lose() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(logs.mishap)
        future = loop.create_future()
        future.set_exception(ValueError("marked-prompt"))
        del future
        await asyncio.sleep(0)

    asyncio.run(lose())
    (record,) = caplog.records
    assert record.getMessage() == "Future exception was never retrieved"
    assert record.exc_info is not None
