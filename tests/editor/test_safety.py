"""Who may use the editor, and how far a request reaches."""

import pytest

from tests.editor.conftest import client_of, contents, png

PAGE = {"origin": "http://127.0.0.1:8765", "sec-fetch-site": "same-origin"}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8765"},
        {"host": "127.0.0.1.evil.example:8765"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/project"),
        ("GET", "/api/image"),
        ("GET", "/api/events"),
        ("GET", "/api/project.zip"),
        ("POST", "/api/image"),
        ("POST", "/api/jobs"),
        ("POST", "/api/examples/two circles"),
    ],
)
def test_another_sites_page_can_neither_read_nor_start_anything(client, folder, headers, method, path):
    before = contents(folder)
    answer = client.request(method, path, headers=headers, content=png() if method == "POST" else None)
    assert answer.status_code == 403
    assert list(answer.json()) == ["error"]
    assert contents(folder) == before


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "localhost"])
def test_this_machine_may_use_it(client, host):
    assert client.get("/api/project", headers={"host": host}).status_code == 200
    headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    assert client.post("/api/image", headers=headers, content=png()).status_code == 200


def test_a_link_on_another_page_opens_the_editor(client):
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=headers).status_code == 200


def test_other_machines_need_the_token(folder, decoder):
    client = client_of(folder, decoder, token="the-token")
    for address in ("/", "/?token=", "/?token=another", "/api/project", "/static/index.html", "/api/project?token=the"):
        assert client.get(address, headers={"host": "studio.lan:8765"}).status_code == 403
    opened = client.get("/?token=the-token", headers={"host": "studio.lan:8765"}, follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    assert all(word in opened.headers["set-cookie"].lower() for word in ("httponly", "samesite=strict"))
    cookie = {"host": "studio.lan:8765", "cookie": "smcd_token=the-token"}
    assert client.get("/api/project", headers=cookie).status_code == 200
    foreign = cookie | {"origin": "http://evil.example"}
    assert client.post("/api/image", headers=foreign, content=png()).status_code == 403
    assert client.get("/api/project", headers=cookie | {"cookie": "smcd_token=other"}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/static/index.html", "/api/project", "/nowhere", "/api/jobs/x"])
@pytest.mark.parametrize("headers", [{}, {"host": "evil.example"}], ids=["own", "foreign"])
def test_every_answer_is_strict(client, path, headers):
    answer = client.get(path, headers=headers)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/api/jobs/..%2f..%2f/strip.png",
        "/api/jobs/./objects.json",
        "/api/jobs/%2e%2e/project.zip",
        "/api/video/frames/..%2f..%2fobjects.jpg",
        "/api/examples/..%2fproject",
    ],
)
def test_no_path_leaves_the_project(client, path):
    method = "POST" if "examples" in path else "GET"
    answer = client.request(method, path)
    assert answer.status_code in (404, 405)


def test_no_more_than_the_limit_is_taken(client, folder, monkeypatch):
    monkeypatch.setattr("smcd.editor.messages.MAX_BYTES", 1 << 20)
    before = contents(folder)
    answer = client.post("/api/image", content=png() + b"0" * (1 << 20))
    assert (answer.status_code, answer.json()) == (413, {"error": "the file is larger than 1 MB"})
    assert contents(folder) == before
