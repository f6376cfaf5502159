"""`dmoa demo`: a network of processes on this machine, one question, and how it gossiped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dmoa.cli import render
from dmoa.cli.ask import Said, read_prompt, relay
from dmoa.cli.options import command, json_option, mixture_options

if TYPE_CHECKING:
    from dmoa.cli.fleet import Fleet, Member

MOST_NODES = 32
_QUESTION = "Why is the sky blue?"
_ALIKE = ("--hedge", "0")
"""A spare proposer saves time where each node has a machine of its own. Here they share one, and
it would take from the others what it saves."""


@command(
    "dmoa demo",
    'dmoa demo --nodes 5 --layers 2 --fanout 3 --prompt "Name three uses of a paper clip."',
)
@click.option(
    "--nodes",
    type=click.IntRange(1, MOST_NODES),
    default=4,
    show_default=True,
    help="Processes to start",
)
@mixture_options(layers=1, fanout=2)
@click.option("--prompt", metavar="TEXT", default=_QUESTION, show_default=True, help="What to ask")
@click.option(
    "--model",
    "models",
    metavar="URI",
    multiple=True,
    help="A language model; repeatable, dealt out in turn  [default: embedded]",
)
@click.option("--keep", is_flag=True, help="Leave the nodes running")
@json_option("Write one JSON object: answer, nodes, trace")
def demo(
    *, nodes: int, prompt: str, models: tuple[str, ...], keep: bool, as_json: bool, **mixture: int
) -> None:
    """Run a network here, ask it, and watch it gossip.

    Every node is a process of its own with a language model of its own. One is asked;
    the answer and the way it came about are shown.
    """
    from dmoa.cli.client import Client
    from dmoa.cli.fleet import Fleet
    from dmoa.cli.told import Turn

    question = read_prompt(prompt)
    dealt = [models[i % len(models)] if models else "" for i in range(nodes)]
    _warn(nodes, mixture["layers"], mixture["fanout"])
    _prepare(dealt)
    said = Said()
    shaped = ("--layers", str(mixture["layers"]), "--fanout", str(mixture["fanout"]))
    with Fleet(dealt, keep=keep, options=(*_ALIKE, *shaped)) as fleet:
        _gather(fleet)
        shape = f"m{mixture['layers']}k{mixture['fanout']}"
        render.talk(f"{fleet.members[0].name} is asked: {question}")
        with Client(fleet.members[0].url) as home:
            turns = [Turn("user", question)]
            happenings = home.chat(turns, model=f"dmoa-{shape}", drafts=not as_json)
            relay(happenings, said, show=not as_json)
        _show(question, said, fleet.members, as_json=as_json)
    if keep:
        _tell_kept(fleet.members)


def _warn(nodes: int, layers: int, fanout: int) -> None:
    """Say what the person may not have meant."""
    if layers and fanout > nodes - 1:
        render.note(f"a fanout of {fanout} needs {fanout} peers, and only {nodes - 1} are here")


def _prepare(models: list[str]) -> None:
    """Have the embedded model's weights here before any node looks for them."""
    from dmoa.assemble import prepare

    prepare(models, render.talk)


def _gather(fleet: Fleet) -> None:
    """Wait until all nodes are ready and have met."""
    count = len(fleet.members)
    render.talk(f"{count} {'node starts' if count == 1 else 'nodes start'} on this machine")
    fleet.wait_ready(lambda one: render.talk(f"{one.name} answers at {one.url} with {one.model}"))
    fleet.wait_met()
    if count > 1:
        render.talk("all see each other")


def _show(question: str, said: Said, members: list[Member], *, as_json: bool) -> None:
    """Write what came of it: one JSON object, or a tree below the answer."""
    end = said.end
    if as_json:
        rows = [
            {"node": one.name, "url": one.url, "model": one.model, "pid": one.process.pid}
            for one in members
        ]
        render.data({"answer": said.text, "nodes": rows, "dmoa": end.raw if end else None})
    elif end is not None and end.trace is not None:
        click.echo()
        render.console().print(render.gossip_tree(question, end.trace, said.drafts))


def _tell_kept(members: list[Member]) -> None:
    """Say where the nodes are, and how to be rid of them."""
    render.talk()
    for one in members:
        render.talk(f"{one.name} stays at {one.url}/v1 (process {one.process.pid}, log {one.log})")
    render.talk(f"see them at {members[0].url}, the page of {members[0].name}")
    pids = " ".join(str(one.process.pid) for one in members)
    render.talk(f'ask them with `dmoa ask "..." --url {members[0].url}`')
    render.talk(f"stop them with `kill {pids}`")
