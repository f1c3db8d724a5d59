"""A deployed federation for a test: one server host and n client hosts, with TLS and node authentication.

Each host is a network namespace of its own on a switch where the system allows it (root, and `ip netns`); elsewhere all
share loopback, each process on a free port. A host has a FLWR_HOME of its own. All of it ends with the block.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

from flower import ROOT, Home, free_port

from simulations.deployment.certificates import Folder, issue

_SERIAL = itertools.count()
PORT = 8000
CONNECTION = "sites"
READY_SECONDS = 60
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def can_make_namespaces():
    """Says whether this process may make network namespaces and connect them."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"fedgan-{os.getpid()}-probe"
    made = _ip("netns", "add", name)
    works = made and _ip("-n", name, "link", "add", "probe", "type", "bridge")
    if made:
        _ip("netns", "delete", name)
    return works


def _ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, check=False, timeout=30).returncode == 0


class Network:
    """Hosts on one switch. A host's address is 10.99.0.(1 + its number), or 127.0.0.1 for all without namespaces."""

    def __init__(self, num_hosts, namespaces):
        self.namespaces = namespaces
        self._prefix = f"fedgan-{os.getpid()}-{next(_SERIAL)}"
        self._made = []
        if not namespaces:
            return
        try:
            self._build(num_hosts)
        except BaseException:
            self.close()
            raise

    def _build(self, num_hosts):
        switch = self._name("switch")
        self._add(switch)
        self._do("-n", switch, "link", "add", "bridge", "type", "bridge")
        self._do("-n", switch, "link", "set", "bridge", "up")
        for host in range(num_hosts):
            name = self._name(host)
            self._add(name)
            self._do("-n", switch, "link", "add", f"port{host}", "type", "veth", "peer", "name", "eth0", "netns", name)
            self._do("-n", switch, "link", "set", f"port{host}", "master", "bridge", "up")
            self._do("-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self._do("-n", name, "link", "set", device, "up")

    def address(self, host):
        return f"10.99.0.{1 + host}" if self.namespaces else "127.0.0.1"

    def prefix(self, host):
        """Returns what makes a command run on a host."""
        return ["ip", "netns", "exec", self._name(host)] if self.namespaces else []

    def port(self, preferred):
        """Returns a port to listen on: the preferred one where each host has its own."""
        return preferred if self.namespaces else free_port()

    def plug(self, host, plugged):
        """Connects a host's cable, or pulls it out. Only with namespaces."""
        self._do("-n", self._name("switch"), "link", "set", f"port{host}", "up" if plugged else "down")

    def close(self):
        for name in reversed(self._made):
            _ip("netns", "delete", name)
        self._made.clear()

    def _name(self, host):
        return f"{self._prefix}-{host}"

    def _add(self, name):
        self._do("netns", "add", name)
        self._made.append(name)

    def _do(self, *arguments):
        done = subprocess.run(
            ["ip", *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=30
        )
        assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


class Host(Home):
    """A machine: a home, a place in the network, and processes that outlive the command that starts them."""

    def __init__(self, path, network, number):
        super().__init__(path, network.prefix(number))
        self.number = number
        self.address = network.address(number)
        self._children = {}

    def spawn(self, log, *command, **env):
        """Starts a process whose output goes to the file ``log``; the one before it, if any, has ended."""
        if log in self._children:
            self._children[log].wait(READY_SECONDS)
        with (self.path / log).open("ab") as output:
            self._children[log] = subprocess.Popen(
                [*self.prefix, *map(str, command)],
                cwd=self.born,
                env=self.env | {key: str(value) for key, value in env.items()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self, log):
        """Returns what a process has printed, over all its lives."""
        path = self.path / log
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def await_output(self, log, words, seconds=READY_SECONDS, after=0):
        """Waits until a process has printed ``words`` past character ``after``."""
        deadline = time.monotonic() + seconds
        while words not in self.output(log)[after:]:
            ended = log in self._children and self._children[log].poll() is not None
            if ended and words not in self.output(log)[after:]:
                raise AssertionError(f"{log}: ended before {words!r}: {self.output(log)[after:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{log}: no {words!r} within {seconds} s: {self.output(log)[after:]}")
            time.sleep(0.1)

    def exit_code(self, log, seconds=READY_SECONDS):
        """Waits for a process to end by itself and returns its exit code."""
        return self._children[log].wait(timeout=seconds)

    def kill(self, name="", sig=signal.SIGKILL):
        found = super().kill(name, sig)
        if not name and sig == signal.SIGKILL:
            for child in self._children.values():  # dead, or about to be: what nobody waits for is a warning later
                child.wait(READY_SECONDS)
        self._reap()
        return found

    def processes(self, name=""):
        self._reap()
        return super().processes(name)

    def _reap(self):
        for child in self._children.values():
            child.poll()


class Deployment:
    """SuperLink and SuperNodes.

    Args:
        path: A folder that is not there yet.
        num_sites: Client hosts.
        secure: TLS and node authentication.
        proxy: Whether nginx stands before the SuperLink, with simulations/deployment/nginx.conf.
        namespaces: Whether each host gets a network namespace; None: where that is possible.
        env: Environment variables of all of Flower's processes.
    """

    def __init__(self, path, num_sites, *, secure=True, proxy=False, namespaces=None, env=None):
        self.path = path
        self.secure = secure
        self.network = Network(1 + num_sites, can_make_namespaces() if namespaces is None else namespaces)
        self.server = Host(path / "server", self.network, 0)
        self.sites = [Host(path / f"site-{k}", self.network, 1 + k) for k in range(num_sites)]
        self.certificates = Folder(path / "certificates")
        self.proxy = proxy
        self._bind = "127.0.0.1" if proxy else self.server.address
        self._port = self.network.port(PORT + 1 if proxy else PORT)
        self.control = f"{self._bind}:{self._port}"  # for the operator, on the server host
        self._proxy_port = self.network.port(PORT)
        self.superlink = f"{self.server.address}:{self._proxy_port}" if proxy else self.control  # for the sites
        self.registered = set()
        self._node_ports = [self.network.port(9000 + k) for k in range(num_sites)]
        self._node_configs = [{"partition-id": k, "num-partitions": num_sites} for k in range(num_sites)]
        for host in self.hosts:
            host.env |= env or {}
            self.connect(host, self.control if host is self.server else self.superlink)
        if secure:
            issue(self.certificates, [self.server.address], [f"site-{k}" for k in range(num_sites)], 30)

    @property
    def hosts(self):
        return [self.server, *self.sites]

    def connect(self, host, superlink):
        """Tells a host's `flwr` where the SuperLink is."""
        trust = f'root-certificates = "{self.certificates.ca_certificate}"' if self.secure else "insecure = true"
        (host.path / "flwr" / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n[superlink.{CONNECTION}]\naddress = "{superlink}"\n{trust}\n'
        )

    def start(self):
        """Starts the SuperLink, registers all sites and starts their SuperNodes, and waits until all are connected."""
        self.start_superlink()
        for k in range(len(self.sites)):
            self.start_supernode(k)

    def start_superlink(self):
        folder, server = self.certificates, self.server
        trust = (
            [
                *("--ssl-ca-certfile", folder.ca_certificate),
                *("--ssl-certfile", folder.server_certificate),
                *("--ssl-keyfile", folder.server_key),
                "--enable-supernode-auth",
            ]
            if self.secure
            else ["--insecure"]
        )
        before = len(server.output("superlink.log"))
        server.spawn(
            "superlink.log",
            *("flower-superlink", *trust, "--disable-runtime-dependency-installation"),
            *("--database", server.path / "state.db", "--host", self._bind, "--port", self._port),
        )
        server.await_output("superlink.log", "Uvicorn running", after=before)
        if self.proxy and not server.processes("nginx"):
            self._start_proxy()

    def _start_proxy(self):
        server, folder = self.server, self.server.path / "nginx"
        folder.mkdir(exist_ok=True)
        site = (ROOT / "simulations" / "deployment" / "nginx.conf").read_text()
        for old, new in {
            "listen 8000 ssl": f"listen {self._proxy_port} ssl",
            "127.0.0.1:8001": self.control,
            "/etc/fedgan": str(self.certificates.path),
        }.items():
            assert old in site, f"simulations/deployment/nginx.conf has no {old}"
            site = site.replace(old, new)
        (folder / "fedgan.conf").write_text(site)
        temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy"))
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{user} daemon off; master_process off; pid {folder}/pid; events {{}}\n"
            f"http {{ access_log {folder}/access.log; {temporary} include {folder}/fedgan.conf; }}\n"
        )
        server.spawn("nginx.log", NGINX, "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf")
        deadline = time.monotonic() + READY_SECONDS
        while not (folder / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server.processes("nginx"), server.output("nginx.log")

    def kill_superlink(self):
        """Kills everything on the server host: SuperLink, SuperExec, ServerApp."""
        assert self.server.kill("flower-superlink")
        self.server.kill()

    def restart_superlink(self):
        self.kill_superlink()
        self.start_superlink()

    def kill_serverapp(self):
        """Kills the ServerApp's process alone."""
        return self.server.kill("flwr-serverapp")

    def register(self, k):
        """Registers a site's public key, once."""
        if self.secure and k not in self.registered:
            public = self.certificates.site_public_key(f"site-{k}")
            done = self.server("flwr", "supernode", "register", public, CONNECTION, "--name", f"site-{k}")
            assert done.returncode == 0, done.stdout + done.stderr
            self.registered.add(k)

    def start_supernode(self, k, *, superlink=None, register=True, wait=True, options=(), **node_config):
        """Starts a site's SuperNode.

        Args:
            k: The site, and its partition id.
            superlink: An address that is not the SuperLink's own.
            register: Whether to register its key first.
            wait: Whether to wait until it is connected.
            options: More of the command line; the last of an option counts.
            node_config: More keys, with `_` for `-`; kept for later starts.
        """
        site = self.sites[k]
        self._node_configs[k] |= {key.replace("_", "-"): value for key, value in node_config.items()}
        pairs = " ".join(f"{key}={json.dumps(value)}" for key, value in self._node_configs[k].items())
        trust = ["--insecure"]
        if self.secure:
            key = self.certificates.site_key(f"site-{k}")
            trust = [
                *("--root-certificates", self.certificates.ca_certificate),
                *("--auth-supernode-private-key", key),
            ]
        if register:
            self.register(k)
        before = len(site.output("supernode.log"))
        site.spawn(
            "supernode.log",
            *("flower-supernode", *trust, "--superlink", superlink or self.superlink),
            *("--host", "127.0.0.1", "--port", self._node_ports[k], "--node-config", pairs, *options),
        )
        if wait:
            site.await_output("supernode.log", "SuperNode ID:", after=before)

    def kill_supernode(self, k):
        """Kills everything on a client host: SuperNode, SuperExec, ClientApp."""
        assert self.sites[k].kill("flower-supernode")
        self.sites[k].kill()

    def kill_clientapp(self, k):
        """Kills a site's ClientApp's process alone."""
        return self.sites[k].kill("flwr-clientapp")

    def restart_supernode(self, k):
        """Kills a site and starts it again."""
        self.kill_supernode(k)
        self.revive_supernode(k)

    def revive_supernode(self, k, seconds=120):
        """Starts a site that was killed, again and again as the SuperLink refuses it until it has noticed."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.start_supernode(k)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(5)
            else:
                return

    def submit(self, config):
        """Submits the checkout under a RunConfig and returns the run's id."""
        file = self.path / f"config-{next(_SERIAL)}.toml"
        file.write_text(config.toml())
        return self.server.run(CONNECTION, "-c", file)

    def status(self, run_id):
        return self.server.status(run_id, CONNECTION)

    def wait(self, run_id, seconds=300):
        return self.server.wait(run_id, CONNECTION, seconds=seconds)

    def log(self, run_id):
        return self.server.log(run_id, CONNECTION)

    def close(self):
        try:
            for host in reversed(self.hosts):
                host.end()
        finally:
            self.network.close()


@contextmanager
def deployment(path, num_sites, **options):
    """Gives a Deployment that is not started yet; nothing of it is left after the block."""
    made = Deployment(path, num_sites, **options)
    try:
        yield made
    finally:
        made.close()
        left = [pid for host in made.hosts for pid in host.processes()]
        assert not left, f"processes {left} are left"
