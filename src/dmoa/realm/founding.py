"""A realm begins on this machine: founded here, or joined; its folder is made whole or not."""

from __future__ import annotations

import shutil
import tempfile
import time
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace as changed
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dmoa.config import realms
from dmoa.config.files import replace
from dmoa.config.realms import PORT, Membership
from dmoa.errors import ConflictError, RealmError
from dmoa.realm import certificates, ledger
from dmoa.realm.ledger import Ledger, Member

MULTICAST_PORTS = range(17447, 19447)
"""Each realm has one of these, so that strangers do not even connect."""

_MAKING = ".making-"
_FORGOTTEN = 3600.0
"""Seconds after which an unfinished folder is one that somebody died over."""


def found(  # noqa: PLR0913 - the settings of a realm
    name: str,
    node: str,
    *,
    port: int = PORT,
    hosts: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    now: float | None = None,
) -> Membership:
    """Found a realm here, with `node` as its first member; `now` in Unix seconds.

    ConflictError where there is a realm of that name, RealmError where its folder can't be made.
    """
    now = time.time() if now is None else now
    authority_key, key = certificates.new_key(), certificates.new_key()
    authority = certificates.make_authority(name, authority_key, now)
    certificate = certificates.issue(authority, authority_key, node, key.public_key(), now)
    with making(name, environ) as folder:
        its = Membership(
            folder=folder,
            name=name,
            node=node,
            founder=node,
            port=port,
            multicast=multicast_port(authority),
            hosts=hosts,
        )
        holder = certificates.key_print(key.public_key())
        ends = certificate.not_valid_after_utc.timestamp()
        _put(its.authority_key_file, certificates.key_pem(authority_key))
        ledger.write(its.ledger_file, Ledger(members=(Member(node, holder, now, ends),)))
        put_papers(its, authority, certificate, key)
    return changed(its, folder=realms.realms_folder(environ) / name)


def put_papers(
    membership: Membership,
    authority: x509.Certificate,
    certificate: x509.Certificate,
    key: Ed25519PrivateKey,
) -> None:
    """Write what every member has into its folder; OSError where that fails."""
    _put(membership.key_file, certificates.key_pem(key))
    _put(membership.authority_file, certificates.pem(authority).encode())
    _put(membership.certificate_file, certificates.pem(certificate).encode())
    realms.write(membership)


@contextmanager
def making(name: str, environ: Mapping[str, str] | None = None) -> Generator[Path]:
    """Make the folder of a realm: what is put into the one given is there at the end, or nothing.

    ConflictError where this machine belongs to a realm of that name, RealmError where there can
    be no folder.
    """
    root = realms.realms_folder(environ)
    target = root / name
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(root)
        _refuse_twice(target)
        folder = Path(tempfile.mkdtemp(prefix=_MAKING, dir=root))
    except OSError as error:
        raise _unwritable(root, error) from None
    try:
        yield folder
        _refuse_twice(target)
        folder.rename(target)
    except OSError as error:
        raise _unwritable(root, error) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def leave(membership: Membership) -> None:
    """Forget a realm: its folder goes, with the key; RealmError where it cannot."""
    grave = membership.folder.with_name(f"{_MAKING}{membership.name}-left")
    try:
        shutil.rmtree(grave, ignore_errors=True)
        membership.folder.rename(grave)  # at once, where the rest takes many steps
        shutil.rmtree(grave)
    except OSError as error:
        raise _unwritable(membership.folder, error) from None


def multicast_port(authority: x509.Certificate) -> int:
    """Choose the UDP port of a realm by its authority: two of one name differ as well."""
    return MULTICAST_PORTS[zlib.crc32(certificates.der(authority)) % len(MULTICAST_PORTS)]


def _put(file: Path, content: bytes) -> None:
    replace(file, content, mode=0o600)


def _refuse_twice(target: Path) -> None:
    if target.exists():
        raise ConflictError(
            f"this machine belongs to a realm {target.name} already",
            hint=f"choose another name, or end that membership: dmoa realm leave {target.name}",
        )


def _unwritable(where: Path, error: OSError) -> RealmError:
    return RealmError(
        f"{where}: cannot be written: {error.strerror or error}",
        hint=f"name another folder with {realms.VARIABLE}",
    )


def _sweep(root: Path) -> None:
    """Remove what was left unfinished by those who died over it."""
    for each in root.glob(f"{_MAKING}*"):
        try:
            old = time.time() - each.stat().st_mtime > _FORGOTTEN
        except OSError:
            continue
        if old:
            shutil.rmtree(each, ignore_errors=True)
