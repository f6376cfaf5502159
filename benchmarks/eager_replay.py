"""From the last proposal to the first token of the answer, with the proposals played back.

The home has the embedded model, in this process or behind llama.cpp's own server, and proposes
itself; its k peers play proposals that the same model wrote before (`eager_proposals.json`), word
by word, and end a fixed time apart. So what comes, and when, is the same however the home reads.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import figures
import processes
from eager_accuracy import ARMS, add, read
from eager_room import Heard, Part, Player, ask, room

from dmoa.assemble import prepare
from dmoa.backends.registry import open_backend
from dmoa.core.job import Completion, Prompt, Sampling, Turn
from dmoa.core.mixture import Mixture
from dmoa.core.policy import Eager
from dmoa.runtime.node import Node

PROPOSALS = Path(__file__).with_name("eager_proposals.json")
FANOUTS = (2, 4)
WRITES = 4.0
"""Seconds in which a peer writes its proposal, of some 128 tokens."""
ENDS = (5.0, 7.5, 10.0, 12.5)
"""Seconds until the peers' proposals end; home's own should be there before the first."""
LATE = 0.5
"""Seconds after the last of its peers by which home's own proposal has ended last."""
TOKENS = 60
"""Of an answer."""
BOUNDS = {2: 0.4, 4: 0.25}
"""By k, the share of the cold wait that may be left."""
LEFT_BOUND = 64
"""Tokens that may be left to read."""

QUESTIONS = (
    "Explain how a bicycle stays upright while it is ridden.",
    "Describe how to plant a small vegetable garden in spring.",
    "Why do leaves change their colour in autumn?",
    "What should one look for when buying a used car?",
    "Explain how a lock and a key work together.",
    "How does a library decide which books to keep?",
    "Tell me how bread is made, from the field to the table.",
    "Why is it colder on a mountain than in the valley?",
    "Describe a day in the life of a lighthouse keeper.",
    "How do bees find their way back to the hive?",
    "What are the advantages of walking to work every day?",
    "Explain to a child why we need to sleep.",
)
"""What is asked; the first warms up."""


@dataclass(frozen=True)
class Line:
    """One answer to one question, by one way of reading, with k peers."""

    fanout: int
    arm: Eager
    question: int
    last: float
    waited: float
    whole: float
    prompt: int
    early: int

    @classmethod
    def of(cls, fanout: int, arm: Eager, question: int, heard: Heard) -> Line:
        """Keep of an answer what is measured."""
        times = (heard.last, heard.waited, heard.whole)
        return cls(fanout, arm, question, *times, heard.prompt, heard.early)


# -- what is played -----------------------------------------------------------------------


async def write(say: Callable[[str], None]) -> None:
    """Have the embedded model write what peers will play, and keep it."""
    backend = open_backend("smollm2?temperature=0.7")
    await backend.open()
    found: dict[str, list[str]] = {}
    try:
        for number, question in enumerate(QUESTIONS):
            found[question] = []
            for seat in range(max(FANOUTS)):
                drawn = Sampling(seed=100 * number + seat, max_tokens=128)
                prompt = Prompt("proposer", (Turn("user", question),), drawn)
                async for token in backend.generate(prompt):
                    if isinstance(token, Completion):
                        found[question].append(token.text)
            say(f"{number + 1} of {len(QUESTIONS)} questions")
    finally:
        await backend.close()
    PROPOSALS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def plays(stretch: float = 1.0) -> dict[str, list[Part]]:
    """Lay out what each seat plays: the home's own, at 0, is never played.

    Times are `stretch` times as long, for a machine on which home's own takes longer.
    """
    found: dict[str, list[str]] = json.loads(PROPOSALS.read_text("utf-8"))
    return {
        question: [
            Part(""),
            *(
                Part(each, stretch * (end - WRITES), stretch * end)
                for end, each in zip(ENDS, texts, strict=True)
            ),
        ]
        for question, texts in found.items()
    }


# -- measuring ----------------------------------------------------------------------------


@asynccontextmanager
async def home(arm: Eager, fanout: int, stretch: float, *, served: bool) -> AsyncIterator[Node]:
    """Open a home with a model of its own: embedded, or `served` by another process."""
    async with AsyncExitStack() as stack:
        model = "smollm2"
        if served:
            server = stack.enter_context(processes.running(SERVER))
            assert server.stdout is not None
            model = f"openai:{server.stdout.readline().strip()}/v1?{SERVED}"
        players = [Player(plays(stretch), seat) for seat in range(1, fanout + 1)]
        yield await stack.enter_async_context(room(open_backend(model), players, arm))


