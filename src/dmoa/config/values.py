"""Reading one setting: a parser returns the value as it is kept, or says what it should be."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import cast

from dmoa.core.limits import Limits
from dmoa.core.names import is_node_name
from dmoa.core.recipe import WORDS, Recipe
from dmoa.core.usual import Verdict
from dmoa.errors import MixtureError

_LIMITS = Limits()

ENDPOINT = re.compile(
    r"(?P<link>tcp|tls)/(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]/?#:\s]+):(?P<port>\d{1,5})"
)
_HIGHEST_PORT = 65_535
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_LONGEST_HOST = 253
_WEB = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?")
_MOST_DAYS = 36_500.0
_LONGEST = 86_400.0


def is_loopback(endpoint: str) -> bool:
    """Tell whether an endpoint such as `tcp/127.0.0.1:7447` stays on this machine."""
    match = ENDPOINT.fullmatch(endpoint)
    if match is None:
        return False
    host = match["host"].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def encodable(value: object) -> None:
    """Refuse texts that are not UTF-8, which the environment and flags can hold; ValueError."""
    items = cast("Sequence[object]", value) if isinstance(value, (list, tuple)) else (value,)
    try:
        for item in items:
            if isinstance(item, str):
                item.encode()
    except UnicodeEncodeError:
        raise ValueError("text in UTF-8") from None


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"a whole number from {low} to {high}")

    return parse


def _seconds(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LONGEST:
        return float(value)
    raise ValueError(f"seconds, more than 0 and at most {_LONGEST:.0f}")


def _yes_no(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    raise ValueError("text")


def _words_of_a_recipe(value: object) -> str:
    try:
        return Recipe.parse(_text(value)).name
    except MixtureError:
        raise ValueError(f"words joined by +, of {', '.join(WORDS)}") from None


def _verdict(value: object) -> str:
    try:
        text = _text(value)
        return Verdict.parse(text).text if text else ""
    except MixtureError as error:
        raise ValueError(error.message) from None


def _persona(value: object) -> str:
    text = _text(value)
    if len(text.encode(errors="replace")) > _LIMITS.persona_bytes:
        raise ValueError(f"text of at most {_LIMITS.persona_bytes} bytes")
    return text


def _name(value: object) -> str:
    if isinstance(value, str) and is_node_name(value):
        return value
    raise ValueError("1 to 32 of a-z, 0-9 and inner hyphens")


def _one_of(*words: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if isinstance(value, str) and value.lower() in words:
            return value.lower()
        raise ValueError("one of " + ", ".join(words))

    return parse


def _host(value: object) -> str:
    text = _text(value).lower().strip("[]")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _HOST_NAME.fullmatch(text) and len(text) <= _LONGEST_HOST:
            return text
    raise ValueError("the name or the address of a host")


def _each(parse: Callable[[object], str], what: str) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        items = cast("Sequence[object]", value) if isinstance(value, (list, tuple)) else (None,)
        try:
            return tuple(parse(item) for item in items)
        except ValueError:
            raise ValueError(what) from None

    return read


def _web_address(value: object) -> str:
    text = _text(value)
    if not text or _WEB.fullmatch(text):
        return text.rstrip("/")
    raise ValueError("a URL like http://127.0.0.1:4318")


def _days(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MOST_DAYS:
        return float(value)
    raise ValueError(f"days, more than 0 and at most {_MOST_DAYS:.0f}")


def _endpoints(lowest_port: int) -> Callable[[object], tuple[str, ...]]:
    def parse(value: object) -> tuple[str, ...]:
        items = cast("Sequence[object]", value) if isinstance(value, (list, tuple)) else (None,)
        legal: list[str] = []
        for item in items:
            match = ENDPOINT.fullmatch(item) if isinstance(item, str) else None
            if match is None or not lowest_port <= int(match["port"]) <= _HIGHEST_PORT:
                raise ValueError("a list of endpoints like tcp/127.0.0.1:7447")
            legal.append(match[0])
        return tuple(legal)

    return parse


PARSERS: dict[str, Callable[[object], object]] = {
    "node": _name,
    "model": _text,
    "host": _host,
    "port": _whole(0, _HIGHEST_PORT),
    "hosts": _each(_host, "a list of names or addresses of hosts"),
    "certificate": _text,
    "certificate_key": _text,
    "connections": _whole(8, 65_536),
    "listen": _endpoints(0),
    "connect": _endpoints(1),
    "multicast": _yes_no,
    "relayed": _yes_no,
    "trusted": _each(_name, "a list of names of nodes"),
    "realm": _name,
    "insecure": _yes_no,
    "layers": _whole(0, _LIMITS.layers),
    "fanout": _whole(0, _LIMITS.fanout),
    "recipe": _words_of_a_recipe,
    "default": _one_of("auto", "mixture", "local"),
    "verdict": _verdict,
    "persona": _persona,
    "mode": _one_of("steady", "paper"),
    "choice": _one_of("loaded", "uniform"),
    "order": _one_of("oldest", "fcfs", "later"),
    "hedge": _whole(0, 1),
    "quorum": _yes_no,
    "eager": _one_of("own", "all", "off"),
    "deadline": _seconds,
    "queue_jobs": _whole(1, 65_536),
    "queue_bytes": _whole(1024 * 1024, 16 * 1024 * 1024 * 1024),
    "proposal_tokens": _whole(16, 8192),
    "log_level": _one_of("debug", "info", "warning", "error"),
    "log_format": _one_of("text", "json"),
    "log_prompts": _yes_no,
    "store": _text,
    "store_days": _days,
    "store_bytes": _whole(1024 * 1024, 1024 * 1024 * 1024 * 1024),
    "otlp": _web_address,
    "record": _text,
}
"""For each setting; a parser raises ValueError with what the value should have been."""
