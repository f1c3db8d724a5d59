"""Certificates: what a TLS client, Flower and a careful operator ask of them."""

import socket
import ssl
import stat
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication

from simulations.commands import main


def fedgan(*arguments, capsys):
    code = main._run(["certificates", *(str(argument) for argument in arguments)], debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def folder(tmp_path, capsys):
    code, _, err = fedgan(
        tmp_path / "keys", "--host", "gan.example.org", "--host", "127.0.0.2", "--sites", 2, capsys=capsys
    )
    assert (code, err) == (0, ""), err
    return tmp_path / "keys"


def handshake(folder, name, ca="ca.crt"):
    """Connects a client that expects ``name`` to a server with the folder's certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    client = ssl.create_default_context(cafile=folder / ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python asks for by default since 3.13
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                try:
                    server.wrap_socket(connection, server_side=True).close()
                except (ssl.SSLError, OSError):
                    return  # the client's side of the story is the one that is told

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=10) as plain,
                client.wrap_socket(plain, server_hostname=name) as secure,
            ):
                return secure.version()
        finally:
            thread.join(10)


@pytest.mark.parametrize("name", ["gan.example.org", "127.0.0.2", "localhost", "127.0.0.1", "::1"])
def test_a_client_with_the_ca_trusts_the_server_under_each_of_its_names(folder, name):
    assert handshake(folder, name) == "TLSv1.3"


@pytest.mark.parametrize("name", ["other.example.org", "127.0.0.3", "example.org"])
def test_a_client_refuses_the_server_under_another_name(folder, name):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(folder, name)


def test_a_client_with_another_ca_refuses_the_server(folder, tmp_path, capsys):
    fedgan(tmp_path / "foreign", "--host", "gan.example.org", capsys=capsys)
    (folder / "foreign.crt").write_bytes((tmp_path / "foreign" / "ca.crt").read_bytes())
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(folder, "gan.example.org", ca="foreign.crt")


def test_the_server_certificate_may_serve_and_not_sign(folder):
    ca, server = (
        x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes()).extensions for name in ("ca", "server")
    )
    assert ca.get_extension_for_class(x509.BasicConstraints).value.ca
    assert ca.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert not server.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not server.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert list(server.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    authority = server.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert authority == ca.get_extension_for_class(x509.SubjectKeyIdentifier).value.key_identifier


def test_flower_accepts_each_sites_keys_and_they_belong_together(folder):
    publics = []
    for site in ("site-0", "site-1"):
        arguments = SimpleNamespace(
            auth_supernode_private_key=str(folder / f"{site}.key"), auth_supernode_public_key=None
        )
        private, public = _try_setup_client_authentication(arguments)
        assert private.curve.name == "secp384r1"
        registered = try_load_public_key(folder / f"{site}.pub")
        assert registered == public_key_to_bytes(public)
        publics.append(registered)
    assert publics[0] != publics[1]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_private_files_are_the_owners_only(folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    keys = {"ca.key", "server.key", "site-0.key", "site-1.key"}
    assert modes == dict.fromkeys(keys, 0o600) | dict.fromkeys(
        {"ca.crt", "server.crt", "site-0.pub", "site-1.pub"}, 0o644
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_a_tight_umask_leaves_public_files_readable(tmp_path):
    command = (
        f"umask 077; exec {sys.executable} -m simulations.commands.main certificates {tmp_path}/keys --host a --sites 1"
    )
    subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=60)
    assert stat.S_IMODE((tmp_path / "keys" / "ca.crt").stat().st_mode) == 0o644


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("options", "file"),
    [
        (["--host", "gan.example.org"], "server.key"),
        (["--site", "site-1"], "site-1.key"),
        (["--sites", "3"], "site-0.key"),
    ],
)
def test_nothing_is_overwritten_and_nothing_half_written(folder, capsys, options, file):
    before = contents(folder)
    code, _, err = fedgan(folder, *options, capsys=capsys)
    assert code == 2
    assert f"{folder / file} exists" in err
    assert contents(folder) == before


def test_a_site_is_added_without_the_ca_key(folder, capsys):
    (folder / "ca.key").unlink()
    before = contents(folder)
    code, out, _ = fedgan(folder, "--site", "berlin", capsys=capsys)
    assert code == 0
    after = contents(folder)
    assert set(after) - set(before) == {"berlin.key", "berlin.pub"}
    assert {name: after[name] for name in before} == before
    assert str(folder / "berlin.pub") in out
    assert "ca.key" not in out


def test_the_server_certificate_is_renewed_under_the_same_ca(folder, capsys):
    ca = (folder / "ca.crt").read_bytes()
    for name in ("server.crt", "server.key"):
        (folder / name).unlink()
    assert fedgan(folder, "--host", "new.example.org", capsys=capsys)[0] == 0
    assert (folder / "ca.crt").read_bytes() == ca
    assert handshake(folder, "new.example.org") == "TLSv1.3"


def test_renewal_without_the_ca_key_says_what_is_needed(folder, capsys):
    for name in ("server.crt", "server.key", "ca.key"):
        (folder / name).unlink()
    code, _, err = fedgan(folder, "--host", "new.example.org", capsys=capsys)
    assert code == 2
    assert f"{folder / 'ca.key'}" in err
    assert not (folder / "server.crt").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "https://a.example"], "neither a DNS name nor an IP address"),
        (["--host", "a.example:8000"], "neither a DNS name nor an IP address"),
        (["--host", "10.0.0.300"], "neither a DNS name nor an IP address"),
        (["--host", "-a.example"], "neither a DNS name nor an IP address"),
        (["--host", ""], "neither a DNS name nor an IP address"),
        (["--host", "a", "--site", "../b"], "--site '../b'"),
        (["--host", "a", "--site", "server"], "not ca or server"),
        (["--host", "a", "--site", "b", "--site", "b"], "given twice"),
        (["--host", "a", "--sites", "1", "--site", "site-0"], "given twice"),
        (["--site", "b"], "name the server with --host"),
        ([], "name the server with --host"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing_behind(tmp_path, capsys, options, words):
    code, out, err = fedgan(tmp_path / "keys", *options, capsys=capsys)
    assert (code, out) == (2, "")
    assert words in err
    assert not (tmp_path / "keys").exists()


def test_the_command_says_what_goes_where(tmp_path, capsys):
    folder = tmp_path / "keys"
    _, out, _ = fedgan(folder, "--host", "a.example", "--sites", 2, capsys=capsys)
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    lines = {name: files.strip() for name, files in lines.items()}
    assert lines["the server"] == f"{folder}/ca.crt {folder}/server.crt {folder}/server.key"
    assert lines["site-1"] == f"{folder}/ca.crt {folder}/site-1.key"
    assert lines["to register"] == f"{folder}/site-0.pub {folder}/site-1.pub"
    assert lines["nowhere"].startswith(f"{folder}/ca.key (keep it offline")


def test_an_existing_folder_keeps_its_mode(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    assert fedgan(folder, "--host", "a", capsys=capsys)[0] == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "server.key").stat().st_mode) == 0o600


def test_validity_is_as_requested(tmp_path, capsys):
    fedgan(tmp_path / "keys", "--host", "a", "--days", 30, capsys=capsys)
    certificate = x509.load_pem_x509_certificate((tmp_path / "keys" / "server.crt").read_bytes())
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 31
