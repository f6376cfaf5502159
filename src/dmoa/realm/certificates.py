"""Certificates of a realm: made and issued by its authority, and checked. Ed25519 throughout.

A certificate says one thing: the holder of this key is the node of this name, in this realm,
until then. It is good for both ends of a link, for every node is both (RFC 5280, section 4.2).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dmoa.core.names import is_node_name
from dmoa.errors import ForgedError, RealmError

LIFE = 30 * 86_400.0
"""Seconds for which a node's certificate is good; it is renewed when a third of it is left."""
AUTHORITY_LIFE = 3650 * 86_400.0
"""Seconds for which an authority is good: ten years, for a new one means a new realm."""
CLOCK_SKEW = 300.0
"""Seconds by which the clocks of two members may differ."""
CERTIFICATE_BYTES = 1024
"""Of one certificate, DER; ours have some 400."""

_USAGES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
_END = bytes.fromhex("300506032b6570034100")
"""Of a certificate, before its signature of 64 bytes: Ed25519, and a string of bits."""
_SHORTEST = 256
"""Bytes; from there on a frame has the one form that is looked for."""
_PRINTED = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]{1,4096}-----END CERTIFICATE-----\s*")


@dataclass(frozen=True, slots=True)
class Certified:
    """What a certificate of the realm says: whose key it is, and from when until when."""

    node: str
    key: Ed25519PublicKey
    begins: float
    """Unix seconds."""
    ends: float
    """Unix seconds."""
    serial: int

    def check(self, now: float) -> None:
        """ForgedError where it is not good now, in Unix seconds."""
        if now >= self.ends:
            raise ForgedError(f"the certificate of {self.node} expired")
        if now < self.begins:
            raise ForgedError(f"the certificate of {self.node} is not good yet")


def new_key() -> Ed25519PrivateKey:
    """Make a private key, of 256 bits of chance."""
    return Ed25519PrivateKey.generate()


def key_print(key: Ed25519PublicKey) -> str:
    """Name a public key: its SHA-256, in hexadecimal digits."""
    return sha256(key.public_bytes_raw()).hexdigest()


def authority_print(authority: x509.Certificate) -> bytes:
    """Name an authority: the SHA-256 of its certificate, 32 bytes."""
    return sha256(der(authority)).digest()


def authority_key(authority: x509.Certificate) -> Ed25519PublicKey:
    """Read the public key of an authority; RealmError where it is of another kind."""
    key = authority.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise RealmError("the realm's authority has a key of another kind than Ed25519")
    return key


def subject(certificate: x509.Certificate) -> str:
    """Read the one name that a certificate is about; ForgedError where it is not one."""
    try:
        return _common_name(certificate.subject)
    except ValueError:
        raise ForgedError("a certificate that names nobody, or several") from None


def make_authority(realm: str, key: Ed25519PrivateKey, now: float) -> x509.Certificate:
    """Make the certificate of a realm's authority, signed by itself; `now` in Unix seconds."""
    name = _name(realm)
    usage = _key_usage(signs_certificates=True)
    return (
        _begun(name, name, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, None)
    )


def issue(
    authority: x509.Certificate,
    key: Ed25519PrivateKey,
    node: str,
    holder: Ed25519PublicKey,
    now: float,
) -> x509.Certificate:
    """Certify that the holder of a key is the node of that name, from now on for `LIFE`.

    `key` is the authority's. It begins a little before now, so that a member whose clock is
    behind takes it at once.
    """
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return (
        _begun(_name(node), authority.subject, holder, now, LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(node)]), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(key, None)
    )


def ask(key: Ed25519PrivateKey, node: str) -> str:
    """Write the request for a certificate (PEM), which proves that the key is held."""
    subject = x509.CertificateSigningRequestBuilder().subject_name(_name(node))
    return subject.sign(key, None).public_bytes(serialization.Encoding.PEM).decode()


def asked(pem: str) -> tuple[str, Ed25519PublicKey]:
    """Read a request: the name that is wanted, and for which key; RealmError for rubbish."""
    try:
        found = x509.load_pem_x509_csr(pem.encode())
        key, node = found.public_key(), _common_name(found.subject)
        if isinstance(key, Ed25519PublicKey) and is_node_name(node) and found.is_signature_valid:
            return node, key
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    raise RealmError("that is no request for a certificate of a node")


