"""The guard: every address that a target file names is checked before the first request, in whatever table it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from earwitness.harness.client.flow import FlowError, HttpRequest, HttpResponse
from earwitness.harness.dialects.protocol import Person
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.dialects.toml.addresses import check_here
from earwitness.harness.dialects.toml.requests import RequestTemplate, address
from earwitness.harness.dialects.toml.template import Template
from earwitness.harness.errors import SettingsError, TargetError

WHOLE = """
[urls]
http = "http://127.0.0.1:1"
socket = "ws://127.0.0.1:1/ws"
hosts = ["localhost"]
[login]
by = "password"
url = "/login"
body = { user = "{email}", password = "{secret}", next = "https://web.example/" }
before = [{ url = "/signup" }]
token = "token"
user_id = "id"
[socket]
headers = { Origin = "https://web.example" }
[[identity]]
place = "backend"
url = "/me"
[probe]
url = "/probe"
[rooms]
requests = [{ url = "/rooms/{label}" }, { url = "/invite", each_member = true }]
[send.request]
url = "/send?back=http://web.example/"
body = { text = "{text}" }
[frames]
kind = "type"
message = { is = "message", text = "text", sender = "from" }
[history]
url = "/history/{room}"
text = "text"
[databases]
auth = { dsn = "env:AUTH_DSN", query = "select id, email from users where email like $1" }
[contract]
"""
DSN = "postgres://u:pw@127.0.0.1/a"
CONSENT = "allow_load = true\nmax_users = 10\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def make(old: str = "", new: str = "", *, dsn: str = DSN, before: str = "") -> Path:
        assert old in WHOLE
        monkeypatch.setenv("AUTH_DSN", dsn)
        path = tmp_path / "chat.toml"
        path.write_text(before + WHOLE.replace(old, new, 1))
        return path

    return make


def test_addresses_of_this_machine_need_nobodys_consent(write: Callable[..., Path]) -> None:
    """Addresses in headers, in bodies and in queries are not spoken to."""
    target = load_target(write())
    assert target.allow_load
    assert target.network.hosts == {"localhost"}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("http://127.0.0.1:1", "http://away.example", "urls.http"),
        ("ws://127.0.0.1:1", "ws://away.example", "urls.socket"),
        ('["localhost"]', '["away.example"]', "urls.hosts"),
        ('"/login"', '"http://away.example/login"', "login.url"),
        ('"/signup"', '"HTTPS://Away.example./signup"', "login.before[0].url"),
        ('"/me"', '"http://away.example/me"', "identity[0].url"),
        ('"/probe"', '"http://away.example/?u={user_id}"', "probe.url"),
        ('"/rooms/{label}"', '"http://away.example/{label}"', "rooms.requests[0].url"),
        ('"/invite"', '"http://away.example:8443/invite"', "rooms.requests[1].url"),
        ('"/send?back=http://web.example/"', '"http://127.0.0.1@away.example/"', "send.request.url"),
        ('"/history/{room}"', '"http://away.example/{room}"', "history.url"),
    ],
)
def test_an_address_in_any_table(write: Callable[..., Path], old: str, new: str, key: str) -> None:
    """It is named with its key, before anything is sent; with the consent of its owner it is one of the hosts."""
    with pytest.raises(TargetError) as caught:
        load_target(write(old, new))
    assert f"away.example ({key}) is not this machine" in str(caught.value)
    assert "write allow_load = true and max_users = 100" in str(caught.value)
    assert load_target(write(old, new, before=CONSENT)).network.hosts == {"localhost", "away.example"}


@pytest.mark.parametrize(
    ("dsn", "host"),
    [
        ("postgres://u:pw@db.example/a", "db.example"), ("postgres://127.0.0.1,db.example:1/a", "db.example"),
        ("postgres:///a?host=db.example", "db.example"), ("postgres:///a?host=/run/postgres", ""),
        ("postgres://u:pw@[::1]:5432/a", ""),
    ],
)  # fmt: skip
def test_databases_are_addresses_too(write: Callable[..., Path], dsn: str, host: str) -> None:
    """Named without user and password."""
    if not host:
        assert load_target(write(dsn=dsn)).allow_load
        return
    with pytest.raises(TargetError, match=rf"{host} \(databases\.auth\.dsn\) is not this machine") as caught:
        load_target(write(dsn=dsn))
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("compress", [False, True])
def test_compression_is_offered_only_if_the_file_says_so(write: Callable[..., Path], compress: bool) -> None:
    path = write()
    if compress:
        path.write_text(path.read_text().replace("[urls]", "[urls]\ncompress = true"))
    assert load_target(path).network.compress is compress


def test_a_database_that_the_environment_names(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's own variable stands in for a host that the DSN leaves out."""
    monkeypatch.setenv("PGHOST", "db.example")
    with pytest.raises(TargetError, match=r"db\.example \(databases\.auth\.dsn\)"):
        load_target(write(dsn="postgres:///a"))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"/me"', '"http://{user_id}.example/me"', "identity[0].url has a placeholder in its host"),
        ('"/me"', '"ftp://127.0.0.1/me"', "identity[0].url begins with ftp://"),
        ('"/me"', '"http://[::1/me"', "identity[0].url is no address"),
        ('["localhost"]', '["http://away.example"]', "urls.hosts = 'http://away.example' is no host"),
        ('["localhost"]', '["away.example/x"]', "urls.hosts = 'away.example/x' is no host"),
        ("[login]", 'key_file = "k.pem"\n[login]', "urls.key_file = 'k.pem': there is no such file"),
        ("[login]", 'certificate_file = "c.pem"\n[login]', "urls.certificate_file = 'c.pem': there is no such file"),
        ("[login]", "frame_bytes_max = 0\n[login]", "urls.frame_bytes_max = 0 is below 1"),
    ],
)
def test_faults(write: Callable[..., Path], old: str, new: str, fault: str) -> None:
    """What the guard could not check is a fault of the file."""
    with pytest.raises(SettingsError) as caught:
        load_target(write(old, new))
    assert any(one.startswith(fault) for one in caught.value.faults), caught.value.faults


