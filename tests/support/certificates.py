"""Certificate authority for tests, and a certificate for this machine and for a host name that does not exist."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMED = "chat.example"
"""Host name that no resolver knows (RFC 2606); it can be reached through a proxy only."""


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: the authority's certificate, a server certificate for this machine, and its key."""

    authority: str
    certificate: str
    key: str


def make_certificates(directory: Path) -> Certificates:
    """Write an authority's certificate, a certificate and its key into `directory`; return their paths.

    The certificate is valid for servers and for clients.
    """
    # Python 3.13 verifies strictly (RFC 5280): a certificate must name its issuer's key, an authority its key's usage.
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def builder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("Test authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    others += ("crl_sign", "encipher_only", "decipher_only")
    usage = x509.KeyUsage(key_cert_sign=True, **dict.fromkeys(others, False))
    authority = (
        builder("Test authority", authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName(NAMED), here])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    leaf = (
        builder("localhost", key)
        .add_extension(names, critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    files = Certificates(*(str(directory / file) for file in ("ca.pem", "server.pem", "server.key")))
    Path(files.authority).write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    Path(files.certificate).write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    Path(files.key).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