SERVER = (sys.executable, str(Path(__file__).with_name("eager.py")), "serve")
SERVED = "layout=short&proposal=128&answer=256&context=4096&ahead=slot"
"""Settings of a backend whose model a node cannot see; the same as those of the embedded one."""


async def run(
    file: Path,
    rounds: int,
    say: Callable[[str], None],
    *,
    stretch: float = 1.0,
    served: bool = False,
) -> None:
    """Ask each question in both ways by turns, as far as the file lacks them."""
    prepare(["smollm2"], say)
    done = {(line["fanout"], line["arm"], line["question"]) for line in read(file)}
    for fanout in FANOUTS:
        wanted = range(1, rounds + 1)
        left = [each for each in wanted if any((fanout, arm, each) not in done for arm in ARMS)]
        if not left:
            continue
        async with AsyncExitStack() as stack:
            homes = {
                arm: await stack.enter_async_context(home(arm, fanout, stretch, served=served))
                for arm in ARMS
            }
            for question in (0, *left):
                turns = ARMS if question % 2 else ARMS[::-1]
                for arm in turns:
                    drawn = Sampling(seed=question, max_tokens=TOKENS)
                    asked = QUESTIONS[question]
                    heard = await ask(homes[arm], asked, Mixture(1, fanout), drawn)
                    if question:
                        add(file, asdict(Line.of(fanout, arm, question, heard)))
                    late = heard.last > stretch * ENDS[fanout - 1] + LATE
                    note = "; home's own came last: --stretch more" if late else ""
                    say(f"k={fanout}, {arm}, question {question}: {heard.waited:.2f} s{note}")


def serve() -> None:
    """Be llama.cpp's server of the embedded model, with one slot, until standard input ends."""
    from dmoa.backends.engine import cores, load_library  # noqa: PLC0415  (loads llama.cpp)
    from dmoa.backends.weights import ensure_weights  # noqa: PLC0415

    library = load_library()
    params = library.CommonParams()
    params.model.path = str(ensure_weights())
    params.n_parallel, params.n_ctx, params.n_batch = 1, 4096, 256
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = 1, cores()
    params.verbosity, params.ui, params.cache_ram_mib = -1, False, 0
    params.hostnames, params.port = ["127.0.0.1"], 0
    server: Any = library.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


# -- telling ------------------------------------------------------------------------------


def summary(lines: Sequence[dict[str, Any]], fanout: int) -> dict[str, Any]:
    """Sum up what was measured with k peers: medians and quartiles, in seconds and tokens."""
    told: dict[str, Any] = {"fanout": fanout}
    of = {
        arm: [line for line in lines if line["fanout"] == fanout and line["arm"] == arm]
        for arm in ARMS
    }
    for arm, some in of.items():
        left = [line["prompt"] - line["early"] for line in some]
        columns = {"waited": [line["waited"] for line in some], "left": left}
        columns["whole"] = [line["whole"] for line in some]
        columns["prompt"] = [line["prompt"] for line in some]
        told[arm] = {key: asdict(figures.Spread.of(value)) for key, value in columns.items()}
    told["waited_ratio"] = told["own"]["waited"]["median"] / told["off"]["waited"]["median"]
    told["whole_ratio"] = told["own"]["whole"]["median"] / told["off"]["whole"]["median"]
    told["bound"] = BOUNDS[fanout]
    most = max(line["prompt"] - line["early"] for line in of["own"])
    told["left_most"] = most
    told["holds"] = told["waited_ratio"] <= BOUNDS[fanout] and most < LEFT_BOUND
    return told


def rows(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Lay out rows of the table whose head is `HEAD`."""
    laid: list[list[str]] = []
    for told in found:
        for arm in ARMS:
            spreads = {key: figures.Spread(**value) for key, value in told[arm].items()}
            ratio = f"{told['waited_ratio']:.2f} (<= {told['bound']})" if arm == "own" else ""
            laid.append(
                [
                    f"k={told['fanout']}, {arm}",
                    spreads["prompt"].text(0),
                    spreads["left"].text(0),
                    spreads["waited"].text(2),
                    ratio,
                    spreads["whole"].text(2),
                ]
            )
    return laid


HEAD = (
    "eager",
    "prompt, tokens",
    "left to read, tokens",
    "last proposal to first token, s",
    "share of cold",
    "whole answer, s",
)


def summaries(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum up every k of which there is enough."""
    counts = Counter((line["fanout"], line["arm"]) for line in lines)
    enough = [fanout for fanout in FANOUTS if all(counts[fanout, arm] > 1 for arm in ARMS)]
    return [summary(lines, fanout) for fanout in enough]
