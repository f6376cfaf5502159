from __future__ import annotations

import pytest

from dmoa.core.names import NodeId
from dmoa.errors import ConfigError
from dmoa.net import keys

A, B = NodeId("a"), NodeId("b-2")


def test_keys_are_what_other_programs_may_rely_on() -> None:
    assert keys.namespace("home") == "dmoa/home"
    assert keys.jobs(B, A) == "jobs/b-2/a"
    assert keys.jobs(B) == "jobs/b-2/*"
    assert keys.withdrawals(B, A) == "withdraw/b-2/a"
    assert keys.withdrawals(B) == "withdraw/b-2/*"
    assert keys.standing(B, A) == "standing/b-2/a"
    assert keys.standing(B) == "standing/b-2/*"
    assert keys.roll(B, A) == "roll/b-2/a"
    assert keys.roll(B) == "roll/b-2/*"
    assert keys.digest(A) == "digest/a"
    assert keys.notice(A) == "revoked/a"
    assert keys.presence(A) == "alive/a"


@pytest.mark.parametrize("realm", ["", "A", "a/b", "a*", "-a", "a b", "x" * 33, "ä", "a\n"])
def test_what_is_no_name_is_no_realm(realm: str) -> None:
    assert not keys.is_realm_name(realm)
    with pytest.raises(ConfigError, match="cannot name a realm"):
        keys.namespace(realm)


@pytest.mark.parametrize(
    "key",
    [
        keys.jobs(B, A),
        keys.withdrawals(B, A),
        keys.standing(B, A),
        keys.roll(B, A),
        keys.notice(A),
        keys.digest(A),
        keys.presence(A),
    ],
)
def test_every_key_ends_with_who_speaks(key: str) -> None:
    assert keys.speaker(key) == A


@pytest.mark.parametrize("key", ["", "digest/", "digest/*", "digest/A", keys.jobs(B)])
def test_a_key_without_a_speaker_has_none(key: str) -> None:
    assert keys.speaker(key) is None


def test_wildcards_cover_their_keys() -> None:
    assert keys.digest(NodeId("*")) == keys.DIGESTS
    assert keys.presence(NodeId("*")) == keys.PRESENCES
    assert keys.notice(NodeId("*")) == keys.NOTICES