def test_a_certificate_that_is_none(write: Callable[..., Path], tmp_path: Path) -> None:
    """Said before the start, not at the first of many connections."""
    (tmp_path / "c.pem").write_text("nothing")
    with pytest.raises(TargetError, match=r"The client certificate .*c\.pem.* cannot be used"):
        load_target(write("[login]", 'certificate_file = "c.pem"\n[login]'))


def test_a_relative_address_with_another_in_its_query() -> None:
    """It is still relative."""
    assert address("http://h/api", "/go?to=http://x/") == "http://h/api/go?to=http://x/"
    assert address("http://h/api", "https://x/go") == "https://x/go"
    for odd in ("\t//evil.example/x", "/\n/ex\u2100mple.com", "//evil.example/x"):
        assert urlsplit(address("http://h/api", odd)).netloc == "h"


def test_a_redirect_is_named() -> None:
    """Where it leads to is told without its query, in which codes stand."""
    answer = HttpResponse(302, {"location": "https://away.example/in?code=1"}, b"")
    error = FlowError("login", "200", answer)
    assert "302 b'', a redirect to https://away.example/in, which is not followed" in str(error)


def test_a_login_function_that_asks_somebody_else(write: Callable[..., Path], tmp_path: Path) -> None:
    """Its addresses are not known before: the network refuses those that `hosts` does not name."""
    (tmp_path / "away.py").write_text(
        "from earwitness.harness.client.flow import HttpRequest\n"
        "def log_in(person):\n"
        "    answer = yield HttpRequest('GET', 'http://away.example/')\n"
        "    return answer.json()\n"
    )
    path = write()
    text = path.read_text()
    begin, end = text.index("[login]"), text.index("[socket]")
    path.write_text(f'{text[:begin]}[login]\nby = "function"\nfunction = "away:log_in"\n{text[end:]}')
    target = load_target(path)
    flow = target.login(Person(number=0, name="n", email="e"))
    request: HttpRequest = next(flow)
    with pytest.raises(TargetError, match=r"away\.example, which the target file does not name"):
        target.network.check(request.url)
    flow.close()


def test_addresses_of_the_reference_platform() -> None:
    """It is for this machine only; no setting, and no platform that is up, leads a run elsewhere."""
    check_here({"frontend.api_url": "http://127.0.0.1:1", "backend.redis": "test_redis", "edge": ""})
    for key, url in (("frontend.api_url", "https://away.example/api"), ("backend.redis", "redis://:pw@away.example/0")):
        with pytest.raises(TargetError, match=rf"{key} names away\.example, which is not this machine") as caught:
            check_here({key: url})
        assert "pw" not in str(caught.value)


def test_own_headers_replace_those_of_the_same_name() -> None:
    """Names of headers have no case: a request with two spellings of one would be sent with both."""
    own = {"Authorization": Template("Basic {login}"), "content-Type": Template("text/x")}
    template = RequestTemplate(
        name="probe", method="POST", url=Template("/in"), headers=own, body=Template("x"), content_type="text/plain",
        accept=(200,),
    )  # fmt: skip
    request = template.fill("http://there", {"login": "ann"}, {"authorization": "Bearer t", "x-more": "1"})
    assert request.headers == {"x-more": "1", "Authorization": "Basic ann", "content-Type": "text/x"}
