"""The machine under a node: interpreter, open files, room on disks, ports, multicast."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import struct
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from dmoa.config import Settings
from dmoa.config.values import ENDPOINT
from dmoa.doctor import Finding

FILES_BESIDE = 256
"""Open files that a node needs beside the connections of its API: peers, model, store."""
ROOM = 512 * 1024 * 1024
"""Bytes that a disk should have left where a node keeps what lasts."""

_MULTICAST = "224.0.0.224"
_MIB = 1024 * 1024


def python() -> Finding:
    """Tell which releases run; assertions must be on, as they state what must be true."""
    told = (
        f"dmoa {version('dmoa')}, Python {platform.python_version()}, "
        f"zenoh {version('eclipse-zenoh')}, {platform.system()} {platform.machine()}"
    )
    if sys.flags.optimize:
        fix = "run without -O, and unset PYTHONOPTIMIZE"
        return Finding("python", "bad", f"{told}; assertions are switched off", fix)
    return Finding("python", "ok", told)


def open_files(settings: Settings) -> Finding:
    """Compare the limit of open files with what the API's connections may need."""
    try:
        import resource  # noqa: PLC0415  (absent on Windows)
    except ImportError:
        return Finding("open files", "ok", "this system has no such limit")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = settings.connections + FILES_BESIDE
    if hard != resource.RLIM_INFINITY and hard < need:
        told = f"{hard} files may be open, and {settings.connections} connections need {need}"
        fix = f"raise it (`ulimit -Hn {need}`, or LimitNOFILE), or lower `connections`"
        return Finding("open files", "bad", told, fix)
    many = "any number of" if hard == resource.RLIM_INFINITY else str(hard)
    return Finding("open files", "ok", f"{many} files may be open, {need} are needed")


def disk(what: str, folder: Path, need: int = ROOM) -> Finding:
    """Look whether a folder, or what there is of it, has `need` bytes left and can be written."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    told = f"{folder}: {free // _MIB} MiB are free"
    if not os.access(place, os.W_OK):
        return Finding(
            what, "bad", f"{folder} cannot be written", "change its rights, or choose another"
        )
    if free < need:
        return Finding(
            what, "bad", f"{told}, {need // _MIB} MiB are wanted", "make room, or move it"
        )
    return Finding(what, "ok", told)


def port(settings: Settings, *, ours: bool) -> Finding:
    """Look whether the API's port is free, or held by the node that was asked (`ours`)."""
    if ours:
        return Finding("API", "ok", "a node of dmoa answers there")
    if settings.port == 0:
        return Finding("API", "ok", "any free port is taken")
    where = f"{settings.host} port {settings.port}"
    if flaw := _cannot_bind(settings.host, settings.port):
        fix = "stop what has it, or use another: `dmoa up --port N`"
        return Finding("API", "bad", f"{where} cannot be used: {flaw}", fix)
    return Finding("API", "ok", f"{where} is free; no node runs there now")


def endpoints(settings: Settings, *, ours: bool) -> list[Finding]:
    """Look whether peers can reach this node where it listens."""
    found: list[Finding] = []
    for endpoint in settings.listen:
        match = ENDPOINT.fullmatch(endpoint)
        if match is None or int(match["port"]) == 0 or ours:
            continue
        flaw = _cannot_bind(match["host"].strip("[]"), int(match["port"]))
        told = f"{endpoint} {f'cannot be used: {flaw}' if flaw else 'is free'}"
        fix = "stop what has it, or `listen` elsewhere" if flaw else ""
        found.append(Finding("peers' port", "bad" if flaw else "ok", told, fix))
    return found


def _cannot_bind(host: str, number: int) -> str:
    """Try to listen; tell why that fails, empty where it does not."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(
            host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with closing(socket.socket(kind, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def multicast(settings: Settings) -> Finding | list[Finding]:
    """Try to join a group of multicast, where peers are to be found by it."""
    if not settings.multicast:
        return []
    fix = "name two peers in `connect`: many access points filter multicast"
    try:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            membership = struct.pack("4s4s", socket.inet_aton(_MULTICAST), bytes(4))
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except OSError as error:
        told = f"{_MULTICAST} cannot be joined: {error.strerror or error}"
        return Finding("multicast", "bad", told, fix)
    if not settings.connect:
        told = f"{_MULTICAST} can be joined; it is the only way to peers"
        return Finding("multicast", "note", told, fix)
    return Finding("multicast", "ok", f"{_MULTICAST} can be joined")
