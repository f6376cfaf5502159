"""Items from tasks, files and the hub: what is read as what, and what is refused in one line."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.errors import BackendUnavailableError, MissingExtraError, UsageError
from dmoa.study.evals import hubset
from dmoa.study.evals import items as items_module
from dmoa.study.evals.items import BASELINE, load_items, read_items, sampled
from dmoa.study.evals.records import Item
from dmoa.study.evals.tasks import tasks
from dmoa.study.evals.winrate import read_difficulties

DATA = Path(__file__).parents[3] / "../shared/data/alpaca_eval"
published = pytest.mark.skipif(not DATA.exists(), reason="the published data is not here")


def written(folder: Path, *rows: object, name: str = "set.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


# -- shapes -----------------------------------------------------------------------------


def test_tasks_are_ours() -> None:
    assert load_items("tasks") == tasks()
    assert load_items("tasks:dates,facts", limit=7) == tasks(("dates", "facts"), limit=7)


def test_our_own_items_come_back_as_they_were_written(tmp_path: Path) -> None:
    items = (
        Item("a", "x/y", ("one", "two"), ("1", "2"), "exact", "ref", "model", 0),
        Item("b", "x", ("one",)),
        *tasks(limit=5),
    )
    file = tmp_path / "items.jsonl"
    file.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in items))
    assert load_items(str(file)) == items


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Hi?"}, Item("set-001", "set", ("Hi?",))),
        ({"question": "1+1?", "answer": 2}, Item("set-001", "set", ("1+1?",), ("2",), "numeric")),
        (
            {"instruction": "Where?", "answers": ["Rome", "Roma"], "id": 7, "dataset": "towns"},
            Item("7", "towns", ("Where?",), ("Rome", "Roma"), "contains"),
        ),
        (
            {"prompt": ["a", "b"], "answer": "c", "metric": "exact"},
            Item("set-001", "set", ("a", "b"), ("c",), "exact"),
        ),
        ({"prompt": "a", "answer": "c", "metric": ""}, Item("set-001", "set", ("a",), ("c",))),
        (
            {"question_id": 81, "category": "math", "turns": ["a", "b"], "reference": ["c", ""]},
            Item("mt_bench-81", "mt_bench/math", ("a", "b")),
        ),
        (
            {"instruction": "a", "dataset": "koala", "output": "b", "generator": BASELINE},
            Item("set-001", "koala", ("a",), reference="b", reference_model=BASELINE),
        ),
        (
            {"id": 5, "dataset": "koala", "instruction": "a", "outputs": {BASELINE: "b", "m": "c"}},
            Item("alpaca_eval-005", "koala", ("a",), (), "", "b", BASELINE, 5),
        ),
        (
            {"id": 5, "dataset": "koala", "instruction": "a", "outputs": {"m": "c"}},
            Item("alpaca_eval-005", "koala", ("a",), index=5),
        ),
    ],
)
def test_shapes_are_told_apart_by_their_keys(
    tmp_path: Path, row: dict[str, object], expected: Item
) -> None:
    assert read_items(written(tmp_path, row)) == (expected,)


def test_a_list_is_read_as_lines_are(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {each}\u2028"} for each in range(3)]
    lines = read_items(written(tmp_path, *rows))
    file = tmp_path / "set.json"
    for text in (json.dumps(rows), json.dumps(rows, indent=2, ensure_ascii=False) + "\n"):
        file.write_text("\ufeff" + text, encoding="utf-8")
        assert read_items(file) == lines


def test_a_list_of_all_of_alpaca_eval_has_official_positions(tmp_path: Path) -> None:
    rows = [{"instruction": f"question {each}", "dataset": "koala"} for each in range(805)]
    assert [each.index for each in read_items(written(tmp_path, *rows))] == list(range(805))
    assert {each.index for each in read_items(written(tmp_path, *rows[1:]))} == {None}
    others = [row | {"dataset": "mine"} for row in rows]
    assert {each.index for each in read_items(written(tmp_path, *others))} == {None}


# -- samples ----------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=60),
    st.integers(1, 70),
    st.integers(0, 9),
)
def test_a_sample_has_of_every_dataset_its_share(names: list[str], limit: int, seed: int) -> None:
    items = [Item(str(at), name, ("?",), index=at) for at, name in enumerate(names)]
    some = sampled(items, limit, seed)
    assert some == sampled(items, limit, seed)
    assert len(some) == min(limit, len(items))
    assert list(some) == [each for each in items if each in some], "in their order, unchanged"
    for name, count in Counter(names).items():
        share = len(some) * count / len(items)
        assert abs(sum(each.dataset == name for each in some) - share) < 1.0


def test_another_seed_takes_others() -> None:
    items = [Item(str(at), "x", ("?",)) for at in range(100)]
    assert len({sampled(items, 20, seed) for seed in range(5)}) == 5


@published
def test_the_published_sample_keeps_positions_and_references() -> None:
    text = (DATA / "dev.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.strip().split("\n")]
    found = {each.index: each for each in load_items(str(DATA / "dev.jsonl"))}
    assert [*found] == [row["id"] for row in rows]
    some = load_items(str(DATA / "dev.jsonl"), limit=50, seed=3)
    assert len(some) == 50
    official = {row["id"]: row for row in rows}
    for each in some:
        row = official[each.index]
        assert (each.instruction, each.dataset) == (row["instruction"], row["dataset"])
        assert each.reference == row["outputs"][BASELINE]
        assert each.reference_model == BASELINE


# -- what is refused --------------------------------------------------------------------

GOOD = '{"prompt": "a"}\n'


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("", None, "has no items"),
        (" \n\n", None, "has no items"),
        ("[]", None, "has no items"),
        (GOOD + "{", 2, "is not JSON"),
        (GOOD + "[1]", 2, "is no object"),
        (GOOD + "12", 2, "is no object"),
        (GOOD + '{"text": "a"}', 2, "asks nothing; its keys are text"),
        (GOOD + "{}", 2, "asks nothing"),
        (GOOD + '{"prompt": "  "}', 2, "not empty"),
        (GOOD + '{"prompt": 5}', 2, "is a text"),
        (GOOD + '{"turns": []}', 2, "is empty"),
        (GOOD + '{"turns": ["a", null]}', 2, "is a text"),
        (GOOD + r'{"prompt": "\ud83d"}', 2, "surrogate"),
        (GOOD + '{"prompt": "a", "metric": "exact"}', 2, "needs `answers`"),
        (GOOD + '{"prompt": "a", "answer": "b", "metric": "bleu"}', 2, "is no metric"),
        (GOOD + '{"prompt": "a", "answer": "b", "metric": "numeric"}', 2, "metric numeric itself"),
        (GOOD + '{"prompt": "a", "answer": true}', 2, "is a text"),
        (GOOD + '{"prompt": "a", "answer": [" "]}', 2, "not empty"),
        (GOOD + '{"prompt": "a", "index": -1}', 2, "position"),
        (GOOD + '{"prompt": "a", "dataset": 3}', 2, "`dataset` is a text"),
        (GOOD + '{"prompt": "a", "output": 3}', 2, "`output` is a text"),
        (
            GOOD + '{"prompt": "a", "id": "x"}\n\n{"prompt": "b", "id": "x"}',
            4,
            "already, in line 2",
        ),
        (GOOD + '{"prompt": "' + "a" * 100_001 + '"}', 2, "100001 characters"),
        (GOOD + '{"prompt": ' + "9" * 5_000 + "}", 2, "no JSON that can be read"),
        ("[" * 100_000, 1, "no JSON that can be read"),
        ('[\n{"prompt": "a"}\n', 2, "does not end"),
        ('[\n{"prompt": "a"},\n', 2, "does not end"),
        ('[{"prompt": "a"}\n{"prompt": "b"}]', 1, "does not end"),
        ('[{"prompt": "a"}] [', 1, "does not end"),
        ('[{"prompt": "a"},\n{"prompt": ""}]', 2, "not empty"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_line(
    tmp_path: Path, text: str, line: int | None, word: str
) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_items(str(file))
    assert word in caught.value.message
    assert caught.value.message.startswith(f"{file}, line {line}: " if line else f"{file} ")
    assert caught.value.hint
    assert len(caught.value.message) < 400
    assert "\n" not in caught.value.message


def test_files_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "set.jsonl"
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_items(str(file))
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_items(str(tmp_path))
    file.write_bytes(GOOD.encode() + b'{"prompt": "\xff"}\n')
    with pytest.raises(UsageError, match="line 2: is not UTF-8"):
        load_items(str(file))
    file.write_text(GOOD * 5, encoding="utf-8")
    monkeypatch.setattr(items_module, "ITEMS_MAX", 4)
    with pytest.raises(UsageError, match="more than 4 items"):
        load_items(str(file))
    monkeypatch.setattr(items_module, "FILE_MAX", 1 << 20)
    file.write_text(" " * ((1 << 20) + 1), encoding="utf-8")
    with pytest.raises(UsageError, match="more than 1 MiB"):
        load_items(str(file))


@pytest.mark.parametrize("source", ["tasks", "tasks:facts", "nowhere.jsonl"])
def test_a_limit_of_none_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="0 items cannot be asked"):
        load_items(source, limit=0)
    with pytest.raises(UsageError, match="no tasks of the kind"):
        load_items("tasks:")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_items_or_one_clear_line(content: bytes) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        file = Path(folder) / "set.jsonl"
        file.write_bytes(content)
        with pytest.raises(UsageError) as caught:
            read_items(file)
        assert str(file) in caught.value.message


# -- the hub ----------------------------------------------------------------------------


class Hub(SimpleNamespace):
    """The hub's package, with files of ours behind it."""

    def __init__(self, files: dict[str, Path], *, here: bool) -> None:
        super().__init__()
        self.files, self.here, self.asked = files, here, list[str]()

    def hf_hub_download(
        self, *, repo_id: str, filename: str, repo_type: str, local_files_only: bool = False
    ) -> str:
        if local_files_only and not self.here:
            raise OSError("not here")
        self.asked.append(f"{repo_type} {repo_id} {filename}")
        if filename not in self.files:
            raise RuntimeError("no way to the hub\nTraceback of many lines")
        return str(self.files[filename])


