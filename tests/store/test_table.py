"""The life of a response in the table: what is accepted ends once, whoever comes late."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_room import KEEP, MOST, question, table

from dmoa.errors import ConflictError, OverloadedError, ResponseNotFoundError, UsageError
from dmoa.store import kept as bounds
from dmoa.store.kept import ANSWER_BYTES, CHAIN, OPEN_RESPONSES, SUSPECT, Kept
from dmoa.store.table import Table


@pytest.fixture(name="store")
def _store() -> Iterator[Table]:
    made = table()
    yield made
    made.close()


def taken(store: Table, now: float = 1.0) -> Kept:
    kept = store.claim(now).taken
    assert kept is not None
    return kept


def test_a_question_waits_is_asked_and_ends(store: Table) -> None:
    new = question()
    assert store.accept(new, 1.0).status == "queued"
    begun = taken(store)
    assert (begun.id, begun.status, begun.attempts, begun.work) == (
        new.id,
        "in_progress",
        1,
        "why?",
    )
    assert store.claim(1.0).taken is None
    assert store.end(begun, "completed", "because", 2.0)
    kept = store.get(new.id, "")
    assert (kept.status, kept.outcome, kept.ended, kept.work) == ("completed", "because", 2.0, "")


def test_a_second_end_changes_nothing(store: Table) -> None:
    store.accept(question(), 1.0)
    begun = taken(store)
    assert store.end(begun, "completed", "one", 2.0)
    assert not store.end(begun, "failed", "two", 3.0)
    assert not store.put_back(begun, 4.0, fault=False)
    assert store.get(begun.id, "").outcome == "one"


def test_an_attempt_that_was_put_back_cannot_end_the_next(store: Table) -> None:
    store.accept(question(), 1.0)
    old = taken(store)
    assert store.put_back(old, 5.0, fault=True)
    assert (store.claim(4.0).taken, store.claim(4.0).due) == (None, 5.0)
    new = taken(store, 5.0)
    assert (new.attempts, new.faults) == (2, 1)
    assert not store.end(old, "completed", "late", 6.0)
    assert store.end(new, "completed", "right", 6.0)


def test_a_cancelled_question_stays_cancelled(store: Table) -> None:
    new = question()
    store.accept(new, 1.0)
    begun = taken(store)
    assert store.cancel(new.id, "", "gone", 2.0).status == "cancelled"
    assert not store.end(begun, "completed", "late", 3.0)
    again = store.cancel(new.id, "", "other", 4.0)
    assert (again.status, again.outcome, again.ended) == ("cancelled", "gone", 2.0)
    with pytest.raises(UsageError, match="not asked in the background"):
        store.cancel(store.keep(question(background=False), "completed", "x", 1.0).id, "", "", 2.0)


def test_a_deleted_question_is_gone(store: Table) -> None:
    new = question()
    store.accept(new, 1.0)
    begun = taken(store)
    store.delete(new.id, "")
    assert not store.end(begun, "completed", "late", 3.0)
    for look in (store.get, store.delete):
        with pytest.raises(ResponseNotFoundError):
            look(new.id, "")


def test_the_oldest_that_is_due_goes_first(store: Table) -> None:
    first, second = question(), question()
    for new in (first, second):
        store.accept(new, 1.0)
    assert taken(store).id == first.id
    assert taken(store).id == second.id


def test_owners_see_their_own_alone(store: Table) -> None:
    mine = store.accept(question(owner="me"), 1.0)
    theirs = store.accept(question(owner="they"), 1.0)
    for look in (store.get, store.delete, lambda *who: store.cancel(*who, "", 1.0)):
        with pytest.raises(ResponseNotFoundError):
            look(theirs.id, "me")
    with pytest.raises(ResponseNotFoundError):
        store.chain(theirs.id, "me", MOST)
    assert [kept.id for kept in store.listed("me", 10, "")] == [mine.id]


def test_a_name_stands_for_one_question(store: Table) -> None:
    named = question(idempotency="k", fingerprint="f")
    first = store.accept(named, 1.0)
    again = store.accept(question(idempotency="k", fingerprint="f"), 2.0)
    assert again == first
    with pytest.raises(ConflictError):
        store.accept(question(idempotency="k", fingerprint="other"), 2.0)
    other = store.accept(question(idempotency="k", fingerprint="f", owner="they"), 2.0)
    assert other.id != first.id
    store.delete(first.id, "")
    assert store.accept(question(idempotency="k", fingerprint="other"), 3.0).id != first.id


def test_a_chain_is_walked_back_to_its_first(store: Table) -> None:
    ids = [""]
    for _ in range(4):
        ids.append(store.keep(question(previous=ids[-1]), "completed", "x", 1.0).id)
    assert [kept.id for kept in store.chain(ids[-1], "", MOST)] == ids[1:]
    with pytest.raises(UsageError, match="bytes"):
        store.chain(ids[-1], "", 10)
    store.delete(ids[2], "")
    with pytest.raises(ResponseNotFoundError):
        store.chain(ids[-1], "", MOST)
    for _ in range(CHAIN + 1):
        ids.append(store.keep(question(previous=ids[-1]), "completed", "x", 1.0).id)
    with pytest.raises(UsageError, match=f"more than {CHAIN}"):
        store.chain(ids[-1], "", MOST)


def test_questions_that_wait_are_bounded(store: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OPEN_RESPONSES >= 100
    monkeypatch.setattr("dmoa.store.table.OPEN_RESPONSES", 3)
    for _ in range(3):
        store.accept(question(), 1.0)
    with pytest.raises(OverloadedError) as caught:
        store.accept(question(), 1.0)
    assert caught.value.retry_after > 0
    store.end(taken(store), "completed", "", 2.0)
    store.accept(question(), 2.0)


def test_what_has_ended_makes_room_and_what_waits_does_not(tmp_path: Path) -> None:
    most = 1024 * 1024
    store = table(tmp_path / "store.db", most=most)
    text = "x" * (most // 8)
    ended = [store.alone(lambda t: t.keep(question(), "completed", text, 1.0)).id for _ in range(7)]
    work = "y" * 1000
    accepted = most // (ANSWER_BYTES + 1500)
    for _ in range(accepted):
        store.alone(lambda t: t.accept(question(work=work), 2.0))
    with pytest.raises(OverloadedError, match="fills"):
        store.alone(lambda t: t.accept(question(work=work), 2.0))
    # A place for each answer was kept, so that all of them can end.
    for _ in range(accepted):
        begun = store.alone(lambda t: taken(t, 3.0))
        assert store.alone(lambda t, begun=begun: t.end(begun, "completed", "z" * 60_000, 4.0))
    with pytest.raises(ResponseNotFoundError):
        store.get(ended[0], "")
    store.close()


def test_a_refusal_deletes_nothing(tmp_path: Path) -> None:
    most = 1024 * 1024
    store = table(tmp_path / "store.db", most=most)
    ended = store.alone(lambda t: t.keep(question(), "completed", "x", 1.0)).id
    with pytest.raises(OverloadedError):
        store.alone(lambda t: t.accept(question(work="y" * most), 2.0))
    assert store.get(ended, "").outcome == "x"
    monstrous = question(work="y" * (bounds.TEXT_BYTES + 1))
    with pytest.raises(UsageError, match="bytes"):
        store.alone(lambda t: t.accept(monstrous, 2.0))
    store.close()


def test_a_sweep_takes_the_old_and_leaves_what_waits(store: Table) -> None:
    waits = store.accept(question(), 0.0)
    old = store.keep(question(), "completed", "x", 1.0)
    young = store.keep(question(), "completed", "x", KEEP)
    assert store.tidy(KEEP + 500.0)
    assert not store.tidy(KEEP + 500.0)
    assert {kept.id for kept in store.listed("", 10, "")} == {waits.id, young.id}
    with pytest.raises(ResponseNotFoundError):
        store.get(old.id, "")


def test_a_file_shrinks_again(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    store = table(file)
    for _ in range(100):
        store.alone(lambda t: t.keep(question(), "completed", "x" * 100_000, 1.0))
    full = store.used
    while store.tidy(KEEP + 2.0):
        pass
    store.close()
    assert full > 10_000_000
    assert file.stat().st_size < 2_000_000


# -- lives -------------------------------------------------------------------------------


def test_what_was_under_way_waits_in_the_next_life(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    one = table(file)
    new = one.alone(lambda t: t.accept(question(), 1.0))
    begun = one.alone(taken)
    two = table(file, now=9.0)  # as if the first had been killed, and were not quite dead
    assert two.put_back_at_start == 1  # type: ignore[attr-defined]
    again = two.alone(lambda t: taken(t, 9.0))
    assert (again.id, again.attempts, again.crashes) == (new.id, 2, 1)
    assert not one.alone(lambda t: t.end(begun, "completed", "of a former life", 10.0))
    assert two.alone(lambda t: t.end(again, "completed", "right", 11.0))
    assert one.get(new.id, "").outcome == "right"
    one.close()
    two.close()


def test_who_is_under_suspicion_goes_alone(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    store = table(file)
    first = store.accept(question(), 1.0)
    for _ in range(SUSPECT):
        taken(store)
        store.close()
        store = table(file, now=1.0)
    second = store.accept(question(), 1.0)
    assert taken(store).id == first.id
    assert store.claim(1.0).taken is None  # nobody beside it
    store.put_back(store.get(first.id, ""), 5.0, fault=False)
    assert taken(store).id == second.id
    assert store.claim(5.0).taken is None  # nor does it come beside others
    store.end(store.get(second.id, ""), "completed", "", 5.0)
    assert taken(store, 5.0).id == first.id
    store.close()


def test_one_failure_of_several_writes_undoes_itself_alone(store: Table) -> None:
    good, bad = question(), question()

    def broken(where: Table) -> None:
        where.accept(bad, 1.0)
        raise ConflictError("no")

    results = store.together([lambda t: t.accept(good, 1.0), broken, lambda t: t.get(good.id, "")])
    assert [type(error) for _, error in results] == [type(None), ConflictError, type(None)]
    assert [kept.id for kept in store.listed("", 10, "")] == [good.id]


def test_a_full_disk_undoes_all_of_a_write(tmp_path: Path) -> None:
    store = table(tmp_path / "store.db")
    kept = store.alone(lambda t: t.accept(question(), 1.0))
    store._sql.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.alone(lambda t: t.accept(question(work="x" * 100_000), 1.0))
    assert [each.id for each in store.listed("", 10, "")] == [kept.id]
    store.close()
