"""The certificates that applications sign in with: made, read, and used to prove that one has them."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bot.errors import Retry, SignInCategory, SignInFailed
from bot.model import Secret
from bot.ports import Certificate, Clock

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

LIFETIME: Final = timedelta(days=180)

_BITS: Final = 2048
_EARLIER: Final = timedelta(minutes=15)
"""How much sooner than now a certificate begins: Microsoft's clock may be behind ours."""

_PROOF_AUDIENCE: Final = "00000002-0000-0000-c000-000000000000"
_PROOF_SINCE, _PROOF_LIFETIME = timedelta(minutes=1), timedelta(minutes=10)

_LONGEST_NAME: Final = 64
"""Bytes (RFC 5280, `ub-common-name`)."""

_PEM = "-----BEGIN (?P<kind>[A-Z ]*{kind})-----.+?-----END (?P=kind)-----"
_PRIVATE_KEY = re.compile(_PEM.format(kind="PRIVATE KEY"), re.DOTALL)
_CERTIFICATE = re.compile(_PEM.format(kind="CERTIFICATE"), re.DOTALL)


class EntraCertificates:
    """Makes and reads certificates, as `bot.ports.Certificates` promises. It computes: call it in a thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def make(self, name: str, *, lifetime: timedelta = LIFETIME) -> Secret:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from cryptography.x509.oid import NameOID

        key, now = generate_private_key(public_exponent=65537, key_size=_BITS), self._clock.now()
        common = name.encode()[:_LONGEST_NAME].decode(errors="ignore") or "Latchkey"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Secret((private + certificate.public_bytes(Encoding.PEM)).decode())

    def read(self, value: Secret) -> Certificate | None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding

        loaded = load(value.reveal())
        if loaded is None:
            return None
        certificate = loaded[1][0]
        public = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        thumbprint = certificate.fingerprint(hashes.SHA1())  # noqa: S303 - Graph's names for keys are made of it
        return Certificate(
            thumbprint=certificate.fingerprint(hashes.SHA256()).hex(),
            ends_at=certificate.not_valid_after_utc,
            public=public,
            marks=frozenset({public, thumbprint.hex().upper(), base64.b64encode(thumbprint).decode()}),
        )

    def proof(self, value: Secret, object_id: str) -> Secret:
        """Graph docs: *Generate proof of possession tokens for rolling keys*. Its lifetime may not exceed ten minutes,
        and padding is an error."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        loaded = load(value.reveal())
        if loaded is None:
            raise unusable()
        key, (certificate, *_) = loaded
        thumbprint = certificate.fingerprint(hashes.SHA1())  # noqa: S303 - x5t is SHA-1 by definition
        since = self._clock.now() - _PROOF_SINCE
        header = {"alg": "RS256", "typ": "JWT", "kid": thumbprint.hex().upper(), "x5t": _encoded(thumbprint)}
        claims = {
            "aud": _PROOF_AUDIENCE,
            "iss": object_id,
            "nbf": int(since.timestamp()),
            "exp": int((since + _PROOF_LIFETIME).timestamp()),
        }
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        return Secret(f"{signed}.{_encoded(key.sign(signed.encode(), PKCS1v15(), hashes.SHA256()))}")


def msal_form(value: str) -> dict[str, str] | None:
    """MSAL's form of a certificate, without a thumbprint: MSAL then computes SHA-256. None if it cannot be used."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    loaded = load(value)
    if loaded is None:
        return None
    key, chain = loaded
    return {
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "public_certificate": "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain),
    }


def load(value: str) -> tuple[RSAPrivateKey, list[x509.Certificate]] | None:
    """The RSA key in *value*, base64 PKCS#12 without a password or PEM, and its certificate with what it was issued by.
    None if it holds no such thing."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
    from cryptography.x509 import load_pem_x509_certificates

    key: object
    try:
        if "-----BEGIN " in value:
            keys = [found.group() for found in _PRIVATE_KEY.finditer(value)]
            certificates = "\n".join(found.group() for found in _CERTIFICATE.finditer(value))
            key, chain = load_pem_private_key(keys[0].encode(), None), load_pem_x509_certificates(certificates.encode())
        else:
            bundle = load_pkcs12(base64.b64decode(value, validate=True), None)
            key, chain = bundle.key, [held.certificate for held in (bundle.cert, *bundle.additional_certs) if held]
    except (ValueError, TypeError, IndexError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, RSAPrivateKey) or not chain or key.public_key() != chain[0].public_key():
        return None
    return key, chain


def unusable() -> SignInFailed:
    return SignInFailed(
        "The certificate in Key Vault cannot be used: it must be PKCS#12 without a password or PEM, with its RSA "
        "private key. Store it again.",
        category=SignInCategory.APP_CONFIG,
        retry=Retry.AFTER_FIX,
    )


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
