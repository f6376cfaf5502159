"""Errands to the desk of a realm: to join it, to renew a certificate, to see whether it answers."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace as changed
from hashlib import sha256

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dmoa.config import realms
from dmoa.config.files import replace
from dmoa.config.realms import PLACES, PORT, SEEDS, Membership
from dmoa.errors import (
    ConflictError,
    DmoaError,
    ForgedError,
    InviteError,
    RealmError,
    UnreachableError,
)
from dmoa.realm import certificates, notice
from dmoa.realm.authority import Authority
from dmoa.realm.certificates import CLOCK_SKEW
from dmoa.realm.forms import ANSWER_BYTES, Answer, Ask, Granted, Join, Look, Refused, Renew, Shown
from dmoa.realm.founding import making, put_papers
from dmoa.realm.identity import RealmIdentity
from dmoa.realm.invitation import Invitation

PATIENCE = 10.0
"""Seconds for one errand to one address."""
TRIES = 3
"""For an answer that may have been lost; the desk gives the same key the same again."""

_ERRORS: dict[str, type[DmoaError]] = {
    each.code: each for each in (InviteError, ConflictError, RealmError)
}
_log = logging.getLogger(__name__)


class _RefusedError(Exception):
    """The desk says no: in which words, and with the newest list of revocations."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.said = _ERRORS.get(refused.code, RealmError)(refused.message, hint=refused.hint)
        self.notice = refused.notice


async def join(  # noqa: PLR0913 - the settings of a membership
    invitation: Invitation,
    node: str,
    *,
    port: int = PORT,
    hosts: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    now: float | None = None,
) -> Membership:
    """Join a realm as `node`: everything is there at the end, or nothing.

    The desk is believed by the authority that the invitation names, before it hears the token.
    InviteError where the invitation is not good, or the desk is another's; ConflictError where
    the name is taken, or the realm is here already; UnreachableError where no desk answers.
    """
    now = time.time() if now is None else now
    if now > invitation.expires + CLOCK_SKEW:
        raise InviteError("the invitation expired", hint="ask for another: `dmoa realm invite`")
    # The folder comes first: an invitation is not to be used up where nothing can be kept.
    with making(invitation.realm, environ) as folder:
        key = certificates.new_key()
        place, authority = await _found(invitation)
        ask = Join(invitation.token, certificates.ask(key, node), port)
        try:
            granted = await _granted(place, _believing(authority), invitation.founder, ask)
        except _RefusedError as error:
            raise error.said from None
        certificate = _checked(granted, authority, node, key)
        its = Membership(
            folder=folder,
            name=invitation.realm,
            node=node,
            founder=invitation.founder,
            port=port,
            multicast=granted.multicast,
            hosts=hosts,
            seeds=_seeds(granted, place),
            authority=_places(granted, place),
        )
        put_papers(its, authority, certificate, key)
        if granted.notice:
            replace(its.notice_file, granted.notice, mode=0o600)
    return changed(its, folder=realms.realms_folder(environ) / invitation.realm)


async def renew(identity: RealmIdentity) -> None:
    """Get the next certificate, and put it into its file; `RealmIdentity.refresh` takes it.

    UnreachableError where no desk answers; RealmError where it refuses, as it does who was
    revoked, or where the present certificate expired.
    """
    its = identity.membership
    key = certificates.read_key(its.key_file)
    authority = certificates.read_certificate(its.authority_file)
    request = certificates.ask(key, its.node)
    if its.founds:
        issued = Authority(its).renew(its.node, request)
        replace(its.certificate_file, certificates.pem(issued).encode(), mode=0o600)
        return
    context = _believing(authority)
    context.load_cert_chain(its.certificate_file, its.key_file)
    trouble: DmoaError = UnreachableError(f"no desk of realm {its.name} is known")
    for place in its.authority:
        try:
            granted = await _granted(place, context, its.founder, Renew(request, its.port))
            certificate = _checked(granted, authority, its.node, key)
        except UnreachableError as error:
            trouble = error
            continue
        except _RefusedError as error:
            identity.adopt(error.notice)
            raise error.said from None
        replace(its.certificate_file, certificates.pem(certificate).encode(), mode=0o600)
        identity.adopt(granted.notice)
        _remember(its, seeds=_seeds(granted, place), authority=_places(granted, place))
        return
    raise trouble


async def answers(membership: Membership, place: str, *, patience: float = PATIENCE) -> bool:
    """Tell whether the desk of the realm answers at HOST:PORT, within so many seconds."""
    authority = certificates.read_certificate(membership.authority_file)
    try:
        async with asyncio.timeout(patience):
            said = await _said(place, _believing(authority), membership.founder, Look())
    except (DmoaError, TimeoutError):
        return False
    return isinstance(said, Shown)


