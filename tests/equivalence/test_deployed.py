"""The same bits from SuperLink and SuperNodes on hosts of their own, and what a stranger to the federation reads."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conftest import COUNTS, TEXT
from hosts import CONNECTION, can_make_namespaces, deployment

from common.algorithms import ALGORITHMS
from server.records import journal, run_directory
from simulations.deployment.certificates import Folder, issue
from simulations.runtime.in_process import simulate
from tests.rarely import RARELY

pytestmark = pytest.mark.slow

NUM_CLIENTS = 3
STRANGER = 3  # a site with a key that nobody registers


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    """Gives a federation of three connected sites, and a fourth host that is not one."""
    with deployment(tmp_path_factory.mktemp("deployed") / "fed", NUM_CLIENTS + 1) as made:
        made.start_superlink()
        for k in range(NUM_CLIENTS):
            made.start_supernode(k, num_partitions=NUM_CLIENTS)
        yield made


def summary_of(config):
    return json.loads(run_directory.resolve(config.output.dir).summary.read_text())


def test_deployed_clients_end_with_the_same_bits_as_the_in_process_grid(fed, small):
    changes = {
        **TEXT,  # images, and updates in float32: test_deployed_failures.py
        "transforms": "compress to=int8",
        "federation.num-clients": NUM_CLIENTS,
        "federation.fraction": 0.67,
        "local.moments": "keep",
    }
    ours, theirs = small("ours", **changes), small("theirs", **changes)
    simulate(ours)
    run_id = fed.submit(theirs)
    assert fed.wait(run_id, 480) == "finished:completed", fed.log(run_id)
    assert summary_of(theirs)["weights-sha256"] == summary_of(ours)["weights-sha256"]
    lines, expected = (journal.read(run_directory.resolve(config.output.dir).journal) for config in (theirs, ours))
    assert [line["bytes-up"] for line in lines] == [line["bytes-up"] for line in expected]
    cohorts = [[c["partition"] for c in line["clients"]] for line in lines]
    assert all(len(cohort) == 2 for cohort in cohorts)
    assert len({k for cohort in cohorts for k in cohort}) == NUM_CLIENTS  # one that kept its moments over a pause


def test_deployed_clients_add_up_under_masks_to_the_same_bits(fed, small):
    changes = {
        "model": "mlp width=8 latent-size=8",
        "federation.num-clients": NUM_CLIENTS,
        "federation.num-rounds": 2,
        "aggregate": "secure-mean threshold=3",
    }
    ours, theirs = small("ours", **changes), small("theirs", **changes)
    simulate(ours)
    run_id = fed.submit(theirs)
    assert fed.wait(run_id, 480) == "finished:completed", fed.log(run_id)
    assert summary_of(theirs)["weights-sha256"] == summary_of(ours)["weights-sha256"]
    for line in journal.read(run_directory.resolve(theirs.output.dir).journal):
        assert line["masks"]["dropped"] == {}
        assert not any("drift" in client for client in line["clients"])


@RARELY
@pytest.mark.parametrize("promise", ["example epsilon=10", "client epsilon=8 most-noise=1e6"])
def test_promises_of_privacy_are_kept_deployed_with_the_same_bits(fed, small, promise):
    changes = {"privacy": promise, "federation.num-clients": NUM_CLIENTS}
    ours, theirs = small("ours", **changes), small("theirs", **changes)
    simulate(ours)
    run_id = fed.submit(theirs)
    assert fed.wait(run_id, 480) == "finished:completed", fed.log(run_id)
    here, there = summary_of(ours), summary_of(theirs)
    assert there["weights-sha256"] == here["weights-sha256"]
    assert there["privacy"] == here["privacy"]
    assert {client["noise"] for client in there["privacy"]["clients"]} == {"seed"}  # shards of a data set: a simulation


@pytest.mark.usefixtures("no_reports")
@RARELY
def test_every_algorithm_ends_deployed_with_the_same_bits(fed, small):
    apart = []
    for algorithm in (name for name, kind in ALGORITHMS.items() if kind.fitting == "steps"):
        changes = {
            "algorithm": algorithm,
            "model": "dcgan width=4 latent-size=8",
            "federation.num-clients": NUM_CLIENTS,
            "federation.fraction": 0.67,
            "local.moments": "keep",
        }
        ours, theirs = (small(f"{algorithm}-{where}", **changes) for where in ("ours", "theirs"))
        simulate(ours)
        run_id = fed.submit(theirs)
        assert fed.wait(run_id, 480) == "finished:completed", fed.log(run_id)
        if summary_of(theirs)["weights-sha256"] != summary_of(ours)["weights-sha256"]:
            apart.append(algorithm)
    assert not apart


@RARELY
def test_counts_of_n_grams_end_deployed_with_the_same_bits(fed, small):
    ours, theirs = small("ours", **COUNTS), small("theirs", **COUNTS)
    simulate(ours)
    run_id = fed.submit(theirs)
    assert fed.wait(run_id, 480) == "finished:completed", fed.log(run_id)
    assert summary_of(theirs)["weights-sha256"] == summary_of(ours)["weights-sha256"]


def refused(fed, *command):
    """Runs a SuperNode on the stranger's host to its end; returns exit code and what it printed."""
    site = fed.sites[STRANGER]
    before = len(site.output("supernode.log"))
    site.spawn(
        "supernode.log", "flower-supernode", "--superlink", fed.superlink, "--port", fed.network.port(9900), *command
    )
    code = site.exit_code("supernode.log", 120)
    site.end()
    return code, site.output("supernode.log")[before:]


