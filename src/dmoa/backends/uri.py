"""Backend URIs: one short line that names a language model and how to use it.

```text
smollm2                              the embedded default; so is the empty text
llama:PATH.gguf                      a GGUF file of the user's own
hub:OWNER/REPO/FILE.gguf             a GGUF file from a model hub (extra `hub`)
openai:http://HOST:PORT/v1#MODEL     any OpenAI-compatible endpoint; MODEL may be left out
fake:SECONDS#NAME                    only takes its time; NAME may be left out
```

Each may end in settings, `?context=8192&slots=2`; `fake:0.2?cv=0.5&seed=7&crowding=0.3` is
log-normal, and slower with several jobs at once, and `prefill=0.005` the seconds that a token of
a prompt takes. `?temperature=0.9&top_p=0.95&seed=7` is how
tokens are drawn where a request does not say, the seed giving a repeatable stream of seeds, one
for each job; `repeat_penalty` is for servers that know it. There is no place for a secret: a key is
named by its environment variable, `?key_env=NAME`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

from dmoa.errors import ConfigError

Kind = Literal["smollm2", "llama", "hub", "openai", "fake"]
Layout = Literal["full", "short"]
Ahead = Literal["off", "slot", "prefix"]
"""How prompts are read ahead: not, in a slot of llama.cpp's, or by a server that finds prefixes."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHAPE: Final = re.compile(
    r"(?P<target>[^?#]*)(?:\?(?P<before>[^#]*))?(?:#(?P<name>[^?]*))?(?:\?(?P<after>.*))?",
    re.DOTALL,
)
_COMMON: Final = ("context", "slots", "threads", "answer", "proposal", "layout", "stall")
_DRAWN: Final = ("seed", "temperature", "top_p", "repeat_penalty")
"""How tokens are drawn, where a request does not say."""
_OWN: Final[dict[Kind, tuple[str, ...]]] = {
    "smollm2": _DRAWN,
    "llama": _DRAWN,
    "hub": _DRAWN,
    "openai": (*_DRAWN, "key_env", "ahead"),
    "fake": ("tokens", "fail", "after", "cv", "seed", "crowding", "prefill", "ahead"),
}
RATIO_MAX: Final = 1000
"""Of `cv` and `crowding`: what varies or suffers more tells nobody anything."""
FAILURES: Final = ("unavailable", "refused", "too_long", "rubbish", "timeout", "stall")
"""What `fail=` of a fake backend can be: the code of a fault, or `stall` for ever."""

_FORMS: Final = (
    "use smollm2, llama:PATH.gguf, hub:OWNER/REPO/FILE.gguf, "
    "openai:http://HOST:PORT/v1#MODEL or fake:SECONDS"
)


@dataclass(frozen=True, slots=True)
class BackendUri:
    """A backend URI, taken apart; None where nothing was said.

    `target` is a path, a file of a hub, a base URL, or empty; `name` is a model's name
    or a fake's; `stall` and `seconds` are in seconds, the counts in tokens. `cv` is the
    standard deviation of a fake's time over its mean, `crowding` the share by which each
    further job in service makes a job longer, `prefill` the seconds in which it reads a token.
    """

    kind: Kind
    target: str = ""
    name: str = ""
    context: int | None = None
    slots: int | None = None
    threads: int | None = None
    answer: int | None = None
    proposal: int | None = None
    layout: Layout | None = None
    stall: float | None = None
    key_env: str = ""
    seconds: float = 0.0
    tokens: int | None = None
    fail: str = ""
    after: int = 0
    cv: float = 0.0
    seed: int | None = None
    crowding: float = 0.0
    prefill: float = 0.0
    ahead: Ahead | None = None
    temperature: float | None = None
    top_p: float | None = None
    repeat_penalty: float | None = None

    @property
    def drawn(self) -> dict[str, object]:
        """The fields of a request that say how tokens are drawn, as far as the user said."""
        said = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "repeat_penalty": self.repeat_penalty,
        }
        return {key: value for key, value in said.items() if value is not None}


