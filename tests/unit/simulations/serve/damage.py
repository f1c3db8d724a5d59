"""What happens to the files of a run directory: on other disks, in other hands, in other versions."""

import json
import os
import shutil
import socket

import numpy as np

ODD = [None, "x", "caf\udce9", -1, True, 1.5, 10**400, float("inf"), float("nan")]
ODD += [[], {}, ["\udce9"], [None], {"a": {}}]
"""Values that a key may have instead of its own."""


def _with(content):
    def write(path):
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return write


def _instead(make):
    def put(path):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return put


def _socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # its path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)
    os.chdir(here)


def _long(path):
    with path.open("r+b") as file:
        file.truncate(64 * 2**20 + 1)  # a hole: no room is taken


INSTEAD = {
    "a folder": _instead(lambda path: path.mkdir()),
    "a pipe": _instead(os.mkfifo),
    "a socket": _instead(_socket),
    "a link in a ring": _instead(lambda path: path.symlink_to(path)),
    "a link to a device": _instead(lambda path: path.symlink_to("/dev/zero")),
}
"""What stands in the place of a file or a folder."""

DAMAGE = {
    "empty": _with(b""),
    "zeros": _with(lambda old: b"\0" * len(old)),
    "noise": _with(np.random.default_rng(0).bytes(3000)),
    "torn": _with(lambda old: old[: len(old) // 2]),
    "no UTF-8": _with(b"caf\xe9 = 'caf\xe9'"),
    "a web page": _with(b"<!doctype html><html>Alert in</html>"),
    "a list": _with(b"[1, 2]\n"),
    "a number": _with(b"7\n"),
    "an endless number": _with(b"9" * 5000 + b"\n"),
    "a text": _with(b'"\\udce9"\n'),
    "null": _with(b"null\n"),
    "nothing in it": _with(b"{}\n"),
    "deep": _with(b'{"a":' * 200_000),
    "deep and whole": _with(b'{"round": 1, "rounds": 1, "a": ' + b"[" * 400 + b"]" * 400 + b"}\n"),
    "long": _long,
    **INSTEAD,
}
"""By name, what makes a file unreadable, or makes it say nothing."""


def variants(value):
    """Yields a JSON value in each way in which one of its keys or items is another, twice there, or gone."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {name: it for name, it in value.items() if name != key}
            for odd in (*ODD, *variants(inner)):
                yield value | {key: odd}
    elif isinstance(value, list) and value:
        for odd in (*ODD, *variants(value[0])):
            yield [odd, *value[1:]]
        yield value * 2
        yield value[1:]


def deep(depth):
    """Returns nested lists and objects, as JSON."""
    return json.loads('{"a": [' * depth + "]}" * depth)
