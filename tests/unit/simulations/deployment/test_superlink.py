"""The way to a SuperLink: why it is not there, and its nodes, on sockets of the test's own."""

import json
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from flwr.cli import flower_config, utils
from flwr.proto.control_pb2 import ListNodesResponse
from flwr.proto.node_pb2 import NodeInfo

from common.config import RunConfig
from common.errors import ConfigError, FederationError
from simulations.commands import main
from simulations.deployment import superlink
from simulations.deployment.certificates import Folder, issue
from simulations.deployment.superlink import SuperLink


@pytest.fixture
def connect(tmp_path, monkeypatch):
    """Returns a writer of Flower's configuration file with one connection."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))

    def write(port, trust):
        (tmp_path / "config.toml").write_text(f'[superlink.gan]\naddress = "localhost:{port}"\n{trust}\n')
        return SuperLink("gan")

    return write


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("certificates"))
    issue(folder, ["localhost"], ["site-0"], 30)
    return folder


@contextmanager
def listening(certificates=None):
    """Gives the port of a server that says nothing, in TLS or not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        context = None
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.server_certificate, certificates.server_key)

        def answer():
            while True:
                try:
                    connected, _ = server.accept()
                    with connected:
                        if context:
                            context.wrap_socket(connected, server_side=True).close()
                        else:
                            connected.recv(100)
                            connected.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                except OSError:
                    if server.fileno() < 0:
                        return

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_nobody_there_is_said_so_with_the_address(connect):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(FederationError, match=f"nobody answers for SuperLink 'gan' at localhost:{port} .*refused"):
        connect(port, "insecure = true").explain_absence()


def test_another_ca_is_the_setting_s_fault(connect, certificates, tmp_path):
    issue(Folder(tmp_path / "other"), ["localhost"], [], 30)
    with (
        listening(certificates) as port,
        pytest.raises(
            ConfigError, match="the certificate of SuperLink 'gan' .* is not accepted: .*verify failed|issuer"
        ),
    ):
        connect(port, f'root-certificates = "{tmp_path / "other" / "ca.crt"}"').explain_absence()


def test_a_missing_ca_is_named(connect, certificates):
    with listening(certificates) as port, pytest.raises(ConfigError, match=r"root-certificates='/none/ca.crt'"):
        connect(port, 'root-certificates = "/none/ca.crt"').explain_absence()


@pytest.mark.parametrize(
    ("secure", "trust", "words"),
    [
        (False, "", "does not speak TLS: start it with certificates"),
        (True, "insecure = true", "speaks TLS: write root-certificates in place of insecure"),
    ],
)
def test_tls_on_one_side_only_is_said(connect, certificates, secure, trust, words):
    with listening(certificates if secure else None) as port, pytest.raises(ConfigError, match=words):
        connect(port, trust).explain_absence()


@pytest.fixture
def probed(monkeypatch):
    """Returns the hosts that connections were tried to, and found to speak as they should."""
    hosts, shake_hands = [], superlink._shake_hands

    def noted(connected, host, *rest):
        shake_hands(connected, host, *rest)
        hosts.append(host)

    monkeypatch.setattr(superlink, "_shake_hands", noted)
    return hosts


def test_where_all_is_well_there_is_nothing_to_explain(connect, certificates, probed):
    with listening(certificates) as port:
        connect(port, f'root-certificates = "{certificates.ca_certificate}"').explain_absence()
    with listening() as port:
        connect(port, "insecure = true").explain_absence()
    assert probed == ["localhost", "localhost"]


@pytest.mark.parametrize("address", [":local:", "", "gan.example.org"])
def test_flower_s_own_names_are_left_to_flower(connect, tmp_path, probed, address):
    link = connect(1, "")
    (tmp_path / "config.toml").write_text(f'[superlink.gan]\naddress = "{address}"\n')
    link.explain_absence()
    assert probed == []


