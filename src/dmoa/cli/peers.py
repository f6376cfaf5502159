"""`dmoa peers`: who is here, and how busy."""

from __future__ import annotations

from dmoa.cli import render
from dmoa.cli.options import command, json_option, url_option


@command("dmoa peers --url http://127.0.0.1:4747")
@url_option
@json_option("Write one JSON object instead of a table")
def peers(*, url: str, as_json: bool) -> None:
    """Show who is here, and how busy they are.

    The queue counts jobs waiting and in service; rho is the utilisation, stable below 1;
    arrivals are queries per second asked at that node; age is that of its digest. Where a
    peer is blamed for something or left out, its standing is told as well.
    """
    from dmoa.cli.client import Client

    with Client(url) as node:
        here = node.peers()
    if as_json:
        import msgspec

        render.data(msgspec.to_builtins(here))
        return
    render.console().print(render.peers_table(here))
    if not here.peers:
        render.note(f"{here.node.node} is alone")
