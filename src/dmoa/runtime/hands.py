"""The hands of a node: carry out what its agent wants, on the network and the model."""

from __future__ import annotations

from typing import assert_never

from dmoa.core.digest import Digest
from dmoa.core.effects import (
    Announce,
    Cancel,
    Deliver,
    Effect,
    Fail,
    Read,
    Report,
    Rest,
    Send,
    Serve,
)
from dmoa.core.limits import Timing
from dmoa.core.messages import (
    Decline,
    Failure,
    Farewell,
    Gossip,
    Message,
    Piece,
    Preview,
    Probe,
    Proposal,
    Propose,
    Withdraw,
)
from dmoa.core.names import NodeId
from dmoa.errors import LocalProtocolError
from dmoa.runtime.calls import Calls
from dmoa.runtime.faults import error_of
from dmoa.runtime.ports import Network
from dmoa.runtime.reading import Readings
from dmoa.runtime.slots import Slots
from dmoa.runtime.streams import Followers, Guests, Token


class Hands:
    """Does, effect by effect, what the agent of one node wants."""

    def __init__(  # noqa: PLR0913, PLR0917  (what they work with)
        self,
        network: Network,
        slots: Slots,
        calls: Calls,
        followers: Followers,
        guests: Guests,
        readings: Readings,
        timing: Timing,
    ) -> None:
        self._network = network
        self._slots = slots
        self._calls = calls
        self._followers = followers
        self._guests = guests
        self._readings = readings
        self._timing = timing

    def do(self, effect: Effect) -> Digest | None:
        """Carry out one effect; returns the digest that a peer asked for, where it is that."""
        match effect:
            case Send():
                return self._send(effect.to, effect.message)
            case Announce():
                self._network.announce(effect.digest)
            case Serve():
                self._serve(effect)
            case Cancel():
                self._slots.stop(effect.job)
            case Read():
                self._readings.read(effect)
            case Rest():
                self._readings.rest(effect.job)
            case Report():
                self._readings.saw(effect.visit)
                self._followers.show(effect.query, effect.visit)
            case Deliver():
                self._followers.show(effect.query, effect.answer)
            case Fail():
                self._followers.show(effect.query, error_of(effect.refusal))
            case _:
                assert_never(effect)
        return None

    def _send(self, to: NodeId, message: Message) -> Digest | None:
        """Say something to a peer: open, end or answer a call."""
        match message:
            case Propose() | Preview():
                self._calls.propose(to, message)
            case Withdraw():
                self._calls.withdraw(message.job)
            case Proposal() | Decline() | Failure():
                self._guests.write(message)
            case Probe():
                self._calls.probe(to, self._timing.probe)
            case Gossip():
                return message.digest
            case Farewell():
                raise LocalProtocolError(f"{message.kind} is not sent to one peer")
            case _:
                assert_never(message)
        return None

    def _serve(self, wish: Serve) -> None:
        """Put a job on the backend; its text goes to whoever follows it."""
        job = wish.job

        def piece(text: str) -> None:
            if job.home != self._network.node:
                self._guests.write(Piece(job.id, text))
            elif job.role == "aggregator":
                self._followers.show(job.query, Token(text))
            elif job.role == "proposer":
                self._readings.draft(job, text)

        self._slots.start(wish, piece)
