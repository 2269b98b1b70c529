"""Signed tokens as applications make them with their certificates: client assertions, and proofs of possession."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa


@dataclass(frozen=True)
class Jws:
    """A token in compact form ("JSON Web Signature", RFC 7515). Nothing in it is true until somebody verified it."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ValueError` for anything else; padding, which the form does not have, is anything else."""
        head, body, signature = text.split(".")
        header, claims = json.loads(decode(head)), json.loads(decode(body))
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise ValueError("a token's header and claims are objects")
        return cls(header, claims, f"{head}.{body}".encode(), decode(signature))

    def names(self, certificate: x509.Certificate) -> bool:
        """Whether the header says by its thumbprint that this certificate has signed."""
        names = {
            "x5t": encode(certificate.fingerprint(hashes.SHA1())),  # noqa: S303 - x5t is SHA-1 by definition
            "x5t#S256": encode(certificate.fingerprint(hashes.SHA256())),
        }
        given = {name: self.header[name] for name in names if name in self.header}
        return bool(given) and all(names[name] == str(value).rstrip("=") for name, value in given.items())

    def is_signed_by(self, certificate: x509.Certificate) -> bool:
        """Whether this certificate's key has signed, as the header says it did."""
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        try:
            match self.header.get("alg"):
                case "PS256":
                    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
                    key.verify(self.signature, self.signed, pss, hashes.SHA256())
                case "RS256":
                    key.verify(self.signature, self.signed, padding.PKCS1v15(), hashes.SHA256())
                case _:
                    return False
        except InvalidSignature:
            return False
        return True


def encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(value: str) -> bytes:
    """Raises `ValueError`."""
    if "=" in value:
        raise ValueError("padding has no place in a token")
    return base64.b64decode(value.translate(_PLAIN) + "=" * (-len(value) % 4), validate=True)


_PLAIN = str.maketrans("-_", "+/")
