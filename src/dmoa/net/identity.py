"""Who speaks: what a network needs of a realm to prove its own name and check those of others.

Every message between nodes of a realm travels sealed: signed with the key of its speaker's
certificate, for one purpose and one listener. Links are mutual TLS as well, which keeps
strangers out; a seal says which member it is, also where another one passed the message on.
"""

from __future__ import annotations

from typing import Protocol

from dmoa.core.names import NodeId
from dmoa.runtime.ports import Papers


class Identity(Protocol):
    """The own name in a realm, and a judge of others' names.

    A seal binds the bytes to `purpose` (a few words, such as `job` or `digest`), to the
    listener `to` (a node's name; empty where all are meant), to the speaker and to a moment.
    """

    @property
    def node(self) -> NodeId:
        """The name in the own certificate."""
        ...

    @property
    def papers(self) -> Papers:
        """The files of the links."""
        ...

    @property
    def revoked(self) -> frozenset[str]:
        """Names of members whose certificates are no longer good, by the newest list known."""
        ...

    @property
    def notice(self) -> bytes:
        """The newest list of revocations, signed by the authority; empty where none was made."""
        ...

    def adopt(self, notice: bytes) -> bool:
        """Take a list of revocations from anybody; True where it is genuine and newer."""
        ...

    def seal(self, purpose: str, to: str, data: bytes) -> bytes:
        """Sign `data`: returns it with certificate, moment and signature before it."""
        ...

    def open(self, purpose: str, to: str, speaker: str, sealed: bytes) -> bytes:
        """Check a seal and return the data.

        ForgedError where it was not sealed by `speaker`, for this purpose and listener, with
        a certificate of this realm that is valid now and not revoked, or where its moment is
        too far from now.
        """
        ...