def certified(authority: x509.Certificate, certificate: x509.Certificate) -> Certified:
    """Read a node's certificate; ForgedError where this authority did not issue it for a node.

    Whether it is good now is another question: `Certified.check`.
    """
    try:
        certificate.verify_directly_issued_by(authority)
        extensions = certificate.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        node, key = _common_name(certificate.subject), certificate.public_key()
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        raise ForgedError("a certificate that the realm's authority did not issue") from None
    except x509.DuplicateExtension:
        raise ForgedError("a certificate that says one thing twice") from None
    good = not basic.ca and all(each in usages for each in _USAGES) and is_node_name(node)
    if not good or not isinstance(key, Ed25519PublicKey) or list(names) != [x509.DNSName(node)]:
        raise ForgedError("a certificate that is not of a node")
    begins = certificate.not_valid_before_utc.timestamp()
    ends = certificate.not_valid_after_utc.timestamp()
    return Certified(node, key, begins, ends, certificate.serial_number)


# -- bytes and files ----------------------------------------------------------------------


def der(certificate: x509.Certificate) -> bytes:
    """Write a certificate as it is signed and hashed."""
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(certificate: x509.Certificate) -> str:
    """Write a certificate as it stands in files."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def is_signed(content: bytes, authority: Ed25519PublicKey) -> bool:
    """Tell whether an authority signed these bytes as a certificate, without parsing them.

    So that a stranger's bytes get no further. With Ed25519 the end of a certificate has one
    form alone (RFC 8410), and all before it, within the outermost frame, is what was signed.
    """
    if not _SHORTEST <= len(content) <= CERTIFICATE_BYTES:
        return False
    frame, signed, end = content[:4], content[4 : -len(_END) - 64], content[-len(_END) - 64 : -64]
    if frame != b"\x30\x82" + (len(content) - 4).to_bytes(4)[2:] or end != _END:
        return False
    try:
        authority.verify(content[-64:], signed)
    except InvalidSignature:
        return False
    return True


def from_der(content: bytes) -> x509.Certificate:
    """Read a certificate; ForgedError for what is none."""
    try:
        return x509.load_der_x509_certificate(content)
    except ValueError:
        raise ForgedError("that is no certificate") from None


def from_pem(text: str) -> x509.Certificate:
    """Read the one certificate of a text; ForgedError where it holds none, or more."""
    content = text.encode(errors="replace")
    if not _PRINTED.fullmatch(content):
        raise ForgedError("that is no certificate")
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError:
        raise ForgedError("that is no certificate") from None


def key_pem(key: Ed25519PrivateKey) -> bytes:
    """Write a private key, in clear: the rights of its file protect it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def read_certificate(file: Path) -> x509.Certificate:
    """Read a file of one certificate; RealmError names the file."""
    try:
        return from_pem(file.read_text("ascii"))
    except (OSError, ValueError, ForgedError) as error:
        raise RealmError(f"{file}: holds no certificate: {_why(error)}") from None


def read_key(file: Path) -> Ed25519PrivateKey:
    """Read a private key; RealmError names the file, also where others could have read it."""
    try:
        mode = file.stat().st_mode & 0o777
        if mode & 0o077 and os.name == "posix":
            raise RealmError(f"{file}: others than its owner can read it", hint=f"chmod 600 {file}")
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RealmError(f"{file}: holds no private key: {_why(error)}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise RealmError(f"{file}: holds a key of another kind than Ed25519")
    return key


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


# -- parts --------------------------------------------------------------------------------


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _common_name(name: x509.Name) -> str:
    """Read the one name that there is; ValueError where there are none, or more."""
    (only,) = tuple(name)
    if only.oid != NameOID.COMMON_NAME:
        raise ValueError
    return cast("str", only.value)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: Ed25519PublicKey, now: float, life: float
) -> x509.CertificateBuilder:
    begins = datetime.fromtimestamp(int(now), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - timedelta(seconds=CLOCK_SKEW))
        .not_valid_after(begins + timedelta(seconds=life))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
