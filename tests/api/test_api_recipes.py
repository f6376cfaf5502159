"""Mixtures by recipe over the API, and what the model `dmoa` stands for."""

from __future__ import annotations

from typing import Any

import pytest
from api_room import body, error_of, events_of, in_process, opened

from dmoa.core.mixture import Mixture
from dmoa.core.recipe import Recipe
from dmoa.core.usual import Defaults, Verdict

pytestmark = pytest.mark.real

CHAT = "/v1/chat/completions"
UNMEASURED = Defaults(Mixture(1, 2), named=False)
PAYS = Defaults(Mixture(2, 2), verdict=Verdict(Mixture(1, 1), Recipe(best=True), "pays"))


async def told(defaults: Defaults | None = None, **changes: Any) -> dict[str, Any]:
    """Ask a node of three, and tell what it says of the answer."""
    async with (
        opened("n1", "n2", "n3", seconds=0.0, defaults=defaults) as room,
        in_process(room.home) as http,
    ):
        response = await http.post(CHAT, json=body(**changes))
    assert response.status_code == 200, response.text
    if changes.get("stream"):
        return [each for each in events_of(response.text) if isinstance(each, dict)][-1]["dmoa"]
    return response.json()["dmoa"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("recipe", "source", "roles"),
    [
        ("", "aggregator", ["proposer"] * 3 + ["aggregator"]),
        ("self", "aggregator", ["proposer"] * 3 + ["aggregator"]),
        ("best", "chosen", ["proposer"] * 3),
        ("rank", "aggregator", ["proposer"] * 3 + ["ranker", "aggregator"]),
        ("rank+best", "chosen", ["proposer"] * 3 + ["ranker"]),
    ],
)
async def test_a_recipe_is_asked_for_by_name(
    recipe: str, source: str, roles: list[str], *, stream: bool
) -> None:
    name = "dmoa-m1k2" + (f"-{recipe}" if recipe else "")
    answer = await told(model=name, stream=stream)
    assert (answer["recipe"], answer["source"]) == (recipe, source)
    assert [job["role"] for job in answer["jobs"]] == roles
    homes = {job["node"] for job in answer["jobs"]}
    assert homes == ({"n1"} if recipe == "self" else {"n1", "n2", "n3"})
    assert "default" not in answer


async def test_a_recipe_can_stand_in_the_body() -> None:
    answer = await told(model="dmoa-m1k1", dmoa={"recipe": "best+self"})
    assert (answer["recipe"], answer["mixture"]) == ("self+best", {"layers": 1, "fanout": 1})


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"model": "dmoa-m1k1-wild"}, 400, "invalid_mixture"),
        ({"model": "dmoa-m1k1-best+seed"}, 400, "invalid_mixture"),
        ({"model": "dmoa-m1k1-BEST"}, 404, "model_not_found"),
        ({"model": "dmoa", "dmoa": {"recipe": "wild"}}, 400, "invalid_mixture"),
        ({"model": "local", "dmoa": {"recipe": "best"}}, 400, "invalid_mixture"),
    ],
)
async def test_what_is_no_recipe_is_refused(
    changes: dict[str, Any], status: int, code: str
) -> None:
    async with opened("n1", seconds=0.0) as room, in_process(room.home) as http:
        response = await http.post(CHAT, json=body(**changes))
    assert response.status_code == status
    assert error_of(response)["code"] == code


@pytest.mark.parametrize("stream", [False, True])
async def test_where_nothing_was_measured_the_own_model_answers(*, stream: bool) -> None:
    answer = await told(UNMEASURED, model="dmoa", stream=stream)
    assert (answer["mixture"]["layers"], len(answer["jobs"])) == (0, 1)
    assert answer["default"] == {
        "model": "local",
        "why": "unmeasured",
        "detail": "nobody has measured that a mixture pays here",
    }


async def test_where_a_mixture_pays_it_answers() -> None:
    answer = await told(PAYS, model="dmoa")
    assert (answer["mixture"], answer["recipe"]) == ({"layers": 1, "fanout": 1}, "best")
    assert answer["default"]["model"] == "dmoa-m1k1-best"
    assert answer["default"]["why"] == "measured"


async def test_who_shapes_a_query_gets_a_mixture_all_the_same() -> None:
    answer = await told(UNMEASURED, model="dmoa", dmoa={"fanout": 1})
    assert answer["mixture"] == {"layers": 1, "fanout": 1}
    assert "default" not in answer
    answer = await told(PAYS, model="dmoa", dmoa={"layers": 2})
    assert (answer["mixture"], answer["recipe"]) == ({"layers": 2, "fanout": 1}, "best")


@pytest.mark.parametrize("name", ["dmoa-m2k2", "dmoa-m2k2-best", "dmoa", "local"])
async def test_no_peer_hears_of_a_private_question(name: str) -> None:
    async with (
        opened("n1", "n2", "n3", seconds=0.0) as room,
        in_process(room.home) as http,
    ):
        answer = await http.post(CHAT, json=body(model=name, dmoa={"private": True}))
        heard = {each: fake.started for each, fake in room.fakes.items()}
    assert heard["n2"] == heard["n3"] == 0
    assert heard["n1"] == len(answer.json()["dmoa"]["jobs"])
    assert {job["node"] for job in answer.json()["dmoa"]["jobs"]} == {"n1"}


async def test_the_list_of_models_says_what_the_default_is() -> None:
    async with opened("n1", defaults=UNMEASURED) as room, in_process(room.home) as http:
        cards = {each["id"]: each["dmoa"] for each in (await http.get("/v1/models")).json()["data"]}
    assert (cards["dmoa"]["layers"], cards["dmoa"]["default"]["why"]) == (0, "unmeasured")
    assert "default" not in cards["local"]