def parse_uri(text: str) -> BackendUri:
    """Take a backend URI apart; ConfigError if it is none."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None or _CONTROLS.search(match[0]):
        raise ConfigError("the backend is not a URI", hint=_FORMS)
    head, colon, rest = match["target"].partition(":")
    kind = _kind(head if colon else match["target"], colon)
    name = match["name"] or ""
    if name and kind not in ("openai", "fake"):
        raise ConfigError(f"a {kind} backend has no `#` part", hint=_FORMS)
    settings = _settings(kind, "&".join(filter(None, (match["before"], match["after"]))))
    return BackendUri(
        kind=kind,
        target="" if kind == "fake" else _target(kind, rest),
        name=name,
        seconds=_seconds("the time of a fake backend", rest) if kind == "fake" else 0.0,
        context=_count(settings, "context"),
        slots=_count(settings, "slots"),
        threads=_count(settings, "threads"),
        answer=_count(settings, "answer"),
        proposal=_count(settings, "proposal"),
        tokens=_count(settings, "tokens"),
        layout=_layout(settings),
        stall=_stall(settings),
        key_env=_key_env(settings),
        fail=_fail(settings),
        after=_after(settings),
        cv=_ratio(settings, "cv"),
        seed=_seed(settings),
        crowding=_ratio(settings, "crowding"),
        prefill=_seconds("the backend setting `prefill`", settings.get("prefill", "0")),
        ahead=_ahead(kind, settings),
        temperature=_share(settings, "temperature", 2.0),
        top_p=_share(settings, "top_p", 1.0),
        repeat_penalty=_share(settings, "repeat_penalty", 2.0),
    )


def _kind(head: str, colon: str) -> Kind:
    """Tell which backend is meant. Only the part before the colon is ever repeated."""
    match head, colon:
        case ("" | "smollm2", ""):
            return "smollm2"
        case ("llama" | "hub" | "openai" | "fake") as kind, ":":
            return kind
        case _:
            raise ConfigError(f"`{head[:40]}` is not a backend", hint=_FORMS)


def _target(kind: Kind, rest: str) -> str:
    if kind == "smollm2":
        return ""
    if kind == "openai":
        return _base_url(rest)
    if not rest:
        raise ConfigError(f"a {kind} backend needs a file", hint=_FORMS)
    if kind == "hub" and len([part for part in rest.split("/") if part]) < len(("o", "r", "f")):
        raise ConfigError("a hub backend is named OWNER/REPO/FILE.gguf", hint=_FORMS)
    return rest


def _base_url(text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ConfigError("an openai backend has an invalid URL", hint=_FORMS) from None
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise ConfigError("an openai backend needs a URL of http or https", hint=_FORMS)
    if url.username is not None or url.password is not None:
        raise ConfigError(
            "the URL of an openai backend carries a name or password",
            hint="put the key into an environment variable, and name it with `?key_env=NAME`",
        )
    return text.rstrip("/")


def _settings(kind: Kind, text: str) -> dict[str, str]:
    """Read the settings; an unknown or doubled one is refused, its value never repeated."""
    known = (*_COMMON, *_OWN[kind])
    found: dict[str, str] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        if key not in known:
            raise ConfigError(
                f"a {kind} backend has no setting `{key[:40]}`",
                hint=f"known settings: {', '.join(known)}",
            )
        if key in found:
            raise ConfigError(f"the backend setting `{key}` is given twice")
        found[key] = value
    return found


def _count(settings: dict[str, str], key: str) -> int | None:
    text = settings.get(key)
    if text is None:
        return None
    if re.fullmatch(r"[1-9][0-9]{0,7}", text) is None:
        raise ConfigError(f"the backend setting `{key}` needs a whole number above 0")
    return int(text)


def _after(settings: dict[str, str]) -> int:
    text = settings.get("after", "0")
    if re.fullmatch(r"[0-9]{1,8}", text) is None:
        raise ConfigError("the backend setting `after` needs a number of tokens")
    return int(text)


def _seed(settings: dict[str, str]) -> int | None:
    text = settings.get("seed")
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise ConfigError("the backend setting `seed` needs a whole number, 0 or above")
    return int(text)


def _ratio(settings: dict[str, str], key: str) -> float:
    match = re.fullmatch(r"\d{1,4}(?:\.\d{1,9})?|\.\d{1,9}", settings.get(key, "0"), re.ASCII)
    if match is None or float(match[0]) > RATIO_MAX:
        raise ConfigError(
            f"the backend setting `{key}` needs a number from 0 to {RATIO_MAX}",
            hint=f"for example `?{key}=0.5`",
        )
    return float(match[0])


def _share(settings: dict[str, str], key: str, most: float) -> float | None:
    text = settings.get(key)
    if text is None:
        return None
    match = re.fullmatch(r"\d(?:\.\d{1,9})?|\.\d{1,9}", text, re.ASCII)
    if match is None or float(match[0]) > most:
        raise ConfigError(
            f"the backend setting `{key}` needs a number from 0 to {most:g}",
            hint=f"for example `?{key}=0.7`",
        )
    return float(match[0])


def _seconds(what: str, text: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})s?", text, re.ASCII)
    if match is None:
        raise ConfigError(f"{what} needs a number of seconds", hint="for example 0.2 or 0.2s")
    return float(match[1])


def _stall(settings: dict[str, str]) -> float | None:
    text = settings.get("stall")
    if text is None:
        return None
    seconds = _seconds("the backend setting `stall`", text)
    if seconds <= 0:
        raise ConfigError("the backend setting `stall` needs to be above 0")
    return seconds


def _layout(settings: dict[str, str]) -> Layout | None:
    match settings.get("layout"):
        case (None | "full" | "short") as layout:
            return layout
        case _:
            raise ConfigError("the backend setting `layout` is `full` or `short`")


def _ahead(kind: Kind, settings: dict[str, str]) -> Ahead | None:
    match settings.get("ahead"):
        case (None | "off") as ahead:
            return ahead
        case ("slot" | "prefix") as ahead if kind == "openai":
            return ahead
        case _:
            ways = "`off`, `slot` or `prefix`" if kind == "openai" else "`off`, or left out"
            raise ConfigError(f"the backend setting `ahead` is {ways}")


def _key_env(settings: dict[str, str]) -> str:
    """Take the variable's name; what is none may be a key, and is not repeated."""
    text = settings.get("key_env", "")
    if text and re.fullmatch(r"[A-Z_][A-Z0-9_]*", text) is None:
        raise ConfigError(
            "the backend setting `key_env` needs the name of an environment variable",
            hint="for example `?key_env=MY_SERVER_KEY`; never the key itself",
        )
    return text


def _fail(settings: dict[str, str]) -> str:
    text = settings.get("fail", "")
    if text and text not in FAILURES:
        raise ConfigError(f"the backend setting `fail` is one of {', '.join(FAILURES)}")
    return text
