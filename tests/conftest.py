"""Runs every `async def test_*`: on a virtual clock, or for real where it is marked `real`."""

from __future__ import annotations

import asyncio
import inspect
import signal

import pytest
from hypothesis import settings

from dmoa.runtime import virtual

# A machine that is another's for a moment is no fault of what is tested.
settings.register_profile("patient", parent=settings.default, deadline=None)
settings.load_profile("patient")


def pytest_configure() -> None:
    """Heed Ctrl-C, which children inherit, though the caller ignores it as shells let `&` do."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    test = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    run = asyncio.run if pyfuncitem.get_closest_marker("real") else virtual.run
    run(test)
    return True
