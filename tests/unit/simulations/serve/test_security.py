"""Who is let in, and that nothing asked for reaches the file system or breaks the server."""

import socket

import pytest

from common.errors import ConfigError
from simulations.serve.security import MOST_BYTES, check_access, is_loopback
from tests.unit.simulations.serve.conftest import listening

TOKEN = "0123456789abcdef"
GENERATE = "/api/runs/digits/generate"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_this_machine_alone_needs_no_token(host):
    check_access(host, "")
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_another_host_needs_a_token(host):
    with pytest.raises(ConfigError, match="needs a --token"):
        check_access(host, "")
    check_access(host, TOKEN)
    assert not is_loopback(host)


@pytest.mark.parametrize("token", ["short", "with space 0123456", "umlaut-ä-0123456789"])
def test_a_token_is_long_and_can_be_sent(token):
    with pytest.raises(ConfigError, match="16 characters"):
        check_access("0.0.0.0", token)


@pytest.fixture(scope="module")
def guarded(trained):
    with listening(trained, token=TOKEN) as client:
        yield client


PATHS = [
    "/api/runs",
    "/api/runs/digits",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/",
    "/nothing",
    "/api/runs/digits/journal",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Cookie": f"fedgan={TOKEN}"},
        {"Cookie": "fedgan="},
    ],
)
def test_without_the_token_nothing_is_answered(guarded, path, headers):
    answer = guarded.get(path, headers=headers)
    assert answer.status_code == 401
    assert "digits" not in answer.text


def test_the_token_opens_every_address_and_health_needs_none(guarded):
    for path in PATHS[:-2]:
        assert guarded.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/healthz").status_code == 200
    assert guarded.post(GENERATE, json={}).status_code == 401


def test_a_browser_gets_a_cookie_for_the_token_that_scripts_cannot_read(guarded):
    assert guarded.get("/", params={"token": "wrong"}).status_code == 401
    answer = guarded.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert guarded.get("/api/runs").status_code == 200
    guarded.cookies.clear()
    assert guarded.get("/api/runs").status_code == 401


def test_pages_of_other_sites_cannot_ask(client):
    port = client.base_url.port
    assert client.get("/api/runs", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/api/runs", headers={"Host": f"evil.example:{port}"}).status_code == 403
    assert client.get("/api/runs", headers={"Host": f"localhost:{port}"}).status_code == 200
    assert client.post(GENERATE, json={}, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post(GENERATE, json={}, headers={"Origin": "null"}).status_code == 403
    assert client.post(GENERATE, json={}, headers={"Origin": f"http://127.0.0.1:{port}"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/runs", "/nothing", "/api/runs/digits/samples/x.png"])
def test_every_answer_has_security_headers(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


OUTSIDE = [
    "..",
    "../",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5cwindows",
    "%00",
    "digits%00",
    "digits/..%2f..",
    "/etc/passwd",
    "%252e%252e%252f",
    "file:%2f%2f%2fetc%2fpasswd",
    "digits/checkpoints/round-0003.safetensors",
    "digits/config.toml",
    "%ff%fe",
    "x" * 5000,
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out_of_the_runs(client, name):
    port = client.base_url.port
    for path in (f"/api/runs/{name}", f"/api/runs/{name}/journal", f"/api/runs/digits/samples/{name}.png", f"/{name}"):
        for method in ("GET", "POST"):
            status, body = raw(port, f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n")
            assert status in (400, 404, 405, 422), (path, status)
            assert b"root:" not in body
            assert b"[federation]" not in body


def raw(port, head, body=b""):
    """Sends bytes as they are, as a client would tidy the path up, and returns status and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.encode("latin-1") + b"Connection: close\r\n\r\n" + body)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return int(received.split(b" ", 2)[1]), received.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b'{"num": NaN}',
        b'{"num": 1e999}',
        b'{"seed": ' + b"9" * 10_000 + b"}",
        b'{"noise": [[1e300]]}',
        b'{"num": 1, "num": 2, "x": 3}',
        b"\xff\xfe\x00",
        b'{"labels": "\\ud800"}',
        b'{"\\ud800": 1}',
    ],
)
def test_malformed_bodies_are_refused_and_the_server_goes_on(client, body):
    answer = client.post(GENERATE, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert len(answer.content) < 4000
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"num": 3,}', "the body cannot be read as JSON: character 10: "),
        (b"\xff\xfe\x00", "the body cannot be read as JSON"),
    ],
)
def test_a_body_that_is_no_json_is_answered_in_words(client, body, said):
    answer = client.post(GENERATE, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(said)
    assert "error" not in answer.text.lower()


@pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"null"])
def test_a_body_that_is_no_object_gets_a_description_of_one(client, body):
    answer = client.post(GENERATE, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert 'a JSON object, such as {"num": 4}' in answer.json()["detail"]


def test_oversized_bodies_are_refused_before_they_are_read(client):
    port = client.base_url.port
    head = f"POST {GENERATE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    status, _ = raw(port, f"{head}Content-Length: {10**12 - 1}\r\n")
    assert status == 413

    def endless():
        for _ in range(2 * MOST_BYTES // 65536):
            yield b" " * 65536

    assert client.post(GENERATE, content=endless()).status_code == 413
    assert client.get("/healthz").status_code == 200


def test_other_kinds_of_bodies_and_methods_are_refused(client):
    assert client.post(GENERATE, content="num=3", headers={"Content-Type": "text/plain"}).status_code == 422
    assert client.put(GENERATE, json={}).status_code == 405
    assert client.delete("/api/runs/digits").status_code == 405