def test_a_run_that_nobody_takes_fails_with_the_reason(connect, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link = connect(port, "insecure = true")
    link._flwr = "false"  # Flower's command says the same words whatever the reason
    with pytest.raises(FederationError, match="'flwr run' failed"):
        link.run(RunConfig())


def test_an_answer_is_read_also_where_a_notebook_requests_colours(connect, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    flower = tmp_path / "flwr"
    flower.write_text('#!/bin/sh\n[ -z "$FORCE_COLOR" ] && echo \'{"success": true, "run-id": "7"}\'\n')
    flower.chmod(0o700)
    link = connect(1, "insecure = true")
    link._flwr = str(flower)
    assert link.run(RunConfig()) == 7


class WithSites:
    """A control client that knows three nodes."""

    def __init__(self, pem):
        self.nodes = [
            NodeInfo(
                node_id=7, status="offline", name="hospital-b", public_key=pem, registered_at="2026-01-02T00:00:00"
            ),
            NodeInfo(node_id=2**63 + 5, status="online", public_key=b"random", registered_at="2026-01-01T00:00:00"),
            NodeInfo(node_id=9, status="unregistered", registered_at="2026-01-01T00:00:00"),
        ]
        self.nodes[0].last_deactivated_at = "2026-01-03T10:11:12.345678+00:00"

    def ListNodes(self, request):
        return ListNodesResponse(nodes_info=self.nodes)

    def close(self):
        pass


@pytest.fixture
def superlink_of_sites(connect, certificates, monkeypatch):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_ssh_public_key(certificates.site_public_key("site-0").read_bytes())
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    monkeypatch.setattr(flower_config, "read_superlink_connection", lambda name: name)
    monkeypatch.setattr(utils, "init_http_client_from_connection", lambda name: print("noise") or WithSites(pem))
    return connect(1, "insecure = true")


def test_sites_are_listed_with_the_command_that_removes_each(superlink_of_sites, certificates, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fedgan", "sites", "gan"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    output, errors = capsys.readouterr()
    assert ended.value.code == 0
    assert "hospital-b: offline since 2026-01-03 10:11:12" in output
    assert "remove  flwr supernode unregister 7 gan" in output
    assert f"(no name): online\n    node    {2**63 + 5}\n    key     none" in output
    assert "unregister 9 gan" not in output
    assert "1 of 2 known sites are online" in errors
    assert "noise" not in output


def test_sites_in_json(superlink_of_sites, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fedgan", "sites", "gan", "--json"])
    with pytest.raises(SystemExit):
        main.main()
    sites = json.loads(capsys.readouterr().out)["sites"]
    assert [site["name"] for site in sites] == ["", "hospital-b"]


def test_no_sites_are_said_with_how_to_register_one(superlink_of_sites, monkeypatch, capsys):
    monkeypatch.setattr(SuperLink, "nodes", lambda self: [])
    monkeypatch.setattr(sys, "argv", ["fedgan", "sites", "gan"])
    with pytest.raises(SystemExit):
        main.main()
    assert "no sites; register a key with: flwr supernode register SITE.pub gan --name SITE" in capsys.readouterr().err


def test_a_key_has_the_fingerprint_that_ssh_keygen_prints(superlink_of_sites, certificates):
    (key,) = [node.key for node in superlink_of_sites.nodes() if node.name]
    assert key.startswith("SHA256:")
    try:
        file = certificates.site_public_key("site-0")
        done = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("needs ssh-keygen")
    assert key == done.stdout.split()[1]


def test_an_unknown_name_lists_the_known_ones(connect):
    connect(1, "")
    with pytest.raises(ConfigError, match=r"has no SuperLink 'gna' \(it has gan\)"):
        superlink.check("gna")


def test_flower_still_has_the_private_parts_that_this_uses():
    assert callable(utils.flwr_cli_exc_handler)
    assert {"name", "public_key", "status", "registered_at", "last_activated_at", "heartbeat_interval"} <= {
        field.name for field in NodeInfo.DESCRIPTOR.fields
    }
