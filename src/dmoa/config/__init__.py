"""Settings of a node: defaults, file, environment, flags; knows where each value came from."""

from __future__ import annotations

import os
import re
import secrets
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from dmoa.config import realms
from dmoa.config.realms import Membership
from dmoa.config.values import PARSERS, encodable, is_loopback
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.policy import LIVE, PAPER, Choice, Eager, Order, Policy
from dmoa.core.recipe import Recipe
from dmoa.core.usual import Defaults, Verdict
from dmoa.errors import ConfigError

HOST = "127.0.0.1"
"""Where the API of a node is served: this machine only."""

_LIMITS = Limits()
_TIMING = Timing()
_MIXTURE = Mixture()


@dataclass(frozen=True, slots=True)
class Settings:
    """All that one node can be told; `sources` says where each value came from."""

    node: str
    """Name of the node; made from the host's name and some dice where none is given."""
    model: str = ""
    """URI of its language model; empty for the embedded one."""
    host: str = HOST
    """Address where its API is served; beyond this machine it wants keys."""
    port: int = 4747
    """Port of its API; 0 takes any free one."""
    hosts: tuple[str, ...] = ()
    """Names beside its own under which its API may be addressed."""
    certificate: str = ""
    """File of the certificate chain (PEM) with which its API speaks TLS; empty for none."""
    certificate_key: str = ""
    """File of the private key to it (PEM)."""
    connections: int = 512
    """Connections that its API holds open at once."""
    listen: tuple[str, ...] = ("tcp/127.0.0.1:0",)
    """Endpoints where peers can reach it."""
    connect: tuple[str, ...] = ()
    """Endpoints of peers to join at the start."""
    multicast: bool = False
    """Look for peers by multicast as well."""
    relayed: bool = False
    """Meet the realm through the peers in `connect` alone: for a node that none can reach."""
    trusted: tuple[str, ...] = ()
    """The peers that may get prompts of this node; empty for all of its realm."""
    realm: str = "home"
    """Only nodes of one realm meet."""
    insecure: bool = False
    """Speak with other machines outside of a realm, where nothing is encrypted."""
    layers: int = _MIXTURE.layers
    """M of the default mixture."""
    fanout: int = _MIXTURE.fanout
    """k of the default mixture."""
    recipe: str = ""
    """How the default mixture's proposals are made and used: words joined by `+`."""
    default: str = "auto"
    """What the model `dmoa` is: `mixture`, `local`, or `auto`, by what was measured."""
    verdict: str = ""
    """What was measured of a mixture here; `dmoa eval gate` writes it."""
    persona: str = ""
    """Who the own model is to be where it proposes or answers alone: opens its system text."""
    mode: str = "steady"
    """`steady` keeps the queues bounded and chooses peers by load; `paper` is Algorithm 1."""
    choice: str = ""
    """How peers are chosen: loaded or uniform; empty as the mode has it."""
    order: str = ""
    """Which job goes first: oldest, fcfs or later; empty as the mode has it."""
    hedge: int = LIVE.spare
    """Further proposers per layer while the network is calm; the slowest is cancelled."""
    quorum: bool = False
    """Let a layer end without its slowest proposal."""
    eager: str = LIVE.eager
    """Whose prompts are read ahead: own, all (those of peers as well) or off."""
    deadline: float = _TIMING.deadline
    """Seconds from question to answer, where the user names none."""
    queue_jobs: int = _LIMITS.queue_jobs
    """Jobs that may wait or be served here at once."""
    queue_bytes: int = _LIMITS.queue_bytes
    """Bytes of text held for those jobs."""
    proposal_tokens: int = _LIMITS.proposal_tokens
    """Tokens of one proposal in an aggregation prompt."""
    log_level: str = "warning"
    """How much the log says: debug, info, warning or error."""
    log_format: str = "text"
    """How the log is written: text, or json for one object on each line."""
    log_prompts: bool = False
    """Let the log show the text of prompts and answers."""
    store: str = "auto"
    """File of responses that are kept: `auto` for one by port, empty to keep none on disk."""
    store_days: float = 30.0
    """Days for which a response is kept."""
    store_bytes: int = 256 * 1024 * 1024
    """Bytes of all that is kept; the oldest ended ones go first."""
    otlp: str = ""
    """URL to which traces of queries are sent as OTLP over HTTP; empty for none."""
    record: str = ""
    """File that takes down all that its agent lives through, prompts included; empty for none."""
    sources: Mapping[str, str] = field(default_factory=dict[str, str], compare=False, repr=False)
    membership: Membership | None = field(default=None, compare=False, repr=False)
    """What this machine has of the realm; None where that is a name alone, without certificates."""

    @property
    def limits(self) -> Limits:
        """The bounds of the protocol under these settings."""
        return Limits(
            queue_jobs=self.queue_jobs,
            queue_bytes=self.queue_bytes,
            proposal_tokens=self.proposal_tokens,
        )

    @property
    def timing(self) -> Timing:
        """The durations of the protocol under these settings."""
        return Timing(deadline=self.deadline)

    @property
    def policy(self) -> Policy:
        """What the node does beyond Algorithm 1 under these settings."""
        if self.mode == "paper":
            return PAPER
        return replace(
            LIVE,
            choice=cast("Choice", self.choice) or LIVE.choice,
            order=cast("Order", self.order) or LIVE.order,
            spare=self.hedge,
            missing=int(self.quorum),
            eager=cast("Eager", self.eager),
        )

    @property
    def mixture(self) -> Mixture:
        """The mixture of a query that names none."""
        return Mixture(layers=self.layers, fanout=self.fanout)

    @property
    def defaults(self) -> Defaults:
        """What a query gets that names no mixture, by these settings."""
        return Defaults(
            self.mixture,
            Recipe.parse(self.recipe),
            self.default,
            Verdict.parse(self.verdict) if self.verdict else None,
            named=any(self.sources.get(key) != "default" for key in ("layers", "fanout", "recipe")),
        )


