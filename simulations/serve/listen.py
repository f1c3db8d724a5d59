"""The server's process: a socket, uvicorn, and a stop that lets answers end."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from common.errors import ConfigError
from simulations.serve.app import make_app
from simulations.serve.library import Library
from simulations.serve.limits import Limits
from simulations.serve.security import check_access

_GRACE = 15  # seconds that answers under way are given when the server is told to stop
_MOST_CONNECTIONS = 512
_IDLE = 10  # seconds that a connection is kept between two requests
_BACKLOG = 512


def listen(
    root: Path, host: str, port: int, token: str, limits: Limits, tell: Callable[[str], None], prefix: str = ""
) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        root: A run directory, or a folder of them.
        host: Address to listen at.
        port: Port; 0: a free one.
        token: Needed on any host but this machine's own.
        limits: How much is taken on.
        tell: Is given a line for whoever started the server.
        prefix: That a proxy leaves before each path.

    Raises:
        ConfigError: No such folder, no token where one is needed, or an address that cannot be had.
    """
    check_access(host, token)
    library = Library(root)
    bound = _bind(host.strip("[]"), port)
    app = make_app(library, token, limits, is_stopping=lambda: server.should_exit, prefix=prefix, in_processes=True)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=_GRACE,
        )
    )
    shown, number = bound.getsockname()[:2]
    where = f"http://[{shown}]:{number}" if ":" in shown else f"http://{shown}:{number}"
    tell(f"serving {len(library.all())} run(s) at {where}/{'?token=...' if token else ''}, addresses at {where}/docs")
    with bound:
        server.run(sockets=[bound])


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        # Of an address in use Python repeats the address in ``strerror``; negative numbers are of names of hosts.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ConfigError(f"--host {host} --port {port} cannot be had: {why}; take another --port") from None
