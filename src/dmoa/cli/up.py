"""`dmoa up`: one node and its API, until it is stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmoa.cli import render
from dmoa.cli.options import command, json_option

if TYPE_CHECKING:
    from dmoa.assemble import Ready
    from dmoa.config.realms import Membership

_STOP_SECONDS = 10.0
"""For a clean end after stdin closed."""

_INSECURE = (
    "insecure: who is in reach can read all prompts and answers, pass for any node, and send it "
    "jobs; `dmoa realm create` ends that"
)


@command(
    "dmoa up --listen tcp/127.0.0.1:7447",
    "dmoa up --port 4748 --connect tcp/127.0.0.1:7447",
)
@click.option("--model", metavar="URI", help="The language model; embedded if not given")
@click.option("--host", metavar="ADDRESS", help="Where its API is served  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port of the API, 0 for any free one  [default: 4747]")
@click.option("--listen", metavar="EP", multiple=True, help="Where peers reach it; repeatable")
@click.option("--connect", metavar="EP", multiple=True, help="A peer to join; repeatable")
@click.option("--realm", help="Only nodes of one realm meet  [default: home]")
@click.option("--node", metavar="NAME", help="Its name  [default: of the host]")
@click.option("--multicast/--no-multicast", default=None, help="Look for peers by multicast too")
@click.option(
    "--insecure/--secure",
    default=None,
    help="Speak with other machines, although unencrypted",
)
@click.option("--layers", type=int, help="M of the default mixture  [default: 1]")
@click.option("--fanout", type=int, help="k of the default mixture  [default: 2]")
@click.option("--recipe", metavar="WORDS", help="How it is mixed: self, select, agree, rank, ...")
@click.option(
    "--default", metavar="WHAT", help="The model dmoa: mixture, local, or auto  [default: auto]"
)
@click.option("--mode", metavar="MODE", help="steady, or paper for Algorithm 1  [default: steady]")
@click.option("--choice", metavar="HOW", help="Of peers: loaded or uniform  [default: loaded]")
@click.option("--order", metavar="HOW", help="Of jobs: oldest, fcfs or later  [default: oldest]")
@click.option("--hedge", type=int, help="Further proposers while it is calm, 0 or 1  [default: 1]")
@click.option("--quorum/--no-quorum", default=None, help="End layers without the slowest proposal")
@click.option("--eager", metavar="WHOSE", help="Prompts read ahead: own, all, off  [default: own]")
@click.option("--deadline", type=float, help="Seconds to the answer at most  [default: 300]")
@click.option("--queue-jobs", type=int, help="Jobs that may wait or be served  [default: 64]")
@click.option(
    "--record", metavar="FILE", help="Take down all it lives through, prompts too, for a replay"
)
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings in TOML, below DMOA_* and flags",
)
@json_option("Write one JSON line once it is ready")
@click.option(
    "--stop-on-eof", "watch_stdin", is_flag=True, hidden=True, help="Stop when stdin closes"
)
def up(*, file: Path | None, as_json: bool, watch_stdin: bool, **flags: Any) -> None:
    """Start a node and its API, until stopped.

    Every setting can also stand in the file as `key = value`, or in the environment as
    DMOA_KEY. Flags win over the environment, and the environment over the file.
    """
    import asyncio

    from dmoa import config
    from dmoa.cli import logs

    settings = config.load(flags, file=file)
    node = settings.node if settings.log_format == "json" else ""
    logs.begin(settings.log_level, prompts=settings.log_prompts, node=node)
    if watch_stdin:
        threading.Thread(target=stop_on_eof, name="stdin", daemon=True).start()

    from dmoa.assemble import serve
    from dmoa.config.keys import key_file

    def ready(told: Ready) -> None:
        if settings.record:
            where = f"all that it lives through goes to {settings.record}"
            render.note(f"{where}, prompts and answers included")
        if told.clear:
            why = "keys and prompts travel in clear text"
            render.note(f"{why}; set certificate and certificate_key")
        if settings.insecure:
            render.note(_INSECURE)
        if as_json:
            _tell_json(told)
        else:
            _tell(told, settings.membership)

    async def live() -> None:
        asyncio.get_running_loop().set_exception_handler(logs.mishap)
        await serve(settings, keys=key_file(file), ready=ready, progress=render.talk)

    asyncio.run(live())


def _tell_json(ready: Ready) -> None:
    fields = {"node": ready.node, "url": ready.url, "model": ready.model}
    render.data({**fields, "listen": list(ready.listen)})


def _tell(ready: Ready, membership: Membership | None) -> None:
    render.talk(f"node {ready.node} answers at {ready.url} with {ready.model}")
    render.talk(f"its page: {ready.url}")
    render.talk(f"OpenAI clients ask it at {ready.url}/v1")
    if membership is not None:
        _tell_realm(ready, membership)
    else:
        for endpoint in ready.listen:
            render.talk(f"peers join it with `--connect {endpoint}`")
    what = "the own model alone" if ready.usual.name == "local" else ready.usual.name
    render.talk(f"the model dmoa is {what}: {ready.usual.detail}")
    if ready.usual.why == "unmeasured":
        render.talk("`dmoa eval` measures it; `--default mixture` asks for it anyway")
    if ready.keys is not None:
        render.talk(f"its API asks for a key of {ready.keys}; commands send DMOA_KEY")
    if ready.store is not None:
        render.talk(f"responses are kept in {ready.store}")
    else:
        render.talk("responses end with this node: a fixed --port, or `store`, keeps them")
    render.talk("Ctrl-C stops it")


def _tell_realm(ready: Ready, its: Membership) -> None:
    where = " and ".join(ready.listen) or "no address: others pass on what it says"
    render.talk(f"members of realm {its.name} meet it at {where}")
    if its.founds:
        render.talk(f"others join while it runs, by `dmoa realm invite --realm {its.name}`")


def stop_on_eof() -> None:
    """Stop this process when whoever started it is gone."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_SECONDS)
    os._exit(1)
