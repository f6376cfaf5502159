"""The page in a browser: a network of real nodes at work, and one of 64 that is made up."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from math import hypot
from pathlib import Path
from typing import Any

import pytest
from browser_room import ARGUMENTS, CHROMIUM, LIVE, Eyes, MadeUp, app_of, axe, serving, until

from dmoa.api.app import create_app
from dmoa.api.stage import create_stage
from dmoa.backends.fake import FakeBackend
from dmoa.cli.fleet import Fleet
from dmoa.config.keys import Doorkeeper, create
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.network import Network
from dmoa.core.policy import Policy
from dmoa.net.memory import MemoryNetwork
from dmoa.runtime.node import Node
from dmoa.sim.setting import Setting
from dmoa.study.dreamt import Dreamt

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

MODELS = [f"fake:0.3?cv=0.4&seed={seed}#model-{seed}" for seed in range(1, 5)]
HOSTILE = "<img src=x onerror=alert(1)> & <b>why?</b>"
ANSWER = "article.answer:last-child"
SEEN = """() => {
  window.seen = { tokens: new Set(), moves: 0, lengths: new Set() };
  const look = (changes) => {
    for (const change of changes) {
      const node = change.target;
      if (change.type === "attributes" && node.classList?.contains("token")) seen.moves += 1;
      for (const each of document.querySelectorAll(".token")) {
        seen.tokens.add(each.getAttribute("class"));
      }
      const said = document.querySelector("article.answer:last-child .said");
      if (said) seen.lengths.add(said.textContent.length);
    }
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true,
    characterData: true, attributes: true, attributeFilter: ["class", "transform"] });
}"""
TOLD = "() => ({ tokens: [...seen.tokens], moves: seen.moves, lengths: seen.lengths.size })"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(MODELS, options=("--layers", "2", "--fanout", "2")) as nodes:
        nodes.wait_ready(lambda _: None)
        nodes.wait_met()
        yield nodes


@pytest.fixture(scope="module")
def many() -> Iterator[tuple[str, MadeUp]]:
    made_up = MadeUp(64)
    with serving(app_of(made_up), made_up.live) as url:
        yield url, made_up


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where pictures go: to look at them, name a folder in DMOA_SHOTS."""
    place = Path(os.environ.get("DMOA_SHOTS") or tmp_path)
    place.mkdir(parents=True, exist_ok=True)
    return place


def ask(page: Any, text: str, model: str) -> None:
    page.select_option("#model", model)
    page.fill("#ask", text)
    page.press("#ask", "Enter")


def answered(page: Any) -> None:
    page.get_by_role("button", name="Send").wait_for()
    page.locator(f"{ANSWER} .how > summary", has_text="m2k2 ·").wait_for()


def test_a_network_thinks_before_ones_eyes(browser: Any, fleet: Fleet, shots: Path) -> None:
    eyes = Eyes(browser, fleet.members[0].url)
    page = eyes.page
    page.evaluate(SEEN)
    page.locator(".node:not(.gone)").nth(3).wait_for()
    ask(page, HOSTILE, "dmoa-m2k2")
    page.locator(f"{ANSWER} .pending").first.wait_for()
    page.locator(".token.layer2").first.wait_for()
    eyes.shoot(shots, "dark-1280-4-under-way")
    answered(page)
    # What a model says is text, whatever it says.
    assert page.locator(f"{ANSWER} > .said").text_content() == f"model-1 heard: {HOSTILE}"
    assert page.locator("main img").count() == 0
    # The tree: two layers of home and its peers, and the aggregation.
    heads = page.locator(f"{ANSWER} .tree h3").all_text_contents()
    assert heads == ["Layer 1", "Layer 2", "Aggregation"]
    rows = page.locator(f"{ANSWER} .tree li li")
    assert 7 <= rows.count() <= 9  # a spare proposer for each layer
    assert rows.locator(".work").evaluate_all("all => all.some(bar => bar.offsetWidth > 20)")
    told = page.evaluate(TOLD)
    kinds = " ".join(told["tokens"])
    assert all(kind in kinds for kind in ("layer1", "layer2", "sum", "diamond"))
    assert told["moves"] > 40, "jobs travel"
    assert told["lengths"] > 3, "tokens stream"
    page.locator(f"{ANSWER} .tree details summary").nth(1).click()
    ask(page, "And once more, please.", "dmoa-m2k2")
    answered(page)
    until(lambda: "stable" in page.locator("#planned dd").first.text_content(), what="the plan")
    eyes.close()


