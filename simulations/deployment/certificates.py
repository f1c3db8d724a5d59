"""Certificates and keys of a deployed federation: a private CA, the server's certificate, a key pair a site."""

import ipaddress
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import ConfigError

CA_DAYS = 3650
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names that every server's certificate has too: the SuperLink's own processes and the operator come from there."""

_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RESERVED = ("ca", "server")


class Folder:
    """The files of one federation. Nothing in it is ever overwritten.

    Args:
        path: The folder; made with mode 0700 when the first file is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ca_certificate = path / "ca.crt"
        self.ca_key = path / "ca.key"
        self.server_certificate = path / "server.crt"
        self.server_key = path / "server.key"

    def site_key(self, site: str) -> Path:
        """Returns the file of a site's private key."""
        return self.path / f"{site}.key"

    def site_public_key(self, site: str) -> Path:
        """Returns the file of a site's public key, which ``flwr supernode register`` takes."""
        return self.path / f"{site}.pub"


def issue(folder: Folder, hosts: Sequence[str], sites: Sequence[str], days: int) -> list[Path]:
    """Returns the files that it wrote: the CA if there is none, the server's certificate if hosts are named, site keys.

    Args:
        folder: Where to.
        hosts: DNS names and IP addresses by which clients reach the server. Empty: no certificate, as there is one.
        sites: Names of the sites that get a key pair.
        days: How long the server's certificate holds.

    Raises:
        ConfigError: A name that cannot be one, a file that exists, or nothing to do.
    """
    names = [_general_name(host) for host in dict.fromkeys([*hosts, *LOOPBACK])]
    for site in sites:
        if not _SITE.fullmatch(site) or site in _RESERVED:
            raise ConfigError(f"--site {site!r}: letters, digits, '.', '_' and '-', and not {' or '.join(_RESERVED)}")
    if len(set(sites)) < len(sites):
        raise ConfigError("--site: a name is given twice")
    if not hosts and not folder.ca_certificate.exists():
        raise ConfigError(f"{folder.path} holds no certificates yet: name the server with --host")
    if not hosts and not sites:
        raise ConfigError(f"{folder.path} holds certificates already: name a new site with --site")

    contents: dict[Path, bytes] = {}
    if hosts:
        if folder.ca_certificate.exists():
            ca_key, ca = _read_ca(folder)
        else:
            ca_key, ca = _make_ca()
            contents[folder.ca_key] = _pem(ca_key)
            contents[folder.ca_certificate] = ca.public_bytes(Encoding.PEM)
        server_key = ec.generate_private_key(ec.SECP384R1())
        contents[folder.server_key] = _pem(server_key)
        contents[folder.server_certificate] = _server_certificate(
            server_key, names, hosts[0], ca_key, ca, days
        ).public_bytes(Encoding.PEM)
    for site in sites:
        key = ec.generate_private_key(ec.SECP384R1())
        contents[folder.site_key(site)] = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        contents[folder.site_public_key(site)] = public + b" " + site.encode() + b"\n"
    _write(folder.path, contents)
    return list(contents)


def describe(folder: Folder, written: Sequence[Path], sites: Sequence[str]) -> str:
    """Returns which of the files that :func:`issue` wrote goes where, and what must not."""
    where: list[tuple[str, str]] = []
    if folder.server_key in written:
        where.append(("the server", f"{folder.ca_certificate} {folder.server_certificate} {folder.server_key}"))
    if sites:
        where.append(("to register", " ".join(str(folder.site_public_key(site)) for site in sites)))
    where += [(site, f"{folder.ca_certificate} {folder.site_key(site)}") for site in sites]
    if folder.ca_key in written:
        where.append(("nowhere", f"{folder.ca_key} (keep it offline: whoever has it can pose as the server)"))
    width = max(len(name) for name, _ in where)
    return "\n".join(f"{name:{width}}  {files}" for name, files in where)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST.fullmatch(host) or host.rpartition(".")[2].isdigit():
        raise ConfigError(f"--host {host!r}: neither a DNS name nor an IP address (without scheme, port or path)")
    return x509.DNSName(host)


def _make_ca() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedgan CA")])
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _begin(name, name, key, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return key, builder.sign(key, hashes.SHA384())


def _server_certificate(
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    host: str,
    ca_key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    days: int,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    authority = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _begin(subject, ca.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority),
            critical=False,
        )
    )
    return builder.sign(ca_key, hashes.SHA384())


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read_ca(folder: Folder) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        key = load_pem_private_key(folder.ca_key.read_bytes(), password=None)
        ca = x509.load_pem_x509_certificate(folder.ca_certificate.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(
            f"{folder.ca_key} and {folder.ca_certificate} are needed to sign for --host: {error}"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise ConfigError(f"{folder.ca_key} is not the key of {folder.ca_certificate}")
    return key, ca


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, contents: dict[Path, bytes]) -> None:
    for file in contents:
        if file.exists():
            raise ConfigError(f"{file} exists: nothing was written; remove it first, or name another folder")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file, content in contents.items():
        mode = 0o600 if file.suffix == ".key" else 0o644
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            if hasattr(os, "fchmod"):  # whatever the umask
                os.fchmod(descriptor, mode)
