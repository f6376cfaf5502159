"""`dmoa top`: all nodes on one screen of any width, live and once; and places in the queue."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from rich.console import Console
from scripted_api import PLACE, QUEUE, STANDING, Dmoa, ScriptedNode, answered, chunk, refused, sse
from test_terminal import Terminal

from dmoa.cli import render, top, top_view
from dmoa.cli.told import Neighbourhood, Place, Queue, Standing
from dmoa.cli.top_view import Row, Screen, Snapshot, layout, rows, taken, unheard

TOLD = STANDING | {"capacity": 0.625, "layers": 2, "fanout": 3, "refused": 12, "declined": 4}
HEADINGS = ["node", "model", "queue", "slots", "rho", "asked/s", "service", "jobs/s", "age"]
HEADINGS += ["mix", "refused", "declined"]


def standing(name: str, **changes: Any) -> Standing:
    return msgspec.convert(TOLD | {"node": name} | changes, Standing)


def queue(**changes: Any) -> Queue:
    return msgspec.convert(QUEUE | changes, Queue)


def network(
    count: int, at: float = 0.0, before: Snapshot | None = None, **changes: Any
) -> Snapshot:
    nodes = [standing(f"n{number}", **changes) for number in range(1, count + 1)]
    return taken(at, Neighbourhood(nodes[0], tuple(nodes[1:])), queue(), before)


def drawn(screen: Screen, width: int = 100, *, colours: bool = False) -> list[str]:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colours,
        color_system="standard" if colours else None,
        legacy_windows=False,
        _environ={},
    )
    console.print(screen)
    lines = out.getvalue().splitlines()
    return lines if colours else [line.rstrip() for line in lines]


def cells(line: str) -> list[str]:
    return line.removeprefix("* ").split()


# -- the screen --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 64])
@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140])
def test_a_screen_fits_its_width_and_shows_every_node_once(count: int, width: int) -> None:
    lines = drawn(Screen(network(count), url="http://127.0.0.1:4747"), width)
    assert all(len(line) <= width for line in lines)
    names = [cells(line)[0] for line in lines[2 : 2 + count]]
    assert names == [f"n{number}" for number in range(1, count + 1)]
    assert all("stable" in line for line in lines[2 : 2 + count])
    assert lines[2].startswith("* ")
    assert not any(line.startswith("* ") for line in lines[3:])


@pytest.mark.parametrize("width", [100, 140])
def test_from_100_columns_on_nothing_is_left_out(width: int) -> None:
    _, headings, home, peer, *_ = drawn(Screen(network(2), url="http://127.0.0.1:4747"), width)
    assert headings.split() == HEADINGS
    rest = "1 0.75 stable 0.125 1.50 s 0.62 0.0 s m2k3 12 4"
    assert " ".join(home.split()) == f"* n1 tiny 2 #..... {rest}"
    assert " ".join(peer.split()) == f"n2 tiny 2 {rest}"


def test_100_columns_are_enough_for_long_names_and_large_numbers() -> None:
    full = {"length": 64, "slots": 16, "utilisation": 12.5, "arrival_rate": 12.345}
    full |= {"service_time": 123.456, "capacity": 12.34, "age_seconds": 12.3}
    full |= {"model": "a-model-with-a-long-name", "refused": 1234, "declined": 4321}
    before = network(3, **full | {"refused": 1000, "declined": 4000})
    now = network(3, 1.0, before, **full)
    lines = drawn(Screen(now, before), 100)
    assert lines[1].split() == HEADINGS
    assert "12.50 over" in lines[2]
    assert "1234 +234" in lines[2]
    assert "4321 +321" in lines[2]
    assert "a-model-wi…" in lines[2]


def test_a_narrow_terminal_keeps_what_is_most_important() -> None:
    kept = {width: drawn(Screen(network(4)), width)[1] for width in (80, 60, 40, 20)}
    assert kept[80].split() == [each for each in HEADINGS if each not in ("model", "jobs/s")]
    assert kept[60].split() == ["node", "queue", "rho", "asked/s", "age", "mix", "refused"]
    assert kept[40].split() == ["node", "queue", "rho", "refused"]
    assert kept[20].split() == ["node", "rho"]


def test_what_is_stable_and_what_is_over_stands_there_in_words_and_in_colour() -> None:
    nodes = {"n1": 0.5, "n2": 0.8, "n3": 1.0, "n4": 2.5}
    first, *others = [standing(name, utilisation=rho) for name, rho in nodes.items()]
    screen = Screen(taken(0.0, Neighbourhood(first, tuple(others)), queue(), None))
    lines = drawn(screen)
    assert lines[0] == "n1, mode steady: 4 nodes, 2 over"
    words = [line.split("stable" if "stable" in line else "over")[0][-5:] for line in lines[2:6]]
    assert words == ["0.50 ", "0.80 ", "1.00 ", "2.50 "]
    assert ["over" in line for line in lines[2:6]] == [False, False, True, True]
    assert "\x1b" not in "".join(lines)
    coloured = drawn(screen, colours=True)
    assert [next(c for c in ("32m", "33m", "31m") if c in line) for line in coloured[2:6]] == [
        "32m",
        "33m",
        "31m",
        "31m",
    ]


def test_what_was_not_measured_is_a_dash() -> None:
    new = standing("n1", service_time=0.0, utilisation=0.0, capacity=0.0, layers=0, fanout=0)
    line = drawn(Screen(taken(0.0, Neighbourhood(new), queue(), None)))[2]
    assert " ".join(line.split()) == "* n1 tiny 2 #..... 1 - 0.125 - - 0.0 s alone 12 4"


@pytest.mark.parametrize(
    ("length", "bar"),
    [(0, "......"), (1, "#....."), (32, "###..."), (64, "######"), (99, "######")],
)
def test_the_bar_is_the_queue_against_its_limit(length: int, bar: str) -> None:
    now = taken(0.0, Neighbourhood(standing("n1", length=length)), queue(), None)
    assert f"{length:3} {bar} " in drawn(Screen(now))[2]


def test_an_unknown_limit_has_no_bar() -> None:
    now = taken(0.0, Neighbourhood(standing("n1")), queue(limits={}), None)
    lines = drawn(Screen(now))
    assert "#" not in lines[2]
    assert lines[3] == "own queries: 1; jobs: 3 waiting, 1 in service"
    read = taken(0.0, Neighbourhood(standing("n1")), queue(limits={}, jobs={"reading": 2}), None)
    assert drawn(Screen(read))[3].endswith("; jobs: 0 waiting, 0 in service, 2 read ahead")


def test_own_queries_stand_below_with_what_they_can_expect() -> None:
    begun = PLACE | {"query": "n1/0/2", "position": 0, "layer": 2, "starts_in_seconds": 0.0}
    now = taken(0.0, Neighbourhood(standing("n1")), queue(queries=[PLACE, begun]), None)
    below, headings, first, second = drawn(Screen(now))[3:]
    assert below == ("own queries: 2 of 20 at most; jobs: 3 waiting, 1 in service, 64 at most")
    assert headings.split("  ")[-1] == "answer in"
    assert " ".join(first.split()) == "1 3rd 1 of 1 m1k2 0.5 s 4.2 s 12.4 s"
    assert " ".join(second.split()) == "2 begun last m1k2 0.5 s - 12.4 s"
    assert drawn(Screen(now), 40)[-1].split() == ["2", "begun", "12.4", "s"]


@pytest.mark.parametrize("count", [1, 4, 64])
@pytest.mark.parametrize("lines", [1, 10, 24, 50])
@pytest.mark.parametrize("asked", [0, 3, 40])
def test_a_screen_fits_its_height(count: int, lines: int, asked: int) -> None:
    before = network(count)
    places = queue(queries=[PLACE] * asked)
    here = Neighbourhood(before.nodes[0], before.nodes[1:])
    screen = Screen(taken(1.0, here, places, before), before, "u", "trouble", lines)
    assert len(drawn(screen)) <= max(lines, 10)
    assert drawn(screen)[3].startswith("* n1 ")


def test_where_there_is_no_room_for_all_the_busiest_are_shown() -> None:
    nodes = [standing(f"n{number}", utilisation=number / 64) for number in range(1, 65)]
    now = taken(0.0, Neighbourhood(nodes[0], tuple(nodes[1:])), queue(queries=[]), None)
    lines = drawn(Screen(now, lines=14))
    assert [cells(line)[0] for line in lines[2:9]] == ["n1"] + [f"n{n}" for n in range(59, 65)]
    assert lines[9] == "and 57 more nodes, all less busy"


def test_foreign_text_neither_steers_the_terminal_nor_leaves_its_line() -> None:
    evil = standing("n\x1b[31m2", model="a\nb\t[red]c[/red]")
    screen = Screen(taken(0.0, Neighbourhood(standing("n1"), (evil,)), queue(), None))
    lines = drawn(screen, 140)
    assert "n[31m2" in lines[3]
    assert "a b [red]c[/red]" in lines[3]
    assert len(lines) == 7


# -- from one moment to the next ---------------------------------------------------------


def test_what_is_new_is_told_beside_the_total() -> None:
    before = network(2, refused=10, declined=4)
    home, peer = rows(network(2, 1.0, before, refused=12, declined=4), before)
    assert (home.refused, home.declined, peer.refused) == (2, 0, 2)
    line = drawn(Screen(network(2, 1.0, before, refused=12, declined=4), before))[3]
    assert " ".join(line.split()).endswith("12 +2 4")


def test_a_counter_that_fell_was_begun_again() -> None:
    before = network(1, refused=10)
    (home,) = rows(network(1, 1.0, before, refused=3), before)
    assert home.refused == 3


def test_a_node_that_is_new_has_nothing_new() -> None:
    before = network(1)
    assert [row.refused for row in rows(network(2, 1.0, before), before)] == [0, 0]


def test_a_node_that_goes_away_fades_and_is_gone_when_its_digest_is_too_old() -> None:
    last = network(3, 0.0, age_seconds=0.5)
    seen: list[list[tuple[str, float, bool]]] = []
    for at in (1.0, 2.0, 4.0, 4.6):
        last = network(2, at, last, age_seconds=0.5)
        seen.append(
            [(row.standing.node, row.standing.age_seconds, row.is_dim) for row in rows(last, None)]
        )
    here = [("n1", 0.5, False), ("n2", 0.5, False)]
    assert seen == [
        [*here, ("n3", 1.5, True)],
        [*here, ("n3", 2.5, True)],
        [*here, ("n3", 4.5, True)],
        here,
    ]


def test_a_node_that_comes_back_is_there_once() -> None:
    first = network(2)
    without = network(1, 1.0, first)
    back = network(2, 2.0, without)
    assert (len(without.gone), back.gone) == (1, ())
    assert [row.is_dim for row in rows(back, without)] == [False, False]


def test_a_digest_that_grows_old_is_dim() -> None:
    home, old = standing("n1"), standing("n2", age_seconds=top_view.FADES)
    screen = Screen(taken(0.0, Neighbourhood(home, (old,)), queue(), None))
    fresh_line, old_line = drawn(screen, colours=True)[2:4]
    assert old_line.startswith("\x1b[2m")
    assert "\x1b[2m" not in fresh_line
    assert "32m" not in old_line
    assert "33m" not in old_line


def test_where_the_asked_node_does_not_answer_all_fade_until_nothing_is_left() -> None:
    last = unheard(network(3), 3.0)
    lines = drawn(Screen(last, None, "http://x", "no node answers; trying again"))
    assert lines[0] == "http://x: 3 nodes, none over"
    assert lines[1] == "no node answers; trying again"
    assert [cells(line)[0] for line in lines[3:]] == ["n1", "n2", "n3"]
    assert all(row.is_dim for row in rows(last, None))
    gone = unheard(last, 5.5)
    assert gone.gone == ()
    assert len(drawn(Screen(gone, last, "http://x", "trying again"))) == 3
    assert rows(network(3, 6.0, gone), gone)[0].is_home


def test_memory_is_bounded_however_long_one_looks_at_nodes_that_come_and_go() -> None:
    last: Snapshot | None = None
    for second in range(200):
        here = Neighbourhood(standing("n1"), (standing(f"peer-{second}", age_seconds=0.5),))
        last = taken(float(second), here, queue(), last)
        assert len(last.gone) <= 4


def test_the_layout_is_the_same_for_any_choice_of_rows() -> None:
    shown = [Row(standing("a-rather-long-name")), Row(standing("n2"))]
    columns, gap = layout(shown, 90)
    assert sum(width for _, width in columns) + gap * (len(columns) - 1) <= 90


# -- the command -------------------------------------------------------------------------


@pytest.fixture
def told(node: ScriptedNode) -> ScriptedNode:
    node.on("/v1/peers", {"node": TOLD, "peers": [TOLD | {"node": "n2"}]})
    node.on("/v1/queue", QUEUE)
    return node


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("arguments", [(), ("--once",)])
def test_where_there_is_no_terminal_it_looks_once(dmoa: Dmoa, arguments: tuple[str, ...]) -> None:
    result = dmoa("top", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0].startswith("n1 at http://127.0.0.1:")
    assert [cells(line)[0] for line in result.stdout.splitlines()[2:4]] == ["n1", "n2"]
    assert "\x1b" not in result.stdout


@pytest.mark.usefixtures("told")
def test_json_is_what_the_api_tells(dmoa: Dmoa) -> None:
    result = dmoa("top", "--once", "--json")
    told = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert told.pop("unix_seconds") > 1.6e9
    assert told == {"node": TOLD, "peers": [TOLD | {"node": "n2"}], "queue": QUEUE}


def test_json_goes_on_with_a_line_a_look_and_says_trouble_once(
    dmoa: Dmoa, told: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beats(every: float) -> Iterator[None]:
        assert every == 0.5
        yield
        told.on("/v1/queue", refused("it loads", "backend_unavailable"), 503)
        yield
        yield
        told.on("/v1/queue", QUEUE)
        yield
        raise KeyboardInterrupt

    monkeypatch.setattr(top, "_beats", beats)
    result = dmoa("top", "--json", "--every", "0.5")
    assert result.exit_code == 0
    assert [json.loads(line)["queue"] for line in result.stdout.splitlines()] == [QUEUE] * 3
    assert result.stderr == "error: it loads\n"


@pytest.mark.parametrize("arguments", [(), ("--once",), ("--json",), ("--once", "--json")])
def test_nobody_there_is_an_error_like_any(dmoa: Dmoa, arguments: tuple[str, ...]) -> None:
    result = dmoa("top", "--url", "http://127.0.0.1:9", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: no node answers at http://127.0.0.1:9\n\nhint: ")


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf", "1e9"])
def test_an_interval_that_cannot_be_is_refused(dmoa: Dmoa, every: str) -> None:
    result = dmoa("top", "--every", every)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--every must be seconds from 0.1 to 3600, not " in result.stderr


def test_beats_are_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(top.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(top.time, "sleep", sleep)
    beats = top._beats(1.0)
    for busy in (0.0, 0.25, 5.0, 0.0):
        next(beats)
        clock[0] += busy
    assert slept == [1.0, 1.0, 0.75, 0.0]


# -- on a terminal -----------------------------------------------------------------------


@pytest.fixture
def opened(told: ScriptedNode) -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def terminal(*arguments: str) -> Terminal:
        terminals.append(Terminal(told, *arguments))
        return terminals[-1]

    yield terminal
    for each in terminals:
        each.process.kill()
        each.process.wait()


@pytest.mark.real
@pytest.mark.parametrize("key", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_a_live_view_follows_its_node_until_a_key_ends_it(
    told: ScriptedNode, opened: Callable[..., Terminal], key: str
) -> None:
    terminal = opened("top", "--every", "0.1")
    assert "* n1" in terminal.wait_for("own queries: 1 of 20")
    told.on("/v1/queue", QUEUE | {"queries": []})
    terminal.wait_for("own queries: 0 of 20")
    told.on("/v1/queue", b"gone", 500)
    terminal.wait_for("HTTP status 500")
    told.on("/v1/queue", QUEUE | {"mode": "paper"})
    terminal.wait_for("mode paper")
    terminal.type(key)
    assert terminal.ends() == 0


@pytest.mark.real
def test_once_leaves_its_table_on_the_terminal(opened: Callable[..., Terminal]) -> None:
    terminal = opened("top", "--once")
    assert "\x1b[?1049h" not in terminal.wait_for("answer in")
    assert terminal.ends() == 0


@pytest.mark.usefixtures("told")
def test_a_reader_of_json_that_leaves_is_no_traceback(node: ScriptedNode) -> None:
    command = [sys.executable, "-m", "dmoa", "top", "--json", "--every", "0.1", "--url", node.url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["queue"] == QUEUE
        process.stdout.close()
        talk = process.stderr.read()
    assert (process.returncode, talk) == (1, "")


# -- places, told to who asks ------------------------------------------------------------


def test_who_waits_is_told_the_place_on_stderr(dmoa: Dmoa, node: ScriptedNode) -> None:
    nearer = PLACE | {"position": 2, "starts_in_seconds": 2.0}
    news = [chunk(dmoa={"queue": each}) for each in (PLACE, nearer)]
    node.chats(sse(*news, done=False) + answered("Of ", "scattering."))
    result = dmoa("ask", "Why?")
    assert result.stdout == "Of scattering.\n"
    place, asked, *_ = result.stderr.splitlines()
    assert place == "3rd in the queue, starts in about 4 s, answer in about 12 s"
    assert asked == "layer 1: n2 is asked"


def test_a_place_that_is_no_wait_is_not_told(dmoa: Dmoa, node: ScriptedNode) -> None:
    begun = chunk(dmoa={"queue": PLACE | {"position": 0, "starts_in_seconds": 0.0}})
    node.chats(sse(begun, done=False) + answered("x"))
    assert "queue" not in dmoa("ask", "Why?").stderr


@pytest.mark.real
def test_who_waits_at_a_terminal_sees_the_place(
    node: ScriptedNode, opened: Callable[..., Terminal]
) -> None:
    node.chats(sse(chunk(dmoa={"queue": PLACE}), done=False) + answered("x"))
    terminal = opened("ask", "Why?")
    assert "3rd in the queue, starts in about 4 s, answer in about 12 s" in terminal.wait_for("x")
    assert terminal.ends() == 0


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_who_is_refused_hears_the_place_and_when_to_come_back(
    dmoa: Dmoa, node: ScriptedNode, command: str
) -> None:
    problem = json.loads(refused("this node is full", "overloaded"))
    problem["error"]["dmoa"] = {"query": "n1/0/1", "position": 21, "retry_after_seconds": 3.2}
    node.chats(json.dumps(problem).encode(), 429, retry_after="4")
    result = dmoa(command, *(["Why?"] if command == "ask" else []), typed="Why?\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: this node is full; it would have been 21st in the queue, come back in 4 s\n"
        "\nhint: try again in 4 s\n"
    )


def test_peers_tell_mixture_and_refusals_where_nodes_do(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.on("/v1/peers", {"node": TOLD, "peers": [STANDING | {"node": "n2"}]})
    headings, home, peer = dmoa("peers").stdout.splitlines()
    assert headings.split()[-2:] == ["mixture", "refused"]
    assert home.split()[-2:] == ["m2k3", "12"]
    assert peer.split()[-2:] == ["alone", "0"]


@pytest.mark.parametrize(
    "words", ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "101st", "112th", "123rd"]
)
def test_places_are_counted_as_people_do(words: str) -> None:
    assert render.ordinal(int(words[:-2])) == words


@pytest.mark.parametrize(
    ("changes", "since", "words"),
    [
        ({}, 2.0, "3rd in the queue, starts in about 2 s, answer in about 10 s"),
        ({}, 60.0, "3rd in the queue, starts in about 1 s, answer in about 1 s"),
        (
            {"answers_in_seconds": 300.0},
            0.0,
            "3rd in the queue, starts in about 4 s, answer in about 5 min",
        ),
        ({"starts_in_seconds": 0.0, "answers_in_seconds": 0.0}, 0.0, "3rd in the queue"),
        ({"position": 0}, 0.0, "answer in about 12 s"),
        ({"position": 0, "answers_in_seconds": 0.0}, 0.0, ""),
    ],
)
def test_a_place_is_told_in_words(changes: dict[str, Any], since: float, words: str) -> None:
    assert render.waiting_line(msgspec.convert(PLACE | changes, Place), since) == words
