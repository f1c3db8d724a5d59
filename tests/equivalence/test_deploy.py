"""The service files: units that systemd and Flower understand, and an nginx that lets sites in and nobody else."""

import inspect
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient

sys.path.insert(0, str(Path(__file__).parent))
from flower import BIN, ROOT
from hosts import CONNECTION, NGINX, can_make_namespaces, deployment

DEPLOY = ROOT / "simulations" / "deployment"
UNITS = ("fedgan-superlink.service", "fedgan-supernode@.service")
OFFLINE_SECONDS = 60  # two heartbeats of 30 s, after which a SuperLink counts a silent node as offline


def unit(name):
    """Returns the settings of a unit: each key's last value."""
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit(tmp_path, name):
    copy = tmp_path / name.replace("@", "@site-0")
    copy.write_text((DEPLOY / name).read_text().replace("/opt/fedgan/.venv/bin", str(BIN)))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_flower_accepts_the_units_command_lines():
    variables = {"SUPERLINK": "gan.example.org:8000", "PORT": "9000", "NODE_CONFIG": "partition-id=0 num-partitions=3"}
    words = {}
    for name in UNITS:
        command = [
            re.sub(r"\$\{(\w+)\}", lambda m: variables[m[1]], word) for word in shlex.split(unit(name)["ExecStart"])
        ]
        words[Path(command[0]).name] = command[1:]
    superlink = _parse_args_run_superlink().parse_args(words["flower-superlink"])
    assert superlink.enable_supernode_auth
    assert superlink.host == "127.0.0.1"
    assert not superlink.runtime_dependency_install
    supernode = _parse_args_run_supernode().parse_args(words["flower-supernode"])
    assert supernode.node_config == variables["NODE_CONFIG"]
    assert not supernode.insecure


def test_units_come_back_for_ever_and_a_site_only_once_it_is_forgotten():
    for name in UNITS:
        assert unit(name)["Restart"] == "always"
        assert unit(name)["StartLimitIntervalSec"] == "0"
        assert unit(name)["User"] == "fedgan"
    assert int(unit(UNITS[1])["RestartSec"]) > OFFLINE_SECONDS


def test_nginx_lets_in_what_a_registered_site_calls_and_nothing_else():
    called = set(re.findall(r'path="(/v1/[\w/-]+)"', inspect.getsource(FleetHttpClient)))
    assert len(called) == 12
    for_strangers = {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}
    pattern = re.compile(re.search(r"location ~ (\S+) \{", (DEPLOY / "nginx.conf").read_text())[1])
    assert {path for path in called if pattern.search(path)} == called - for_strangers
    for path in ("/v1/control/start-run", "/v1/runtime/acquire-task", "/v1/fleet/get-run/../../control/start-run", "/"):
        assert not pattern.search(path)


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="needs nginx")
@pytest.mark.skipif(not can_make_namespaces(), reason="needs root and ip netns")
def test_behind_nginx_sites_train_and_the_outside_commands_nothing(small, tmp_path):
    config = small(federation__num_clients=2, federation__num_rounds=1)
    with deployment(tmp_path / "fed", 2, proxy=True) as fed:
        fed.start()
        run_id = fed.submit(config)

        site, public = fed.sites[0], fed.certificates.site_public_key("site-1")
        file = tmp_path / "config.toml"
        file.write_text(config.toml())
        for command in (
            ["run", ROOT, CONNECTION, "-c", file],
            ["list", CONNECTION],
            ["stop", run_id, CONNECTION],
            ["log", run_id, CONNECTION, "--show"],
            ["supernode", "register", public, CONNECTION],
            ["supernode", "list", CONNECTION],
        ):
            done = site("flwr", *command)
            assert done.returncode == 1, command
            assert "403 Forbidden" in done.stdout + done.stderr, command

        direct = [sys.executable, "-c", f"import socket; socket.create_connection(('{fed.server.address}', 8001), 3)"]
        assert "ConnectionRefusedError" in site(*direct).stderr  # the SuperLink itself listens on loopback only

        trust = ("--root-certificates", fed.certificates.ca_certificate)
        site.spawn("stranger.log", "flower-supernode", *trust, "--superlink", fed.superlink, "--port", "9900")
        assert site.exit_code("stranger.log") == 1
        assert "[code: 2001] This SuperNode has no key" in site.output("stranger.log")

        assert fed.wait(run_id, 300) == "finished:completed", fed.log(run_id)
        assert '" 403' not in fed.server.output("superlink.log")  # refused before it came that far
