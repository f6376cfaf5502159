"""Real nodes under load: does reading ahead shorten answers, and when does it stop to?

Two networks of four processes with fake models, so that machines do not share cores, one that
reads ahead and one that does not, get the very same questions at the same moments (Poisson),
at the same time. `rho` is the utilisation by the work of cold queries without spare proposers.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import figures
import msgspec
from eager_accuracy import ARMS, add, read
from eager_processes import FANOUT, ask, fleets

from dmoa.cli.fleet import Fleet
from dmoa.core.policy import Eager
from dmoa.study.load.records import QueryRecord
from dmoa.study.statistics import change_of, mean_of, student

Say = Callable[[str], None]

NODES = 4
WRITE, READ = 0.2, 0.0005
"""Seconds in which a fake model writes, and in which it reads a token.

An aggregation then is half reading and a proposal a fifth, as with the embedded model.
"""
RHOS = {0.3: 0.4, 0.5: 0.35, 0.7: 0.25}
"""Loads, and their shares of the time: the lower, the fewer questions there are in it."""
SECONDS = 1600.0
"""Of all loads together: some 700 to 1,000 questions each."""
BATCHES = 20
"""Parts of a load that are taken as independent, for the standard error of its mean."""
MOST_ERROR = 0.05
CALIBRATING = 8
"""Queries by which the work of one is measured; service times vary."""
QUESTION = (
    "Tell me how a paper clip is bent, step by step, what wire is taken for it and why it "
    "holds paper at all, whether it could be made of something else, and of what, and who "
    "may have been the first to bend one. "
) * 2
"""Fake models echo it, so that a proposal is as long as this: some 110 tokens."""


@dataclass(frozen=True)
class Load:
    """How one network did under one load; times in seconds, all of them per answer.

    `error` is the standard error of the mean, as a share of it; `jobs` counts those that came to
    their end, and `busy` sums what these took their models.
    """

    asked: int
    answered: int
    mean: float
    error: float
    p95: float
    jobs: float
    busy: float


async def demand(fleet: Fleet, seed: int) -> float:
    """Measure the job seconds that a query costs, cold and without spare proposers."""
    seconds: dict[str, list[float]] = {"proposer": [], "aggregator": []}
    for number in range(CALIBRATING):
        reply = await ask(fleet, f"{QUESTION}{seed}-{number}", seed, None)
        for job in reply.extra["jobs"]:
            if job["outcome"] == "ok":
                seconds[job["role"]].append(job["service_seconds"])
    return (FANOUT + 1) * mean(seconds["proposer"]) + mean(seconds["aggregator"])


def run(file: Path, seconds: float, seed: int, settings: dict[str, Any], say: Say) -> None:
    """Put both networks under the same loads, at the same time, as far as the file lacks them."""
    done = {line["rho"] for line in read(file)}
    left = [rho for rho in RHOS if rho not in done]
    if not left:
        return
    models = [
        f"fake:{WRITE}?tokens=16&cv=0.4&prefill={READ:.6f}&layout=short&seed={1000 * seed + node}"
        for node in range(NODES)
    ]
    with fleets(models, settings) as both, tempfile.TemporaryDirectory() as name:
        cost = asyncio.run(demand(both["off"], seed))
        say(f"a query is {cost:.2f} s of work, cold")
        prompts = Path(name, "prompts.jsonl")
        rows = [{"prompt": f"{QUESTION}{number}"} for number in range(100)]
        prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        for rho in left:
            outs = {arm: Path(name, f"{arm}-{rho}.jsonl") for arm in ARMS}
            lasts = RHOS[rho] * seconds
            options = ["--rate", f"{rho / cost:.6f}", "--seconds", f"{lasts:g}"]
            options += ["--seed", f"{seed}", "--prompts", str(prompts)]
            _both(both, outs, options)
            logs = {arm: _records(out) for arm, out in outs.items()}
            line = {"rho": rho, "rate": rho / cost, "seconds": lasts, **compare(logs)}
            add(file, line)
            enough = "" if line["enough"] else ", not well enough known"
            say(f"rho {rho:g}: mean {100 * line['change'][0]:+.1f} %{enough}")


def _both(both: dict[Eager, Fleet], outs: dict[Eager, Path], options: Sequence[str]) -> None:
    """Run `dmoa load` against both at the same time."""
    running: list[subprocess.Popen[bytes]] = []
    for arm, fleet in both.items():
        command = [sys.executable, "-m", "dmoa", "load", *options, "--out", str(outs[arm])]
        command += ["--layers", "1", "--fanout", f"{FANOUT}", "--worlds", "0"]
        command += [word for each in fleet.members for word in ("--url", each.url)]
        silent = subprocess.DEVNULL
        running.append(subprocess.Popen(command, stdout=silent, stderr=silent))
    codes = [each.wait() for each in running]
    if any(codes):
        raise SystemExit(f"a load test ended with {codes}")


def _records(out: Path) -> list[QueryRecord]:
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    found = [msgspec.convert(row, QueryRecord) for row in rows if row["kind"] == "query"]
    return sorted(found, key=lambda record: record.number)


def compare(logs: dict[Eager, list[QueryRecord]], warmup: float = 0.1) -> dict[str, Any]:
    """Compare the same queries in both networks, those after the warm-up.

    Means over batches of them, in the order in which they were asked, are taken as independent:
    an answer waits for those before it, which are mostly of its own batch. SystemExit where
    there are too few.
    """
    first = int(warmup * min(map(len, logs.values())))
    kept = {arm: [each for each in log if each.number >= first] for arm, log in logs.items()}
    answers = {
        arm: {each.number: each for each in records if each.status == "answered"}
        for arm, records in kept.items()
    }
    pairs = sorted(answers["off"].keys() & answers["own"].keys())
    if len(pairs) < 2 * BATCHES:
        raise SystemExit(f"{len(pairs)} answers are too few to compare; ask longer: --seconds")
    means = {arm: batches([answers[arm][each].latency for each in pairs]) for arm in ARMS}
    told: dict[str, Any] = {}
    for arm in ARMS:
        times = sorted(each.latency for each in answers[arm].values())
        jobs = [job for each in answers[arm].values() for job in each.jobs if job.outcome == "ok"]
        of_batches = mean_of(means[arm])
        error = of_batches.half / student(BATCHES - 1, 0.95) / of_batches.mean
        told[arm] = asdict(
            Load(
                asked=len(kept[arm]),
                answered=len(times),
                mean=mean(times),
                error=error,
                p95=times[int(0.95 * len(times))],
                jobs=len(jobs) / len(times),
                busy=sum(job.service_seconds for job in jobs) / len(times),
            )
        )
    change = change_of(means["off"], means["own"])
    told["change"] = [change.mean, change.low, change.high]
    told["p95_change"] = told["own"]["p95"] / told["off"]["p95"] - 1.0
    told["enough"] = all(told[arm]["error"] <= MOST_ERROR for arm in ARMS)
    return told


def batches(values: Sequence[float], count: int = BATCHES) -> list[float]:
    """Take the means of `count` parts, as equal as can be, of at least as many values in order."""
    ends = [len(values) * at // count for at in range(count + 1)]
    return [mean(values[low:high]) for low, high in pairwise(ends)]


def text(lines: Sequence[dict[str, Any]]) -> str:
    """Lay out what was measured at each load."""
    head = ("rho (cold)", "asked, each", "off: mean, p95, s", "own: mean, p95, s")
    head += ("mean, change (95 %)", "p95, change", "standard errors", "jobs", "work, s")
    rows: list[list[str]] = []
    for line in sorted(lines, key=lambda line: line["rho"]):
        off, own = line["off"], line["own"]
        middle, low, high = (f"{100 * each:+.1f}" for each in line["change"])
        rows.append(
            [
                f"{line['rho']:g}",
                f"{off['asked']}",
                f"{off['mean']:.3f}, {off['p95']:.3f}",
                f"{own['mean']:.3f}, {own['p95']:.3f}",
                f"{middle} % ({low} to {high})",
                f"{100 * line['p95_change']:+.1f} %",
                f"{off['error']:.1%}, {own['error']:.1%}",
                f"{off['jobs']:.2f}, {own['jobs']:.2f}",
                f"{off['busy']:.2f}, {own['busy']:.2f}",
            ]
        )
    return figures.table(head, rows)
