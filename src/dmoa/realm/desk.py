"""The founder's desk: gives certificates to who is invited, and anew to who is a member.

It stands beside the network, for who wants to join has no certificate to speak there with. TLS
shows the founder's certificate, and takes a member's; a stranger's line is read no further than
16 kB and for no longer than 10 s.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, assert_never

import msgspec

from dmoa.config import is_loopback
from dmoa.config.realms import Membership
from dmoa.config.values import ENDPOINT
from dmoa.errors import DmoaError, RealmError
from dmoa.realm import certificates
from dmoa.realm.addresses import bracketed, places_of
from dmoa.realm.authority import Authority
from dmoa.realm.forms import ASK_BYTES, Answer, Ask, Granted, Join, Look, Refused, Renew, Shown

PATIENCE = 10.0
"""Seconds for one visitor, from the first byte to the last."""
VISITORS = 16
"""At once; further ones are turned away."""
OF_ONE = 4
"""Visitors at once from one address, so that one alone does not keep out the others."""
FAILURES = 10
"""Tries within a minute that fail, from one address; then it is told to wait, and after as many
again it is not even heard."""
ADDRESSES = 1024
"""Whose failures are remembered."""

_MINUTE = 60.0
_log = logging.getLogger(__name__)


class Desk:
    """A realm's desk while it is open: `async with Desk(membership, host): ...`.

    It is at `host`, an address of this machine, and at `port`, the realm's desk port unless
    another is named. RealmError where this machine did not found the realm, or the port is taken.
    """

    def __init__(
        self,
        membership: Membership,
        host: str,
        port: int | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare a desk; `clock` tells Unix seconds."""
        self._its = membership
        self._host = host
        self.port = membership.desk if port is None else port
        self._authority = Authority(membership, clock=clock)
        self._alone = asyncio.Lock()
        self._visits: dict[asyncio.Task[None], str] = {}
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(
                self._attend, self._host, self.port, limit=ASK_BYTES
            )
        except OSError as error:
            raise RealmError(
                f"port {self.port} of {self._host} cannot be used: {error.strerror or error}; "
                f"realm {self._its.name} gives out its certificates there",
                hint="end what runs there",
            ) from None
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None, "it was opened"
        self._server.close()
        for each in self._visits:
            each.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)
        await self._server.wait_closed()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear one visitor, and answer; before TLS even begins there is a limit."""
        address = str((writer.get_extra_info("peername") or ("?",))[0])
        there = list(self._visits.values())
        full = len(there) >= VISITORS or there.count(address) >= OF_ONE
        if full or self._failed(address) >= 2 * FAILURES:
            writer.transport.abort()
            return
        visit = asyncio.current_task()
        assert visit is not None, "streams give each visitor a task"
        self._visits[visit] = address
        heard = False
        try:
            async with asyncio.timeout(PATIENCE):
                await writer.start_tls(self._tls())
                line, heard = await reader.readline(), True
                answer = await self._answer(line, writer, address)
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, ValueError, RealmError) as error:  # TLS, time, and too long a line
            if not heard:
                self._count(address)
            _log.debug("a visitor from %s left without an answer: %s", address, error)
        finally:
            del self._visits[visit]
            writer.transport.abort()

    def _tls(self) -> ssl.SSLContext:
        """Make the context of one visit: the certificate may have been renewed since the last."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self._its.certificate_file, self._its.key_file)
        context.load_verify_locations(self._its.authority_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0
        return context

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter, address: str) -> Answer:
        try:
            self._refuse_flood(address)
            ask = msgspec.json.decode(line, type=Ask)
            return await self._done(ask, writer, address)
        except ValueError:  # msgspec's errors are ValueErrors
            self._count(address)
            return Refused(RealmError.code, "that is nothing one can ask here")
        except DmoaError as error:
            self._count(address)
            # It is signed and no secret, and who was revoked hears of it nowhere else.
            return Refused(error.code, error.message, error.hint, self._authority.notice())

    async def _done(self, ask: Ask, writer: asyncio.StreamWriter, address: str) -> Answer:
        match ask:
            case Look():
                return Shown(certificates.pem(self._authority.certificate))
            case Join(token=token, request=request, port=port):
                node, _ = certificates.asked(request)
                place = _place(address, port)
                async with self._alone:
                    issued = await asyncio.to_thread(self._authority.admit, token, request, place)
            case Renew(request=request, port=port):
                node = self._visitor(writer)
                place = _place(address, port)
                async with self._alone:
                    issued = await asyncio.to_thread(self._authority.renew, node, request, place)
            case _:
                assert_never(ask)
        near = is_loopback(f"tls/{bracketed(address)}:1")
        return Granted(
            certificate=certificates.pem(issued),
            multicast=self._its.multicast,
            port=self._its.port,
            places=places_of(self._its.hosts, self.port),
            seeds=self._authority.seeds(node, near=near),
            notice=self._authority.notice(),
        )

    def _visitor(self, writer: asyncio.StreamWriter) -> str:
        """Read who it is from the certificate that TLS has checked; RealmError without one."""
        shown = writer.get_extra_info("ssl_object")
        content: bytes | None = shown.getpeercert(binary_form=True)
        if content is None:
            raise RealmError("a certificate is renewed for who shows the present one alone")
        found = certificates.from_der(content)
        return certificates.certified(self._authority.certificate, found).node

    # Who fails too often.

    def _refuse_flood(self, address: str) -> None:
        if self._failed(address) >= FAILURES:
            raise RealmError("too much was tried from there", hint="come back in a minute")

    def _failed(self, address: str) -> int:
        """Count what failed from an address within the last minute."""
        ago = asyncio.get_running_loop().time() - _MINUTE
        return sum(each > ago for each in self._failures.get(address, ()))

    def _count(self, address: str) -> None:
        times = self._failures.setdefault(address, deque(maxlen=2 * FAILURES))
        self._failures.move_to_end(address)
        times.append(asyncio.get_running_loop().time())
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)


def _place(address: str, port: int) -> str:
    """Write where a visitor's node will listen; empty where that is nowhere or unclear."""
    place = f"tls/{bracketed(address)}:{port}"
    with suppress(ValueError):
        return place if port and ENDPOINT.fullmatch(place) else ""
    return ""
