"""What the doctor says of a realm's papers."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dmoa.config import Settings, realms
from dmoa.config.realms import Membership
from dmoa.doctor import Finding, papers
from dmoa.realm import certificates, founding, notice

DAY = 86_400.0
NOW = 1_800_000_000.0


@pytest.fixture
def membership(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Membership:
    monkeypatch.setenv(realms.VARIABLE, str(tmp_path / "realms"))
    return founding.found("lab", "alice", port=7447, hosts=("127.0.0.1",), now=NOW)


def told(now: float) -> list[Finding]:
    found = papers.realm(Settings(node="alice", realm="lab"), clock=lambda: now)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("days", "state"), [(0, "ok"), (19, "ok"), (21, "note"), (31, "bad"), (-40, "bad")]
)
@pytest.mark.usefixtures("membership")
def test_a_certificate_is_judged_by_what_is_left_of_it(days: float, state: str) -> None:
    [found] = told(NOW + days * DAY)
    assert found.state == state
    assert "alice" in found.told


def test_who_was_revoked_is_told_and_how_to_come_back(membership: Membership) -> None:
    key = certificates.read_key(membership.authority_key_file)
    membership.notice_file.write_bytes(notice.sign("lab", 1, {"alice": NOW + DAY}, key, NOW))
    [found] = told(NOW)
    assert (found.state, found.told) == ("bad", "alice was revoked in realm lab")
    assert "invitation" in found.fix


def test_a_founder_that_answers_is_ok_and_one_that_does_not_is_told(
    membership: Membership,
) -> None:
    with closing(socket.socket()) as desk:
        desk.bind(("127.0.0.1", 0))
        desk.listen()
        place = f"127.0.0.1:{desk.getsockname()[1]}"
        away = replace(membership, founder="zoe", authority=(place,))
        realms.write(away)
        assert [each.state for each in told(NOW)] == ["ok", "ok"]
    assert [each.state for each in told(NOW)] == ["ok", "note"]
    late = told(NOW + 25 * DAY)
    assert [each.state for each in late] == ["note", "bad"]
    assert place in late[1].told


def test_insecure_nodes_are_told_what_that_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(realms.VARIABLE, str(tmp_path))
    found = papers.realm(Settings(node="n1", insecure=True))
    assert isinstance(found, Finding)
    assert found.state == "note"
    assert papers.realm(Settings(node="n1")) == Finding(
        "realm", "ok", "home, on this machine alone"
    )


def test_room_is_looked_for_where_things_are_kept(tmp_path: Path) -> None:
    settings = Settings(
        node="n1", port=0, store=str(tmp_path / "kept.db"), record=str(tmp_path / "record.jsonl")
    )
    assert [each.check for each in papers.room(settings)] == ["responses", "weights", "record"]
    other = replace(settings, store="auto", record="", model="fake:1")
    assert papers.room(other) == []
