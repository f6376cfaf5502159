"""How `dmoa peers` and `dmoa top` show peers that are blamed, shunned or not trusted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted_api import QUEUE, STANDING, Dmoa, ScriptedNode


def peer(name: str, **conduct: Any) -> dict[str, Any]:
    told = {"blame": 0.0, "shunned": False, "trusted": True, "offences": {}}
    return STANDING | {"node": name, "standing": told | conduct}


@pytest.fixture
def told(node: ScriptedNode) -> list[dict[str, Any]]:
    peers = [
        peer("n2"),
        peer("n3", blame=3.04, offences={"rubbish": 2}),
        peer("n4", blame=8.0, shunned=True, offences={"flood": 9}),
        peer("n5", trusted=False),
    ]
    node.on("/v1/peers", {"node": STANDING, "peers": peers})
    node.on("/v1/queue", QUEUE)
    return peers


@pytest.mark.usefixtures("told")
def test_peers_have_a_standing_where_anybody_is_blamed_or_left_out(dmoa: Dmoa) -> None:
    headings, home, *peers = dmoa("peers").stdout.splitlines()
    assert headings.split()[-1] == "standing"
    assert home.rstrip().endswith(" s")
    assert [line.split(" s ")[-1].strip() for line in peers] == [
        "ok",
        "blame 3.0",
        "shunned",
        "not trusted",
    ]


def test_where_all_is_well_nothing_is_said_of_it(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.on("/v1/peers", {"node": STANDING, "peers": [peer("n2")]})
    assert "standing" not in dmoa("peers").stdout


def test_a_program_is_told_all_of_it(dmoa: Dmoa, told: list[dict[str, Any]]) -> None:
    shown = json.loads(dmoa("peers", "--json").stdout)
    assert [each["standing"] for each in shown["peers"]] == [each["standing"] for each in told]
    assert "standing" not in shown["node"]


@pytest.mark.usefixtures("told")
def test_top_marks_who_is_not_asked(dmoa: Dmoa) -> None:
    lines = dmoa("top", "--once").stdout.splitlines()
    assert [line[:4] for line in lines[2:7]] == ["* n1", "  n2", "  n3", "x n4", "- n5"]
