"""A store lived through at random, beside a dict that knows what it should hold."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from store_room import KEEP, MOST, question

from dmoa.errors import ConflictError, ResponseNotFoundError
from dmoa.store.file import open_memory
from dmoa.store.kept import New
from dmoa.store.table import Table

OVER = ("completed", "incomplete", "failed", "cancelled")
OWNERS = st.sampled_from(["", "me", "they"])
NAMES = st.sampled_from(["", "a", "b"])
SEEDS = st.sampled_from(["one", "two"])


@dataclass
class Known:
    """What must be so of one response."""

    new: New
    status: str
    outcome: str = ""
    attempts: int = 0
    crashes: int = 0
    ended: float | None = None
    due: float = 0.0


class Lives(RuleBasedStateMachine):
    """Lives of one store, in which whoever had a question under way may come late."""

    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.connection = open_memory()
        self.now = 1.0
        self.known: dict[str, Known] = {}
        self.store = self.born()

    def born(self) -> Table:
        store = Table(self.connection, most=MOST, keep=KEEP)
        store.begin_life(self.now)
        return store

    def teardown(self) -> None:
        self.connection.close()

    def named(self, new: New) -> Known | None:
        same = (each for each in self.known.values() if each.new.owner == new.owner)
        return next((each for each in same if each.new.idempotency == new.idempotency), None)

    @rule(owner=OWNERS, name=NAMES, seed=SEEDS, background=st.booleans())
    def ask(self, owner: str, name: str, seed: str, *, background: bool) -> None:
        new = question(owner=owner, idempotency=name, fingerprint=seed, background=background)

        def do() -> str:
            if background:
                return self.store.accept(new, self.now).id
            return self.store.keep(new, "completed", seed, self.now).id

        same = self.named(new) if name else None
        if same is not None and same.new.fingerprint != seed:
            with pytest.raises(ConflictError):
                do()
        elif same is not None:
            assert do() == same.new.id
        else:
            assert do() == new.id
            over = None if background else self.now
            status, outcome = ("queued", "") if background else ("completed", seed)
            self.known[new.id] = Known(new, status, outcome, ended=over, due=self.now)

    @rule(target=handles)
    def claim(self) -> object:
        waiting = [each for each in self.known.values() if each.status == "queued"]
        due = [each for each in waiting if each.due <= self.now]
        claim = self.store.claim(self.now)
        if claim.taken is None:
            crowded = any(each.status == "in_progress" for each in self.known.values())
            assert not due or crowded, "one that is due waits for another at most"
            return None
        known = self.known[claim.taken.id]
        assert known is due[0], "the oldest goes first"
        known.status, known.attempts = "in_progress", known.attempts + 1
        assert (claim.taken.attempts, claim.taken.crashes) == (known.attempts, known.crashes)
        return self.store, claim.taken

    def holds(self, handle: tuple[Table, object]) -> Known | None:
        """The response that a handle still has under way, if any."""
        store, kept = handle
        known = self.known.get(kept.id)
        fits = known and known.status == "in_progress" and known.attempts == kept.attempts
        return known if fits and store is self.store else None

    @rule(handle=handles, status=st.sampled_from(OVER), outcome=st.uuids().map(str))
    def end(self, handle: tuple[Table, object] | None, status: str, outcome: str) -> None:
        if handle is not None:
            known = self.holds(handle)
            done = handle[0].end(handle[1], status, outcome, self.now)
            assert done == (known is not None)
            if known is not None:
                known.status, known.outcome, known.ended = status, outcome, self.now

    @rule(handle=consumes(handles), wait=st.floats(0, 10))
    def put_back(self, handle: tuple[Table, object] | None, wait: float) -> None:
        if handle is not None:
            known = self.holds(handle)
            done = handle[0].put_back(handle[1], self.now + wait, fault=True)
            assert done == (known is not None)
            if known is not None:
                known.status, known.due = "queued", self.now + wait

    @rule(data=st.data(), owner=OWNERS, deletes=st.booleans())
    def withdraw(self, data: st.DataObject, owner: str, *, deletes: bool) -> None:
        made_up = f"resp_{secrets.token_hex(16)}"
        identity = data.draw(st.sampled_from([*self.known, made_up]))
        known = self.known.get(identity)
        if known is None or known.new.owner != owner:
            with pytest.raises(ResponseNotFoundError):
                self.store.delete(identity, owner)
        elif deletes:
            self.store.delete(identity, owner)
            del self.known[identity]
        elif known.new.background:
            self.store.cancel(identity, owner, "gone", self.now)
            if known.ended is None:
                known.status, known.outcome, known.ended = "cancelled", "gone", self.now

    @rule(seconds=st.floats(0, KEEP / 4))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def crash(self) -> None:
        self.store = self.born()
        for known in self.known.values():
            if known.status == "in_progress":
                known.status, known.due, known.crashes = "queued", self.now, known.crashes + 1

    @rule()
    def sweep(self) -> None:
        while self.store.tidy(self.now):
            pass
        for identity, known in list(self.known.items()):
            if known.ended is not None and known.ended < self.now - KEEP:
                del self.known[identity]

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        for owner in ("", "me", "they"):
            kept = {each.id: each for each in self.store.listed(owner, 10_000, "")}
            known = {name: each for name, each in self.known.items() if each.new.owner == owner}
            assert kept.keys() == known.keys()
            for name, each in known.items():
                found = kept[name]
                assert (found.status, found.outcome) == (each.status, each.outcome)
                assert (found.attempts, found.crashes) == (each.attempts, each.crashes)
                assert found.ended == each.ended


Lives.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLives = Lives.TestCase
