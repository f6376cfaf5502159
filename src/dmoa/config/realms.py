"""The realms that this machine belongs to: a folder each, and what it says without any secret."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from dmoa.config.files import replace
from dmoa.config.values import PARSERS, is_loopback
from dmoa.core.names import is_node_name
from dmoa.errors import ConfigError

VARIABLE = "DMOA_REALMS"
"""Names the folder of all realms, where it is not that of the user's data."""
PORT = 7447
"""Where nodes of a realm meet, by TCP; the founder gives out certificates at the next one."""
SEEDS = 8
"""Endpoints of other members that one member keeps."""
PLACES = 8
"""Addresses of one machine."""
FILE_BYTES = 64 * 1024
"""Of `realm.toml`, which has 2 kB where all its lists are full."""

_FILE = "realm.toml"
_HIGHEST_PORT = 65_535
_HINT = "`dmoa realm leave` and another invitation make it anew"


@dataclass(frozen=True, slots=True)
class Membership:
    """A realm that this machine belongs to, as its `realm.toml` tells it."""

    folder: Path
    """Where all of it lies; its name is the realm's."""
    name: str
    node: str
    """What the certificate of this machine's node calls it."""
    founder: str
    """The node that gives out certificates, and at whose machine the authority's key lies."""
    port: int
    """TCP, where this node listens to others unless told otherwise."""
    multicast: int
    """UDP, where nodes of the realm look for each other."""
    hosts: tuple[str, ...] = ()
    """Names or addresses by which others reach this machine; empty to look them up."""
    seeds: tuple[str, ...] = ()
    """Endpoints of other members, to join at the start."""
    authority: tuple[str, ...] = ()
    """HOST:PORT of the desk where the founder gives out certificates."""

    @property
    def file(self) -> Path:
        """Where this is written."""
        return self.folder / _FILE

    @property
    def authority_file(self) -> Path:
        """The certificate of the realm's authority (PEM)."""
        return self.folder / "authority.pem"

    @property
    def authority_key_file(self) -> Path:
        """The authority's private key (PEM), on the founder's machine alone."""
        return self.folder / "authority.key"

    @property
    def certificate_file(self) -> Path:
        """The certificate of this machine's node (PEM)."""
        return self.folder / "node.pem"

    @property
    def key_file(self) -> Path:
        """The private key to it (PEM), which never leaves this machine."""
        return self.folder / "node.key"

    @property
    def notice_file(self) -> Path:
        """The newest list of revocations; not there before the first."""
        return self.folder / "revoked.json"

    @property
    def ledger_file(self) -> Path:
        """What was issued and to whom, on the founder's machine alone."""
        return self.folder / "ledger.json"

    @property
    def founds(self) -> bool:
        """Whether this machine gives out the certificates."""
        return self.node == self.founder

    @property
    def desk(self) -> int:
        """TCP port at which the founder gives out certificates."""
        return self.port + 1

    def defaults(self, *, relayed: bool) -> dict[str, object]:
        """Tell the settings of its node that follow from the realm, where nobody names others.

        It listens on this machine alone where others do not reach it under another address, and
        nowhere where it is `relayed`.
        """
        near = bool(self.hosts) and all(is_loopback(_endpoint(host, 1)) for host in self.hosts)
        listen = _endpoint("127.0.0.1" if near else "0.0.0.0", self.port)  # noqa: S104 - TLS
        return {
            "node": self.node,
            "listen": () if relayed else (listen,),
            "connect": self.seeds,
            "multicast": not relayed and not near,
        }


def realms_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Tell where the realms lie; the folder need not be there."""
    environ = os.environ if environ is None else environ
    if named := environ.get(VARIABLE):
        return Path(named)
    root = environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
    return Path(root, "dmoa", "realms")


def known(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Name the realms that this machine belongs to, in order."""
    try:
        found = [each.name for each in realms_folder(environ).iterdir() if each.is_dir()]
    except OSError:
        return ()
    return tuple(sorted(name for name in found if is_node_name(name)))


def find(name: str, environ: Mapping[str, str] | None = None) -> Membership | None:
    """Read what is known of a realm; None where this machine does not belong to it.

    ConfigError where its folder is there and cannot be relied on: nobody is then taken for a
    stranger who was a member.
    """
    folder = realms_folder(environ) / name
    return read(folder) if folder.exists() else None


def read(folder: Path) -> Membership:
    """Read the `realm.toml` of a folder; ConfigError names what is wrong with it."""
    file = folder / _FILE
    try:
        with file.open("rb") as reading:
            content = reading.read(FILE_BYTES + 1)
        table: dict[str, Any] = tomllib.loads(content.decode())
    except OSError as error:
        raise _broken(file, f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise _broken(file, f"is not TOML: {error}") from None
    if wrong := sorted(table.keys() ^ _PARSERS.keys()):
        raise _broken(file, f"lacks {wrong[0]!r}, or should not have it")
    values: dict[str, Any] = {}
    for key, parse in _PARSERS.items():
        try:
            values[key] = parse(table[key])
        except ValueError as wanted:
            raise _broken(file, f"{key} must be {wanted}, not {table[key]!r}") from None
    return Membership(folder=folder, **values)


def write(membership: Membership) -> None:
    """Write the `realm.toml` of its folder, whole or not at all; OSError where that fails."""
    lines = ["# Written by `dmoa realm`.\n"]
    for each in fields(Membership):
        if each.name != "folder":
            value = getattr(membership, each.name)
            # Names, hosts, endpoints and numbers alone, which TOML writes as JSON does.
            lines.append(f"{each.name} = {json.dumps(value)}\n")
    replace(membership.file, "".join(lines).encode(), mode=0o600)


def _endpoint(host: str, port: int) -> str:
    return f"tls/[{host}]:{port}" if ":" in host else f"tls/{host}:{port}"


def _broken(file: Path, what: str) -> ConfigError:
    return ConfigError(f"{file}: {what}", hint=_HINT)


def _port(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _HIGHEST_PORT:
        return value
    raise ValueError(f"a port from 1 to {_HIGHEST_PORT - 1}")


def _places(value: object) -> tuple[str, ...]:
    """Read a list of HOST:PORT: endpoints without their link."""
    try:
        if not isinstance(value, list):
            raise ValueError  # noqa: TRY004, TRY301 - parsers say ValueError
        found = PARSERS["connect"]([f"tls/{each}" for each in cast("list[object]", value)])
    except ValueError:
        raise ValueError("a list of HOST:PORT") from None
    return tuple(each.removeprefix("tls/") for each in cast("tuple[str, ...]", found))


_PARSERS: dict[str, Callable[[object], object]] = {
    "name": PARSERS["realm"],
    "node": PARSERS["node"],
    "founder": PARSERS["node"],
    "port": _port,
    "multicast": _port,
    "hosts": PARSERS["hosts"],
    "seeds": PARSERS["connect"],
    "authority": _places,
}
