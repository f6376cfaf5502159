"""Stands in for `dmoa up`: serves a scripted answer; its model says how it misbehaves."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from scripted_api import LAST, TRACE, ScriptedNode, answered

from dmoa.cli.up import stop_on_eof


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["up"])
    needed = ("node", "model", "config", "realm", "port", "listen", "hedge", "layers", "fanout")
    for name in needed:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--connect", action="append", default=[])
    parser.add_argument("--json", action="store_true", required=True)
    parser.add_argument("--stop-on-eof", action="store_true")
    known = parser.parse_args()

    misdeed = known.model.partition("#")[2]
    Path(os.environ["STUB_PIDS"], str(os.getpid())).touch()
    if misdeed == "crash":
        sys.exit("the model is broken")
    if misdeed == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if known.stop_on_eof:
        threading.Thread(target=stop_on_eof, daemon=True).start()
    node = ScriptedNode()
    lonely = misdeed == "lonely"
    node.on("/health", {"node": known.node, "peers": 0 if lonely else len(known.connect)})
    node.chats(answered("Of ", "scattering.", trace=TRACE | {"jobs": [LAST]}))
    if misdeed == "slow":
        node.pause = 60.0
    sys.stdout.write(
        f'{{"node": "{known.node}", "url": "{node.url}", "model": "tiny", "listen": []}}\n'
    )
    sys.stdout.flush()
    node.server.serve_forever(poll_interval=0.02)


main()