def trust(fed, ca=None):
    return ["--root-certificates", ca or fed.certificates.ca_certificate]


def key(fed):
    return ["--auth-supernode-private-key", fed.certificates.site_key(f"site-{STRANGER}")]


def test_a_site_whose_key_is_not_registered_is_refused(fed):
    code, output = refused(fed, *trust(fed), *key(fed))
    assert code == 1
    assert "Exit Code: 305" in output
    assert "[code: 2004] Failed to activate SuperNode." in output
    assert "No SuperNode found with the given public key" in fed.server.output("superlink.log")


def test_a_site_without_a_key_is_refused(fed):
    code, output = refused(fed, *trust(fed))
    assert code == 1
    assert "[code: 2001] SuperNode authentication is enabled" in output


def test_a_site_with_another_ca_refuses_the_server(fed, tmp_path):
    issue(Folder(tmp_path), [fed.server.address], [], 30)
    code, output = refused(fed, *trust(fed, tmp_path / "ca.crt"), *key(fed))
    assert code == 1
    assert "SSL/TLS handshake error detected." in output
    assert "CERTIFICATE_VERIFY_FAILED" in output


def test_a_site_without_tls_gets_no_answer(fed):
    code, output = refused(fed, "--insecure", "--max-wait-time", "5")
    assert code == 1
    assert "Connection attempt failed, retrying in" in output
    assert "Failed to initialize the connection to the SuperLink." in output


def test_the_operators_commands_without_tls_get_no_answer(fed):
    site = fed.sites[STRANGER]
    file = site.path / "flwr" / "config.toml"
    file.write_text(f'[superlink.{CONNECTION}]\naddress = "{fed.superlink}"\ninsecure = true\n')
    done = site("flwr", "list", CONNECTION)
    assert done.returncode == 1
    assert "Connection to the SuperLink is unavailable" in done.stdout + done.stderr


def test_a_registered_key_cannot_be_registered_again(fed):
    public = fed.certificates.site_public_key("site-0")
    done = fed.server("flwr", "supernode", "register", public, CONNECTION)
    assert done.returncode == 1
    assert "Public key already in use" in done.stdout + done.stderr


@pytest.mark.skipif(not can_make_namespaces(), reason="needs root and ip netns")
def test_hosts_are_apart_and_leave_nothing_behind(tmp_path):
    def namespaces():
        return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout

    before = namespaces()
    with deployment(tmp_path / "fed", 1) as made:
        site = made.sites[0]
        site.spawn("listener.log", sys.executable, "-u", "-m", "http.server", "8001", "--bind", site.address)
        site.await_output("listener.log", "Serving", seconds=30)
        assert site.processes("http.server")
        assert not made.server.processes("http.server")
        probe = [sys.executable, "-c", f"import socket; socket.create_connection(('{site.address}', 8001), 3)"]
        for plugged in (True, False, True):
            made.network.plug(site.number, plugged)
            assert (made.server(*probe).returncode == 0) == plugged
        assert len(namespaces().splitlines()) == len(before.splitlines()) + 3
    assert namespaces() == before
    assert not made.server.processes()


def test_processes_end_with_the_block_whatever_happens(tmp_path):
    with (
        contextlib.suppress(ZeroDivisionError),
        deployment(tmp_path / "fed", 1, secure=False, namespaces=False) as made,
    ):
        made.start()
        assert made.server.processes("flower-superexec")  # in a session of its own
        assert made.sites[0].processes("flower-supernode")
        raise ZeroDivisionError
    assert not [pid for host in made.hosts for pid in host.processes()]