def test_pictures_in_both_themes_and_widths(browser: Any, fleet: Fleet, shots: Path) -> None:
    eyes = Eyes(browser, fleet.members[0].url)
    ask(eyes.page, "What do many small models see together?", "dmoa-m2k2")
    answered(eyes.page)
    for width, height in ((1280, 960), (390, 844)):
        eyes.page.set_viewport_size({"width": width, "height": height})
        until(eyes.fits, what="nothing beyond the edge")
        for theme in ("dark", "light"):
            eyes.page.emulate_media(color_scheme=theme)
            eyes.shoot(shots, f"{theme}-{width}-4", whole=width < 400)
    eyes.close()


def test_jobs_of_peers_are_seen_where_they_are_served(browser: Any, fleet: Fleet) -> None:
    eyes, other = (Eyes(browser, fleet.members[place].url) for place in (1, 2))
    eyes.page.evaluate(SEEN)
    for _ in range(3):
        ask(other.page, "Who helps?", "dmoa-m2k2")
        answered(other.page)
        if "guest" in " ".join(eyes.page.evaluate(TOLD)["tokens"]):
            break
    assert "guest" in " ".join(eyes.page.evaluate(TOLD)["tokens"])
    eyes.close()
    other.close()


def test_keyboard_table_theme_and_plan(browser: Any, fleet: Fleet) -> None:
    eyes = Eyes(browser, fleet.members[0].url, reduced_motion="reduce")
    page = eyes.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#map svg").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert re.match(r"n2, model-2, here, rho", page.locator("#chosen").text_content())
    assert page.locator("#chosen a").get_attribute("href") == fleet.members[1].url
    page.locator("#as-table summary").click()
    row = page.locator("#nodes tbody tr").nth(2)
    row.locator("td").first.wait_for()
    assert row.locator("th").text_content() == "n3"
    assert row.locator("td").nth(1).text_content() == "model-3"
    for theme in ("light", "dark", "auto"):
        page.locator("#theme").click()
        assert page.locator("#theme").text_content() == f"Theme: {theme}"
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) != dark
    page.locator("#plan-m").fill("1")
    page.locator("#plan-l").fill("-1.5")
    until(lambda: re.fullmatch(r"[\d.]+ m?s", page.locator("#planned dd").nth(2).text_content()))
    assert page.locator("#planned dd").nth(4).text_content() == "4"
    assert "stable" in page.locator("#planned dd").first.text_content()
    eyes.close()


def test_no_serious_fault_is_found_by_axe(browser: Any, fleet: Fleet, tmp_path: Path) -> None:
    source = axe(tmp_path)
    eyes = Eyes(browser, fleet.members[0].url)
    ask(eyes.page, "Who can read this?", "dmoa-m2k2")
    answered(eyes.page)
    eyes.page.locator("#as-table summary").click()
    eyes.page.evaluate(source)
    for theme in ("dark", "light"):
        eyes.page.emulate_media(color_scheme=theme)
        found = eyes.page.evaluate("async () => (await axe.run()).violations")
        grave = [
            (each["id"], [node["html"][:120] for node in each["nodes"]][:3])
            for each in found
            if each["impact"] in {"serious", "critical"}
        ]
        assert grave == []
    eyes.close()


BOXES = """() => [...document.querySelectorAll(".node .disc")].map((each) => {
  const { x, y, width, height } = each.getBoundingClientRect();
  return [x + width / 2, y + height / 2, width / 2];
})"""


def settled(page: Any) -> list[tuple[float, float, float]]:
    """Tell where nodes are, once they move no more; nothing while they do."""
    before = page.evaluate(BOXES)
    page.wait_for_timeout(100)
    return before if page.evaluate(BOXES) == before else []


def apart(boxes: list[tuple[float, float, float]]) -> float:
    """Tell how many pixels are between those two nodes that are nearest to each other."""
    pairs = [(one, other) for place, one in enumerate(boxes) for other in boxes[:place]]
    return min(hypot(a[0] - b[0], a[1] - b[1]) - a[2] - b[2] for a, b in pairs)


def test_sixty_four_nodes_are_drawn(browser: Any, many: tuple[str, MadeUp], shots: Path) -> None:
    eyes = Eyes(browser, many[0])
    eyes.page.locator(".node").nth(63).wait_for()
    eyes.page.locator(".token.diamond").first.wait_for()
    eyes.page.locator(".node.gone").nth(1).wait_for()
    assert eyes.page.locator(".node.barred").count() == 2
    barred = eyes.page.locator(".node.barred .name").all_text_contents()
    assert barred == ["n12", "n33"]
    eyes.page.locator(".node.home .slots .reads").wait_for()
    home = eyes.page.locator(".node.home")
    assert home.get_attribute("aria-label").endswith(", reads ahead for 1 job to come")
    for width, height, theme in ((1280, 960, "dark"), (390, 844, "light")):
        eyes.page.emulate_media(color_scheme=theme)
        eyes.page.set_viewport_size({"width": width, "height": height})
        still = until(lambda: settled(eyes.page), what="every node in its place")
        assert apart(still) > 2, "no node is upon another"
        assert eyes.fits()
        eyes.shoot(shots, f"{theme}-{width}-64")
    eyes.close()


