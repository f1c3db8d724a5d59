"""A small trained run, records written by hand, and a server that listens."""

import json
import os
import shutil
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from common.config import RunConfig
from server.records.run_directory import RunDirectory
from simulations.runtime import in_process
from simulations.serve.app import make_app
from simulations.serve.library import Library
from tests.conftest import SMALL


def line(round, clients=(), refused=(), **scores):
    """Returns a line of a journal as a run writes it."""
    return {
        "round": round,
        "examples-seen": 16 * round,
        "seconds": {"train": 1.0, "aggregate": 0.5},
        "bytes-down": 10,
        "bytes-up": 20,
        "clients": [
            {"partition": k, "num-examples": 40, "discriminator-loss": 1.0, "generator-loss": 2.0, "drift": 1.0} | more
            for k, more in clients
        ],
        "refused": [{"partition": k, "reason": reason} for k, reason in refused],
        "scores": scores,
    }


def event(what, round, reason="", **more):
    return {"event": what, "round": round, "reason": reason, **more}


def doing(run, round, **clients):
    """Writes what clients do within a round, as a run does: ``k0="asked"``."""
    reported = {"round": round, "since": time.time(), "clients": {key[1:]: what for key, what in clients.items()}}
    aside = run.path / "aside"
    aside.write_text(json.dumps(reported))
    aside.replace(run.now)


@pytest.fixture
def written(tmp_path):
    """Returns a maker of run directories whose record is written by hand."""

    def make(lines, name="hand", summary=None, clients=3, **config):
        run = RunDirectory(tmp_path / "runs" / name)
        run.create()
        flat = {"federation.num-clients": clients, "federation.num-rounds": 10} | config
        run.config.write_text(RunConfig().replaced(flat).toml())
        roster = [
            {"partition": k, "num-examples": 40, "label-counts": [40 if j == k else 0 for j in range(10)]}
            for k in range(clients)
        ]
        shape = {"channels": 1, "size": 28, "num-classes": 10}
        run.partition.write_text(json.dumps({"shape": shape, "clients": [r | {"data-digest": "x"} for r in roster]}))
        run.journal.write_text("".join(json.dumps(row) + "\n" for row in lines))
        if summary is not None:
            run.summary.write_text(json.dumps(summary))
        return run

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Returns a folder with one trained run, ``digits``: four clients, three rounds, a generator that knows labels."""
    folder = tmp_path_factory.mktemp("serve")
    config = RunConfig.from_flat(SMALL | {"output.dir": str(folder / "digits"), "output.sample-every": 1})
    in_process.simulate(config, num_workers=1)
    return folder


class Proxy:
    """Passes on what is asked below a path, without it, as nginx does."""

    def __init__(self, app, below):
        self._app, self._below = app, below

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            inner = scope["path"].removeprefix(self._below)
            outside = not scope["path"].startswith(f"{self._below}/")
            scope = scope | {"path": "/outside/of/it" if outside else inner, "raw_path": inner.encode()}
        await self._app(scope, receive, send)


@contextmanager
def listening(folder, below="", **options):
    """Serves a folder on a free port while the block runs, perhaps below a path as of a proxy; gives a client."""
    stopping = threading.Event()
    app = make_app(Library(folder), is_stopping=stopping.is_set, **options)
    requested = Proxy(app, below) if below else app
    server = uvicorn.Server(uvicorn.Config(requested, log_level="error", ws="none", lifespan="on", server_header=False))
    bound = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}{below}", timeout=30) as client:
            client.service = app.state.service
            client.document = app.openapi()
            yield client
    finally:
        stopping.set()
        server.should_exit = True
        thread.join(20)
        bound.close()
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="module")
def client(trained):
    with listening(trained) as client:
        yield client


@pytest.fixture(scope="module")
def browser():
    """Starts Debian's Chromium, or Playwright's own."""
    from tests.unit.simulations.serve import browsing

    with browsing.playwright.sync_playwright() as driver:
        names = (found for name in browsing.NAMES if (found := shutil.which(name)))
        path = next(names, driver.chromium.executable_path)
        if not os.path.exists(path):
            pytest.skip("there is no Chromium: apt-get install chromium, or playwright install chromium")
        as_root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"] if as_root else [])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, client):
    """Returns a function that opens a path, after ``before(page)``.

    At the end no script has failed, and nothing was asked elsewhere.
    """
    from tests.unit.simulations.serve.browsing import SECONDS, is_odd

    contexts, problems = [], []

    def open_page(path="/", at=None, expected=(), before=None, **options):
        base = str(at or client.base_url)
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(SECONDS)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: is_odd(said) and not expected and problems.append(said.text))
        page.on("request", lambda it: it.url.startswith((base, "blob:", "data:")) or problems.append(it.url))
        if before is not None:
            before(page)
        page.goto(base.rstrip("/") + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems
