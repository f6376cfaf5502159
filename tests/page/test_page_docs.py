"""What docs/page.md says of the feed and the plan is what they say."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from dmoa.api import feed
from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.runtime import sights, watch
from dmoa.runtime.sights import Sight

PAPER = Path(__file__).parents[2] / "docs" / "page.md"
KINDS = {
    each.__struct_config__.tag: each
    for each in vars(sights).values()
    if isinstance(each, type) and issubclass(each, Sight) and each is not Sight
}


@pytest.fixture(scope="module")
def text() -> str:
    if not PAPER.exists():
        pytest.skip("there is no docs/page.md")
    return PAPER.read_text("utf-8")


def test_the_table_of_kinds_is_that_of_the_feed(text: str) -> None:
    rows = dict(re.findall(r"^\| `([a-z]+)` \|[^|]*\| (.*) \|$", text, re.MULTILINE))
    assert list(rows) == ["scene", *(kind for kind in KINDS if kind not in ("scene", "gap")), "gap"]
    for kind, row in rows.items():
        usual = KINDS[kind]()
        fields = [each.name for each in msgspec.structs.fields(usual) if each.name != "at"]
        told = dict(re.findall(r"`([a-z_]+)`(?: \(`?([a-z0-9]+)`?\))?", row))
        assert list(told) == fields, kind
        for name, default in told.items():
            value = getattr(usual, name)
            assert default == (f"{value:g}" if isinstance(value, float | int) else value) or (
                not default and not value
            ), (kind, name)


def test_the_limits_are_those_of_the_feed(text: str) -> None:
    assert f"{watch.WATCHERS} watch at most" in text
    assert f"{watch.HELD} sights later" in text
    assert f"After {feed.SILENCE:g} s of silence" in text


def test_the_keys_of_a_plan_are_named(text: str) -> None:
    from dmoa.api.plan import _loads
    from dmoa.core.digest import Digest
    from dmoa.core.names import NodeId

    part = text.partition("## GET /v1/plan")[2]
    digest = Digest(NodeId("n1"), 1, 1, "m", 1, service_time=1.0)
    keys = _loads([digest], Network.alike(1, arrival_rate=0.1), Mixture(1, 0))
    for key in (*keys, "nodes", "visits", "why"):
        assert f"`{key}`" in part, key
