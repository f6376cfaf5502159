"""Nodes on machines of their own, in a realm: a few rounds of what `rounds.py` does at length."""

from __future__ import annotations

import pytest
from namespaces import found, lab, missing
from rounds import NODE, WITHIN, Account, rounds

pytestmark = pytest.mark.real


def test_machines_that_are_cut_off_killed_or_stopped_come_back_and_lose_nothing() -> None:
    if reason := missing():
        pytest.skip(reason)
    account = Account()
    with lab(4) as machines:
        found(machines, *NODE)
        rounds(machines, 3, 0, account, longest=1.0)
        logs = {machine.node: machine.log.read_text() for machine in machines}
    assert {"back after cut", "back after kill", "back after stop"} <= account.seconds.keys()
    assert max(max(seconds) for seconds in account.seconds.values()) < WITHIN
    assert account.ends["completed"] > 10
    assert {name: log for name, log in logs.items() if "Traceback" in log} == {}
