"""What a load test keeps: a line per query as it ends, and now and then one of how nodes stand.

The file is a ledger: every line stands for itself, the first says what is asked, and of a test
that was killed at most the last line is torn. No line holds text of a prompt or an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import msgspec

from dmoa.errors import UsageError
from dmoa.study.lines import Lines

Status = str
"""How a query ended: one of `STATUSES`."""
STATUSES = ("answered", "refused", "expired", "failed", "dropped")


class JobRecord(msgspec.Struct, frozen=True, gc=False):
    """One job of a query; seconds as its node measured them."""

    node: str
    layer: int
    role: str
    outcome: str
    queued_seconds: float
    service_seconds: float


class QueryRecord(msgspec.Struct, frozen=True):
    """One query of a test, numbered from 0; times in seconds, `due` from the test's begin.

    `latency` counts from when it was due, `lag` from then until it was sent. `node` is the
    index of its home. `expected_seconds` and `position` are what it was told when asked.
    `letters` is the length of the answer.
    """

    number: int
    node: int
    due: float
    lag: float
    latency: float
    status: Status
    http: int = 0
    retry_after: float | None = None
    position: int | None = None
    expected_seconds: float = 0.0
    degraded: tuple[str, ...] = ()
    layers: int = 0
    fanout: int = 0
    jobs: tuple[JobRecord, ...] = ()
    letters: int = 0
    detail: str = ""


class NodeSample(msgspec.Struct, frozen=True):
    """How one node stood; counters since its start, job seconds as sums over jobs."""

    waiting: int
    serving: int
    slots: int
    bound_jobs: int | None
    rho: float
    arrival_rate: float
    service_time: float
    layers: int
    fanout: int
    seconds: float
    waiting_job_seconds: float
    serving_job_seconds: float
    queries: int
    refused: int
    declined: int
    served: int


class Crew(msgspec.Struct, frozen=True):
    """Who the nodes of a test are: what each said of itself when the test began."""

    names: tuple[str, ...]
    modes: tuple[str, ...]
    slots: tuple[int, ...]
    service_times: tuple[float, ...]
    policies: tuple[dict[str, Any], ...]


class Sample(msgspec.Struct, frozen=True):
    """How all nodes stood `at` seconds from the test's begin; None where one did not answer.

    `leg` counts how often the test was gone on with.
    """

    at: float
    leg: int
    nodes: tuple[NodeSample | None, ...]


class _Sent(msgspec.Struct, frozen=True):
    """That a query goes out now, so that it is never asked again."""

    number: int


class Log:
    """What is known of a test so far, in memory; `FileLog` keeps it in a file as well.

    `rates` are queries per second at each node, None until they are known. `asked` counts the
    queries that went out, or were dropped when they were due.
    """

    def __init__(self) -> None:
        self.queries: dict[int, QueryRecord] = {}
        self.samples: list[Sample] = []
        self.rates: tuple[float, ...] | None = None
        self.crew: Crew | None = None
        self.asked = 0
        self.torn = False

    def __enter__(self) -> Self:
        """Keep it for a while."""
        return self

    def __exit__(self, *what: object) -> None:
        """Let go of it."""

    def begin(self, rates: Sequence[float]) -> None:
        """Take how often each node is to be asked."""
        self.rates = tuple(rates)

    @property
    def leg(self) -> int:
        """How often the test was begun before."""
        return self.samples[-1].leg + 1 if self.samples else 0

    @property
    def left(self) -> float:
        """Tell where the test was left: seconds from its begin."""
        last = self.samples[-1].at if self.samples else 0.0
        return max([last, *(each.due for each in self.queries.values())])

    def meet(self, crew: Crew) -> None:
        """Take who the nodes are; UsageError where they were others before."""
        known = self.crew
        if known is not None and (known.names, known.modes) != (crew.names, crew.modes):
            raise UsageError(
                f"the test was begun with {_listed(known)}, and these are {_listed(crew)}",
                hint="name the nodes in the same order, or another file",
            )
        self.crew = crew

    def send(self, number: int) -> None:
        """Take that a query goes out; they do so in their order."""
        self.asked = number + 1

    def query(self, record: QueryRecord) -> None:
        """Take the end of a query."""
        self.queries[record.number] = record

    def sample(self, sample: Sample) -> None:
        """Take how the nodes stand."""
        self.samples.append(sample)


def _listed(crew: Crew) -> str:
    pairs = zip(crew.names, crew.modes, strict=True)
    return ", ".join(f"{name} ({mode})" for name, mode in pairs)


class FileLog(Log):
    """A log that is also a file, and goes on where the file ends; open it within a `with`.

    `settings` is all that what is asked depends on. UsageError where the file was written with
    others, is no test's, or is being written by somebody else.
    """

    def __init__(self, file: Path, settings: dict[str, Any]) -> None:
        super().__init__()
        self.file = file
        self._settings = settings
        self._lines = Lines(file)

    def __enter__(self) -> Self:
        """Read what is there."""
        self._lines.__enter__()
        try:
            self._read()
        except BaseException:
            self._lines.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *what: object) -> None:
        """Let go of the file."""
        self._lines.__exit__(None, None, None)

    def begin(self, rates: Sequence[float]) -> None:
        """Write the first line, where there is none yet."""
        if self.rates is None:
            self._lines.add("test", {"settings": self._settings, "rates": list(rates)})
        super().begin(rates)

    def meet(self, crew: Crew) -> None:
        """Take who the nodes are."""
        super().meet(crew)
        self._lines.add("nodes", crew)

    def send(self, number: int) -> None:
        """Take that a query goes out."""
        super().send(number)
        self._lines.add("sent", _Sent(number))

    def query(self, record: QueryRecord) -> None:
        """Take the end of a query."""
        super().query(record)
        self._lines.add("query", record)

    def sample(self, sample: Sample) -> None:
        """Take how the nodes stand."""
        super().sample(sample)
        self._lines.add("sample", sample)

    def _read(self) -> None:
        self.torn = self._lines.torn
        for number, row in enumerate(self._lines.rows, 1):
            try:
                well = (row["kind"] == "test") is (number == 1) and self._know(row)
                why = "" if well else "it stands where it cannot"
            except msgspec.ValidationError as error:
                well, why = False, str(error)
            if not well:
                raise UsageError(
                    f"{self.file}, line {number}: was changed after it was written ({why})",
                    hint="name another file",
                )

    def _know(self, row: dict[str, Any]) -> bool:
        """Take what a line says; False where it is of no known kind."""
        match row["kind"]:
            case "test":
                self._compare(row.get("settings"))
                self.rates = msgspec.convert(row.get("rates"), tuple[float, ...])
            case "nodes":
                self.crew = msgspec.convert(row, Crew)
            case "sent":
                super().send(msgspec.convert(row, _Sent).number)
            case "query":
                super().query(msgspec.convert(row, QueryRecord))
            case "sample":
                super().sample(msgspec.convert(row, Sample))
            case _:
                return False
        return True

    def _compare(self, found: object) -> None:
        """Refuse a file of another test, and say in what it is another."""
        if found == self._settings:
            return
        was = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        keys = [key for key, value in self._settings.items() if was.get(key) != value]
        raise UsageError(
            f"{self.file} is of a test with other settings: {', '.join(keys) or 'more of them'}",
            hint="name another file, or give the settings that it was begun with",
        )
