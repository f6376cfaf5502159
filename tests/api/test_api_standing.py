"""What the API tells of peers that misbehave, or are not trusted."""

from __future__ import annotations

from api_room import in_process, opened

from dmoa.core.names import NodeId


async def test_peers_tell_how_they_behaved_and_a_query_who_was_left_out() -> None:
    async with opened("n1", "n2", "n3") as room, in_process(room.home) as http:
        room.home.offended(NodeId("n2"), "flood")
        for _ in range(4):
            room.home.offended(NodeId("n3"), "malformed")
        told = (await http.get("/v1/peers")).json()
        asked = {"model": "dmoa-m1k2", "messages": [{"role": "user", "content": "hi"}]}
        answer = (await http.post("/v1/chat/completions", json=asked)).json()
    assert "standing" not in told["node"]
    one, other = (peer["standing"] for peer in told["peers"])
    assert 0.9 < one.pop("blame") <= 1.0
    assert one == {"shunned": False, "trusted": True, "offences": {"flood": 1}}
    assert 7.9 < other["blame"] <= 8.0
    assert other["shunned"]
    assert answer["dmoa"]["degraded"] == ["few: 1 of 2 peers were known in layer 1 (1 shunned)"]
