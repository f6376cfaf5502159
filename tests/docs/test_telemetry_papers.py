"""What the page, the dashboard and the alerts speak of exists, and all that exists is told."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric

from dmoa.config import load
from dmoa.core.digest import Digest
from dmoa.core.effects import Census
from dmoa.core.job import Job, Profile
from dmoa.core.limits import Limits
from dmoa.core.names import NodeId
from dmoa.net.codec import TRACE_CHARACTERS
from dmoa.telemetry.metrics import NAMES, Metrics

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "telemetry.md").read_text("utf-8")
BOARD: dict[str, Any] = json.loads((DOCS / "telemetry" / "dashboard.json").read_text("utf-8"))
ALERTS = (DOCS / "telemetry" / "alerts.yml").read_text("utf-8")
SERIES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
OURS = {"instance", "job", "le"}
"""Labels that Prometheus adds."""


class Open:
    """A node as far as its gauges are concerned."""

    id = NodeId("n1")
    is_open = True
    mode = "paper"
    limits = Limits()
    profile = Profile("m")
    digest = Digest(NodeId("n1"), 1, 1, "m", 1)
    census = Census(0, 0, 1, -1, 0.0, 0.0, 0.0, 0, 0, 0, 0)
    peers: tuple[tuple[Digest, float], ...] = ()
    standings = ()

    def first_token(self, query: object) -> None:
        """Nobody asks."""


def known() -> dict[str, tuple[str, set[str]]]:
    """The name of each series, with its type and labels."""
    metrics = Metrics(Open())
    told: dict[str, tuple[str, set[str]]] = {}
    for family in metrics.collect():
        for ending in SERIES[family.type]:
            told[family.name + ending] = (family.type, labels_of(metrics, family))
    return told


def labels_of(metrics: Metrics, family: Metric) -> set[str]:
    made = metrics._registry._names_to_collectors.get(family.name)
    if made is not None and hasattr(made, "_labelnames"):
        return set(made._labelnames)
    return {label for each in family.samples for label in each.labels}


def expressions() -> Iterator[tuple[str, str]]:
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for block in re.split(r"\n *- alert: ", ALERTS)[1:]:
        expr = block.partition("expr:")[2].partition("\n        for:")[0]
        yield block.partition("\n")[0], expr


@pytest.mark.parametrize(("title", "expr"), list(expressions()))
def test_what_is_asked_of_prometheus_exists(title: str, expr: str) -> None:
    assert title
    series = known()
    bare = re.sub(r'"[^"]*"', '""', expr)
    names = re.findall(r"\b(?:dmoa|process)_\w+", bare)
    assert names or expr.strip().startswith("up{")
    assert [name for name in names if name not in series] == []
    used = set(re.findall(r"(\w+)(?==~|!~|!=|=\"\")", bare))
    for group in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", bare):
        used |= set(filter(None, re.split(r",\s*", group)))
    mine = set().union(*(series[name][1] for name in names)) if names else set()
    assert used - mine <= OURS, f"labels of {names} are {mine}"
    for name in names:
        if series[name][0] in {"counter", "histogram"}:
            assert re.search(rf"rate\({name}\W", bare), "a counter is only read as a rate"
    assert bare.count("(") == bare.count(")")


def test_the_dashboard_can_be_imported() -> None:
    panels = BOARD["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    assert "id" not in BOARD, "an import gives it its own"
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
        assert panel["type"] == "row" or panel["description"]
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${source}"
    names = [each["name"] for each in BOARD["templating"]["list"]]
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(BOARD))) - {"__rate_interval"}
    assert used == set(names)


def test_every_metric_is_in_the_table_with_its_type_and_labels() -> None:
    rows = re.findall(r"^\| `(dmoa_\w+)` \| (\w+) \|(.*?)\| (.+?) \|$", PAGE, re.MULTILINE)
    told = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    made = {
        re.sub("_bucket$", "", name): about
        for name, about in known().items()
        if name.startswith("dmoa_") and not name.endswith(("_sum", "_count"))
    }
    assert told == made


def test_the_scrape_has_the_port_of_a_node_and_the_key() -> None:
    text = (DOCS / "telemetry" / "prometheus.yml").read_text("utf-8")
    assert f":{load({}, environ={}).port}" in text
    assert "credentials_file: dmoa.key" in text
    assert "a file `dmoa.key`" in PAGE


def test_numbers_and_names_that_are_told_are_true() -> None:
    from dmoa.telemetry import otlp

    assert f"At most {NAMES} names of models, {NAMES} kinds" in PAGE
    assert f"a queue of {otlp.QUEUED} and" in PAGE
    assert (otlp.EVERY, otlp.SAID) == (1.0, 60.0)
    assert len(Job.__dataclass_fields__["trace"].default) <= TRACE_CHARACTERS
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert "otel" in project["optional-dependencies"]
    shown = json.loads(re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)[0])
    assert list(shown) == ["time", "level", "logger", "node", "message"]


def test_every_attribute_that_is_told_is_one_of_the_code() -> None:
    text = (DOCS.parent / "src" / "dmoa" / "telemetry" / "spans.py").read_text("utf-8")
    made = set(re.findall(r'"((?:gen_ai|dmoa|error)\.[a-z_.]+[a-z])"', text))
    table = PAGE.partition("| attribute |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`((?:gen_ai|dmoa|error)\.[a-z_.]+)`", table))
    assert told - {"gen_ai.request.temperature"} == made