def load(
    flags: Mapping[str, object] | None = None,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings; of several values for one key the last named source wins.

    The order is defaults, TOML file, `DMOA_*`, flags; flags that are None were not given.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for read in (_from_file(file, environ), _from_environ(environ), _from_flags(flags or {})):
        for key, (source, value) in read.items():
            values[key], sources[key] = value, source
    membership = realms.find(str(values.get("realm", Settings.realm)), environ)
    if membership is not None:
        for key, value in membership.defaults(relayed=bool(values.get("relayed"))).items():
            if key not in values:
                values[key], sources[key] = value, str(membership.file)
    if "node" not in values:
        values["node"] = default_node_name()
    for name in PARSERS:
        sources.setdefault(name, "default")
    options: dict[str, Any] = {**values, "sources": sources, "membership": membership}
    settings = Settings(**options)
    _refuse_lonely_relay(settings)
    if membership is None:
        _refuse_open_doors(settings)
    else:
        _refuse_strange_doors(settings, membership)
    _refuse_more_than_paper(settings)
    return settings


def default_file(environ: Mapping[str, str] | None = None) -> Path:
    """Tell which file is read where none is named; it need not be there."""
    environ = os.environ if environ is None else environ
    if named := environ.get("DMOA_CONFIG"):
        return Path(named)
    root = environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(root, "dmoa", "config.toml")


def default_node_name() -> str:
    """Make a legal node name of the host's, with dice so that two nodes here can differ."""
    host = re.sub("[^a-z0-9]+", "-", socket.gethostname().partition(".")[0].lower())
    return f"{host[:24].strip('-') or 'node'}-{secrets.token_hex(2)}"


_POLICIES = ("choice", "order", "hedge", "quorum", "eager")


def _refuse_more_than_paper(settings: Settings) -> None:
    """Refuse policies beside the mode that has none, rather than pass over them."""
    if settings.mode != "paper":
        return
    for key in _POLICIES:
        if settings.sources[key] != "default":
            raise ConfigError(
                f"{settings.sources[key]}: {key} does not go with mode = paper, which is "
                "Algorithm 1 alone",
                hint=f"leave {key} out, or set mode = steady",
            )


def _refuse_lonely_relay(settings: Settings) -> None:
    """Refuse a node that none can reach, and that reaches none, or says where to reach it."""
    if not settings.relayed:
        return
    source = settings.sources["relayed"]
    if not settings.connect:
        raise ConfigError(
            f"{source}: a relayed node meets its realm through peers in connect, and there is none",
            hint="name one or better two: --connect tls/HOST:PORT",
        )
    if settings.listen and settings.sources["listen"] != "default":
        raise ConfigError(
            f"{settings.sources['listen']}: listen does not go with relayed: nobody calls it there",
            hint="leave one of them out",
        )


def _refuse_open_doors(settings: Settings) -> None:
    """Without a realm, refuse to speak beyond this machine in clear text, unless told so."""
    for key, endpoints in (("listen", settings.listen), ("connect", settings.connect)):
        for endpoint in endpoints:
            if endpoint.startswith("tls/"):
                raise ConfigError(
                    f"{settings.sources[key]}: {key} names {endpoint}, and there are no "
                    f"certificates of a realm {settings.realm} here",
                    hint="`dmoa realm create` makes some, `dmoa realm join` gets some",
                )
            if not settings.insecure and not is_loopback(endpoint):
                raise _unencrypted(settings, key, f"{key} names {endpoint}, beyond this machine")
    if settings.multicast and not settings.insecure:
        raise _unencrypted(settings, "multicast", "multicast reaches beyond this machine")


def _unencrypted(settings: Settings, key: str, what: str) -> ConfigError:
    return ConfigError(
        f"{settings.sources[key]}: {what}, and nothing is encrypted without a realm",
        hint="`dmoa realm create` makes one; in a network that you trust, `--insecure` will do",
    )


def _refuse_strange_doors(settings: Settings, membership: Membership) -> None:
    """In a realm, refuse what its certificates do not say or protect."""
    sources, name = settings.sources, membership.name
    if settings.node != membership.node:
        raise ConfigError(
            f"{sources['node']}: node is {settings.node}, and its certificate in realm {name} "
            f"says {membership.node}",
            hint="leave node out: the certificate names it",
        )
    if settings.insecure:
        raise ConfigError(
            f"{sources['insecure']}: insecure changes nothing in realm {name}: all is encrypted",
            hint="leave it out",
        )
    for key, endpoints in (("listen", settings.listen), ("connect", settings.connect)):
        for endpoint in endpoints:
            if not endpoint.startswith("tls/"):
                raise ConfigError(
                    f"{sources[key]}: {key} names {endpoint}, and realm {name} speaks TLS alone",
                    hint=f"write tls/{endpoint.partition('/')[2]}",
                )


# From texts and tables to values.

_WORDS = {"1": True, "true": True, "yes": True, "on": True} | {
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _from_text(key: str, text: str) -> object:
    """Convert a variable's text to the kind of its key; what cannot be stays text."""
    kind = type(_DEFAULTS.get(key, ""))
    if kind is int and re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    if kind is float and re.fullmatch(r"\d{1,9}(\.\d{0,9})?", text):
        return float(text)
    if kind is bool:
        return _WORDS.get(text.lower(), text)
    if kind is tuple:
        return text.replace(",", " ").split()
    return text


_DEFAULTS: dict[str, object] = {each.name: each.default for each in fields(Settings)}

_OTHER_VARIABLES = ("DMOA_CACHE", "DMOA_CONFIG", "DMOA_KEY", realms.VARIABLE, "DMOA_URL")
"""Variables that are no settings of a node: where weights, this file and realms lie, whom to ask
how."""

_Read = dict[str, tuple[str, object]]


def _parsed(source: str, key: str, value: object) -> tuple[str, object]:
    try:
        encodable(value)
        return source, PARSERS[key](value)
    except ValueError as wanted:
        raise ConfigError(f"{source}: {key} must be {wanted}, not {value!r}") from None


def _suggestion(word: str, known: list[str], kind: str) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"{kind}: {', '.join(known)}"


def _from_file(file: Path | None, environ: Mapping[str, str]) -> _Read:
    if file is None:
        file = default_file(environ)
        if not (environ.get("DMOA_CONFIG") or file.is_file()):
            return {}
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{file}: is not TOML: {error}") from None
    for key in table:
        if key not in PARSERS:
            hint = _suggestion(key, sorted(PARSERS), "known keys")
            raise ConfigError(f"{file}: there is no setting {key!r}", hint=hint)
    return {key: _parsed(str(file), key, value) for key, value in table.items()}


def _from_environ(environ: Mapping[str, str]) -> _Read:
    read: _Read = {}
    known = sorted([f"DMOA_{key.upper()}" for key in PARSERS] + list(_OTHER_VARIABLES))
    for variable in sorted(name for name in environ if name.startswith("DMOA_")):
        if variable not in known:
            hint = _suggestion(variable, known, "known variables")
            shown = variable.encode(errors="backslashreplace").decode()
            raise ConfigError(f"{shown}: there is no such setting", hint=hint)
        if variable not in _OTHER_VARIABLES:
            key = variable.removeprefix("DMOA_").lower()
            read[key] = _parsed(variable, key, _from_text(key, environ[variable]))
    return read


def _from_flags(flags: Mapping[str, object]) -> _Read:
    given = {key: value for key, value in flags.items() if value is not None and value != ()}
    return {key: _parsed(f"--{key.replace('_', '-')}", key, value) for key, value in given.items()}