# -- at the desk --------------------------------------------------------------------------


async def _found(invitation: Invitation) -> tuple[str, x509.Certificate]:
    """Find the desk: where it is, and its authority, which is the one that the invitation names."""
    trouble: DmoaError | None = None
    for place in invitation.places:
        try:
            said = await _said(place, _seeing(), invitation.founder, Look())
            if isinstance(said, Shown):
                content = ssl.PEM_cert_to_DER_cert(said.authority)
                if sha256(content).digest() == invitation.authority:
                    return place, certificates.from_der(content)
        except UnreachableError as error:
            trouble = trouble or error
            continue
        except ValueError:  # not even a certificate
            pass
        trouble = InviteError(
            f"at {place} is not the authority that the invitation names",
            hint="somebody may be in between, or the realm was founded anew: ask for another",
        )
    assert trouble is not None, "an invitation names places"
    raise trouble


async def _granted(place: str, context: ssl.SSLContext, founder: str, ask: Ask) -> Granted:
    """Ask for a certificate, again where the answer was lost; _RefusedError where it says no."""
    for left in reversed(range(TRIES)):
        try:
            said = await _said(place, context, founder, ask)
        except UnreachableError:
            if left:
                continue
            raise
        if isinstance(said, Refused):
            raise _RefusedError(said)
        if isinstance(said, Granted):
            return said
        break
    raise RealmError(f"the desk at {place} answers what was not asked")


async def _said(place: str, context: ssl.SSLContext, founder: str, ask: Ask) -> Answer:
    """Say one line at the desk, and read its answer; UnreachableError where there is none."""
    host, _, port = place.rpartition(":")
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(
                host.strip("[]"),
                int(port),
                ssl=context,
                server_hostname=founder,
                limit=ANSWER_BYTES,
            )
            writer.write(msgspec.json.encode(ask) + b"\n")
            await writer.drain()
            return msgspec.json.decode(await reader.readline(), type=Answer)
    except ssl.SSLCertVerificationError as error:
        raise RealmError(
            f"at {place} is no desk of this realm: {error.verify_message}",
            hint="somebody may be in between, or a clock is wrong",
        ) from None
    except (OSError, ValueError) as error:
        # An answer that ends too soon is no JSON, and no answer.
        why = error.strerror if isinstance(error, OSError) else "it hung up"
        raise UnreachableError(
            f"no desk answers at {place}: {why or 'it took too long'}",
            hint=f"keep `dmoa up` running where {founder} is, and let its port through",
        ) from None
    finally:
        if writer is not None:
            writer.transport.abort()


def _seeing() -> ssl.SSLContext:
    """Make a context that believes nobody, and says nothing secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _believing(authority: x509.Certificate) -> ssl.SSLContext:
    """Make a context that believes this authority alone, and the founder's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=certificates.pem(authority))
    return context


# -- what it gave -------------------------------------------------------------------------


def _checked(
    granted: Granted, authority: x509.Certificate, node: str, key: Ed25519PrivateKey
) -> x509.Certificate:
    """Read what was granted; RealmError where it is not what was asked for."""
    try:
        certificate = certificates.from_pem(granted.certificate)
        found = certificates.certified(authority, certificate)
        if granted.notice:
            notice.read(granted.notice, _realm(authority), certificates.authority_key(authority))
    except ForgedError as error:
        raise RealmError(f"the desk gave {error.message}") from None
    if found.node != node or certificates.key_print(found.key) != certificates.key_print(
        key.public_key()
    ):
        raise RealmError(f"the desk gave a certificate for {found.node}, not for {node}")
    return certificate


def _realm(authority: x509.Certificate) -> str:
    return certificates.subject(authority)


def _seeds(granted: Granted, place: str) -> tuple[str, ...]:
    """Name whom to begin with: the founder, as it was reached, and others."""
    host = place.rpartition(":")[0]
    return tuple(dict.fromkeys((f"tls/{host}:{granted.port}", *granted.seeds)))[:SEEDS]


def _places(granted: Granted, place: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((place, *granted.places)))[:PLACES]


def _remember(its: Membership, **news: tuple[str, ...]) -> None:
    """Write down where others are now; without it the old places must do."""
    now = changed(its, **news)  # type: ignore[arg-type]
    if now == its:
        return
    try:
        realms.write(now)
    except OSError as error:
        _log.warning("%s: cannot be written: %s", its.file, error)
