"""The way to a SuperLink: Flower's command line for a connection, the nodes there, and why there is no connection."""

import base64
import hashlib
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import RunConfig
from common.errors import ConfigError, FederationError
from simulations.deployment.flower_app import flower_app

_COMMAND_SECONDS = 120.0
_COLOURS = ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE")
_PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class Node:
    """A SuperNode, as its SuperLink knows it.

    Attributes:
        id: Its number.
        status: ``online``, ``offline``, ``registered`` (its key is, and it never came) or ``unregistered``.
        name: Under which its key was registered; empty: none.
        key: The fingerprint of its public key, as ``ssh-keygen -lf FILE.pub`` prints it; empty: it has no key.
        since: When it got this status; empty: unknown.
    """

    id: int
    status: str
    name: str = ""
    key: str = ""
    since: str = ""


class SuperLink:
    """Flower's command line, for one connection of its configuration file.

    Args:
        name: The connection's name there.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        beside = Path(sys.executable).parent / "flwr"
        self._flwr = str(beside) if beside.exists() else shutil.which("flwr") or "flwr"

    def run(self, config: RunConfig) -> int:
        """Hands a run in and returns its id.

        Raises:
            ConfigError: The connection is not set up as the SuperLink is.
            FederationError: The SuperLink cannot be reached or refuses it; says what Flower says.
        """
        with flower_app() as app, tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "config.toml"
            file.write_text(config.toml(), encoding="utf-8")
            answer = self._ask("run", str(app), self._name, "-c", str(file))
        return int(answer["run-id"])

    def status(self, run_id: int) -> tuple[str, str]:
        """Returns a run's status, e.g. ``finished:failed``, and Flower's words on it.

        Raises:
            FederationError: The SuperLink cannot be reached, or does not know the run.
        """
        runs = self._ask("list", self._name, "--run-id", str(run_id)).get("runs", [])
        if not runs:
            raise FederationError(f"the SuperLink does not know run {run_id}")
        return str(runs[0]["status"]), str(runs[0].get("status-details", ""))

    def follow(self, run_id: int) -> subprocess.Popen[str]:
        """Returns a process that prints the run's log as it comes."""
        return subprocess.Popen(
            [self._flwr, "log", str(run_id), self._name, "--stream"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=_without_colours(),
        )

    def nodes(self) -> list[Node]:
        """Returns the SuperNodes that are registered or connected, those without a key too; not those that have gone.

        Flower's own command tells neither names nor keys: this asks as it does (private parts; a test pins them).

        Raises:
            ConfigError: The connection is not set up as the SuperLink is.
            FederationError: The SuperLink cannot be reached.
        """
        import click
        from flwr.cli.flower_config import read_superlink_connection
        from flwr.cli.utils import flwr_cli_exc_handler, init_http_client_from_connection
        from flwr.proto.control_pb2 import ListNodesRequest

        try:
            with redirect_stdout(io.StringIO()):  # Flower prints where it asks
                client = init_http_client_from_connection(read_superlink_connection(self._name))
            try:
                with flwr_cli_exc_handler():
                    found = client.ListNodes(ListNodesRequest()).nodes_info
            finally:
                client.close()
        except click.ClickException as error:
            self.explain_absence()
            raise FederationError(f"the SuperLink {self._name!r} does not tell its nodes: {error.message}") from None
        return [
            Node(node.node_id, node.status, node.name, fingerprint(node.public_key), _since(node))
            for node in sorted(found, key=lambda node: str(node.registered_at))
            if node.status != "unregistered"
        ]

    def explain_absence(self) -> None:
        """Returns if something answers where the connection leads to, in the way that it says; for after a failure.

        Flower says the same words whatever the reason.

        Raises:
            ConfigError: The connection's setting is at fault: its certificate, or TLS on one side only.
            FederationError: Nobody answers there.
        """
        connection = connections().get(self._name, {})
        address = str(connection.get("address", "")).rpartition("//")[2]
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            return  # one of Flower's own names for an address
        where = f"SuperLink {self._name!r} at {address} ({_config_file()})"
        try:
            with socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS) as connected:
                _shake_hands(connected, host.strip("[]"), connection, where)
        except (ConfigError, FederationError):
            raise
        except OSError as error:
            raise FederationError(
                f"nobody answers for {where}: {error.strerror or error}; is flower-superlink running there?"
            ) from None

    def _ask(self, *arguments: str) -> dict[str, Any]:
        try:
            done = subprocess.run(
                [self._flwr, *arguments, "--format", "json"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_COMMAND_SECONDS,
                check=False,
                env=_without_colours(),
            )
        except subprocess.TimeoutExpired:
            raise FederationError(f"no answer to 'flwr {arguments[0]}' within {_COMMAND_SECONDS:g} s") from None
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {}
        if done.returncode or not isinstance(answer, dict) or not answer.get("success"):
            said = str(answer.get("error-message", "")) if isinstance(answer, dict) else ""
            words = " ".join((said or done.stderr or done.stdout).split())
            raise FederationError(f"'flwr {arguments[0]}' failed: {words[-500:] or f'exit code {done.returncode}'}")
        return answer


def _without_colours() -> dict[str, str]:
    """Returns an environment in which Flower's command colours nothing: notebooks request it, and JSON has none."""
    return {key: value for key, value in os.environ.items() if key not in _COLOURS} | {"NO_COLOR": "1"}


def connections() -> dict[str, dict[str, Any]]:
    """Returns the connections in Flower's configuration file, by name; none if there is no such file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        known = tomllib.loads(_config_file().read_text(encoding="utf-8")).get("superlink", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{_config_file()} cannot be read: {error}") from None
    found: dict[str, dict[str, Any]] = {key: value for key, value in known.items() if isinstance(value, dict)}
    return found


def check(name: str) -> None:
    """Checks that a run can be submitted from here to the connection of this name.

    Raises:
        ConfigError: Flower's configuration file has no such connection.
    """
    if name not in (known := connections()):
        listed = f" (it has {', '.join(known)})" if known else ""
        raise ConfigError(
            f"{_config_file()} has no SuperLink {name!r}{listed}: add [superlink.{name}] with its address and "
            "root-certificates (docs/deployment.md)"
        )


def _shake_hands(connected: socket.socket, host: str, connection: Mapping[str, Any], where: str) -> None:
    """Checks that the other side speaks TLS where that is expected, with the right certificate, and else does not.

    Raises:
        ConfigError: It is otherwise.
    """
    insecure, certificates = bool(connection.get("insecure")), connection.get("root-certificates")
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif certificates:
        file = Path(str(certificates)).expanduser()
        file = file if file.is_absolute() else _config_file().parent / file
        try:
            context = ssl.create_default_context(cafile=str(file))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"root-certificates={str(file)!r} of {where} cannot be read: {error}") from None
    try:
        context.wrap_socket(connected, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"the certificate of {where} is not accepted: {error.verify_message}; root-certificates must be the ca.crt "
            "that signed it, and the address a name in it (fedgan certificates --host)"
        ) from None
    except (ssl.SSLError, OSError):
        if not insecure:
            raise ConfigError(
                f"{where} does not speak TLS: start it with certificates, or, on one machine, write insecure = true"
            ) from None
    else:
        if insecure:
            raise ConfigError(f"{where} speaks TLS: write root-certificates in place of insecure = true")


def fingerprint(public_key: bytes) -> str:
    """Returns the fingerprint of a public key in PEM, as ``ssh-keygen -lf`` prints it; empty where it is no key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    with suppress(ValueError, UnsupportedAlgorithm):
        key = serialization.load_pem_public_key(public_key)
        line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
    return ""


def _since(node: Any) -> str:
    at = {"online": node.last_activated_at, "offline": node.last_deactivated_at}.get(node.status, node.registered_at)
    return str(at).partition(".")[0].replace("T", " ")


def _config_file() -> Path:
    return Path(os.environ.get("FLWR_HOME") or Path.home() / ".flwr") / "config.toml"