def with_hub(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path], *, here: bool = False) -> Hub:
    hub = Hub(files, here=here)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return hub


def test_alpaca_eval_comes_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"instruction": f"question {at}", "output": "b", "generator": BASELINE, "dataset": name}
        for at, name in enumerate(["koala", "vicuna", "oasst", "koala", "helpful_base"] * 161)
    ]
    file = tmp_path / "alpaca_eval_gpt4_baseline.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    hub = with_hub(monkeypatch, {file.name: file})
    told = list[str]()
    some = load_items("alpaca_eval", limit=80, progress=told.append)
    assert hub.asked == ["dataset tatsu-lab/alpaca_eval alpaca_eval_gpt4_baseline.json"]
    assert "CC BY-NC 4.0" in told[0]
    assert len(some) == 80
    assert all(each.instruction == f"question {each.index}" for each in some)
    assert all(each.id == f"alpaca_eval-{each.index:03}" for each in some)
    with_hub(monkeypatch, {file.name: file}, here=True)
    load_items("alpaca_eval", progress=told.append)
    assert len(told) == 1, "nothing is told where nothing is fetched"


def test_mt_bench_and_difficulties_come_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"question_id": 81, "category": "writing", "turns": ["a", "b"]}
    questions = written(tmp_path, row, name="question.jsonl")
    gamed = tmp_path / "df_gamed.csv"
    gamed.write_text(
        "model,index,instruction_difficulty,preference\na,0,0.5,0\na,1,-1,0\nb,0,0.5,1\nb,1,-1.0,1\n"
    )
    hub = with_hub(monkeypatch, {"data/mt_bench/question.jsonl": questions, "df_gamed.csv": gamed})
    assert [each.turns for each in load_items("mt_bench")] == [("a", "b")]
    assert read_difficulties(hubset.fetched(hubset.DIFFICULTIES)).by_index == {0: 0.5, 1: -1.0}
    assert [each.split()[0] for each in hub.asked] == ["space", "dataset"]


@pytest.mark.parametrize("source", ["alpaca_eval", "mt_bench", None])
def test_without_the_hub_a_file_is_asked_for(
    source: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        hubset.fetched(hubset.DIFFICULTIES) if source is None else load_items(source)

    with_hub(monkeypatch, {})
    with pytest.raises(
        BackendUnavailableError, match=r"could not be fetched: no way to the hub$"
    ) as one:
        load()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match="not installed") as other:
        load()
    assert "give the path of" in str(one.value.hint)
    assert "pip install 'dmoa[hub]'; or give the path of" in str(other.value.hint)