def test_a_hidden_page_costs_nothing(browser: Any, many: tuple[str, MadeUp]) -> None:
    url, made_up = many
    until(lambda: len(made_up.watch) == 0, what="no watcher")
    eyes = Eyes(browser, url)
    assert len(made_up.watch) == 1
    hide = "Object.defineProperty(document, 'hidden', { configurable: true, get: () => %s });"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    eyes.page.evaluate(hide % "true" + tell)
    until(lambda: len(made_up.watch) == 0, what="no watcher")
    eyes.page.evaluate(hide % "false" + tell)
    until(lambda: len(made_up.watch) == 1, what="a watcher again")
    eyes.page.wait_for_selector(LIVE)
    eyes.close()


def test_a_node_that_wants_a_key_is_opened_with_one(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret, _ = create(file)
    node = Node(MemoryNetwork().join(NodeId("n1")), FakeBackend("locked", seconds=0.05))
    with serving(create_app(node, Doorkeeper(file)), node.open) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        for key, why in (("dmoa-wrong", "Its operator makes one"), (secret, "does not fit")):
            page.locator("#key[open] p", has_text=why).wait_for()
            page.fill("#key-text", key)
            page.keyboard.press("Enter")
        page.wait_for_selector(LIVE)
        page.reload()  # the tab remembers
        page.wait_for_selector(LIVE)
        ask(page, "hello", "local")
        page.locator(f"{ANSWER} .said", has_text="locked heard: hello").wait_for()
        context.close()


def test_what_is_read_ahead_is_seen_while_it_is_read_and_told_after(
    browser: Any, shots: Path
) -> None:
    hub = MemoryNetwork()
    home, *peers = [
        Node(
            hub.join(NodeId(name)),
            FakeBackend(name, seconds=seconds, prefill=0.004),
            policy=Policy(eager="own"),
        )
        for name, seconds in (("n1", 0.2), ("n2", 2.0), ("n3", 2.0))
    ]

    async def begun() -> None:
        for node in (home, *peers):
            await node.open()

    with serving(create_app(home), begun) as url:
        eyes = Eyes(browser, url)
        page = eyes.page
        page.locator(".node:not(.gone)").nth(2).wait_for()
        ask(page, "Why is the sky blue? " * 9, "dmoa-m1k2")
        dotted = page.locator(".node.home .slots .reads")
        dotted.wait_for()
        eyes.shoot(shots, "dark-1280-3-reads")
        told = page.locator(f"{ANSWER} .tree li.sum li .told")
        told.filter(has_text=re.compile(r"\b[1-9]\d* of \d+ tokens read ahead$")).wait_for()
        assert page.locator(f"{ANSWER} .tree li.layer1 .told", has_text="ahead").count() == 0
        assert dotted.count() == 0
        eyes.close()


def test_a_node_that_dies_fades(browser: Any, fleet: Fleet, shots: Path) -> None:
    eyes = Eyes(browser, fleet.members[0].url)
    page = eyes.page
    page.locator(".node:not(.gone)").nth(3).wait_for()
    fleet.members[3].process.kill()
    gone = page.locator(".node.gone")
    gone.first.wait_for()
    assert gone.count() == 1
    label = gone.get_attribute("aria-label")
    assert label.startswith("n4, model-4, gone")
    until(lambda: float(gone.evaluate("node => getComputedStyle(node).opacity")) < 0.4)
    until(lambda: page.locator("#sum").text_content().startswith("3 nodes"))
    eyes.shoot(shots, "dark-1280-4-one-gone")
    eyes.close()


def test_a_simulation_is_drawn_and_cannot_be_asked(browser: Any, shots: Path) -> None:
    network = Network.alike(12, arrival_rate=0.14)
    stage = Dreamt(Setting(network, Mixture(2, 2), queries=40), speed=4.0)

    async def play() -> None:
        await stage.audience.came.wait()
        await stage.play()

    with serving(create_stage(stage), play) as url:
        eyes = Eyes(browser, url)
        page = eyes.page
        page.evaluate(SEEN)
        page.locator("#state", has_text="simulation").wait_for()
        page.locator(".edges .busy").first.wait_for(state="attached")
        page.locator(".token.layer2").first.wait_for()
        eyes.shoot(shots, "dark-1280-simulation")
        assert page.locator(".node").count() == 12
        assert not page.locator("#composer").is_visible()
        assert "This is a simulation" in page.locator("#log").text_content()
        page.locator("#state", has_text="simulation, over").wait_for()
        told = page.evaluate(TOLD)
        assert told["moves"] > 40, "jobs travel"
        stage.close()
        eyes.close()
