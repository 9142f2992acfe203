"""Target files: every fault at once, each with its key, the problem and a valid example; nothing unsafe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earwitness.checks.history.record import Place
from earwitness.harness.client.network import HERE, host_of
from earwitness.harness.dialects.protocol import Person
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.registry import check_users, load_target, open_target, shipped
from earwitness.harness.errors import Exit, SettingsError, TargetError

SMALL = """
[urls]
http = "http://127.0.0.1:1"
socket = "ws://127.0.0.1:1/ws"
[login]
by = "password"
url = "/login"
body = { user = "{email}", password = "{secret}" }
token = "token"
user_id = "id"
[send]
frame = { type = "send", room = "{label}", id = "{id}", text = "{text}" }
[frames]
kind = "type"
message = { is = "message", text = "text", sender = "from" }
ack = { is = "ack", id = "id" }
[contract]
history = false
"""

SHIPPED = Path(__file__).resolve().parents[2] / "harness" / "dialects" / "shipped"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def make(text: str) -> Path:
        path = tmp_path / "chat.toml"
        path.write_text(text)
        return path

    return make


def faults_of(path: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_target(path)
    assert caught.value.exit_code == Exit.CANNOT_RUN
    return caught.value.faults


def test_a_small_file(write: Callable[[str], Path]) -> None:
    """Few lines are enough; the name is the file's."""
    target = load_target(write(SMALL))
    assert (target.name, target.allow_load, target.max_users) == ("chat", True, None)
    assert not target.contract.history
    assert (target.says_joined, target.parts.sends_by_http, target.parts.has_rooms) == (False, None, None)


@pytest.mark.parametrize("header", ["email,password", "name,email,secret"])
def test_accounts_in_csv(write: Callable[[str], Path], tmp_path: Path, header: str) -> None:
    """A header names the columns; `password` is another word for `secret`, and an address may stand for a name."""
    columns = header.split(",")
    rows = [[f'"{column}, {n}"' for column in columns] for n in (1, 2)]
    (tmp_path / "people.csv").write_text("\n".join([header, *map(",".join, rows)]) + "\n", "utf-8-sig")
    people = load_target(write('accounts = "people.csv"\n' + SMALL)).parts.people
    assert [person.email for person in people] == ["email, 1", "email, 2"]
    assert [person.name for person in people] == [f"{columns[0]}, 1", f"{columns[0]}, 2"]
    assert [person.secret for person in people] == [f"{columns[-1]}, 1", f"{columns[-1]}, 2"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("people.csv", "email,password\na@x,pw-1\nb@x\n", "another number of fields than its header in row 2"),
        ("people.csv", "email,password\n", "holds no rows"),
        ("people.csv", 'email,password\n"a,b\n', "cannot be read"),
        ("people.txt", "email,password\na@x,pw-1\n", "looks like CSV; name it *.csv"),
        ("people.txt", "a@x;pw-1\nb@x;pw-2\n", "looks like CSV; name it *.csv"),
        ("people.txt", "a@x\tpw-1\nb@x\tpw-2\n", "looks like CSV; name it *.csv"),
        ("people.txt", "ann:pw-1\nbob:pw-2\n", "looks like CSV; name it *.csv"),
        ("people.csv", "a@x,pw-1\nb@x,pw-2\n", "has neither a name nor an email in row 1"),
        ("people.csv", "user,password\nann,pw-1\n", "has neither a name nor an email in row 1"),
        ("people.json", '[{"user": "ann", "password": "pw-1"}]', "has neither a name nor an email in row 1"),
        ("people.json", "[" * 100_000, "cannot be read"),
    ],
)
def test_accounts_that_are_not_understood(
    write: Callable[[str], Path], tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    """No password becomes a name, which would be shown."""
    (tmp_path / name).write_text(text)
    faults = "\n".join(faults_of(write(f'accounts = "{name}"\n{SMALL}')))
    assert sentence in faults
    assert "pw-1" not in faults


def test_tokens_as_lines_of_json(write: Callable[[str], Path], tmp_path: Path) -> None:
    """Commas inside JSON make no CSV of it."""
    (tmp_path / "tokens.txt").write_text('{"token": "tok-1", "user_id": "a"}\n{"token": "tok-2", "user_id": "b"}\n')
    login = '[login]\nby = "tokens"\nfile = "tokens.txt"\n'
    target = load_target(write(SMALL[: SMALL.index("[login]")] + login + SMALL[SMALL.index("[send]") :]))
    with pytest.raises(StopIteration) as end:
        next(target.login(Person(number=1, name="bob", email="bob@x")))
    assert (end.value.value.token, end.value.value.user_id) == ("tok-2", "b")


def test_tokens_in_csv(write: Callable[[str], Path], tmp_path: Path) -> None:
    """The same for tokens."""
    (tmp_path / "tokens.csv").write_text("email,token\na@x,tok-1\nb@x,tok-2\n")
    login = '[login]\nby = "tokens"\nfile = "tokens.csv"\nuser_id = "email"\n'
    target = load_target(write(SMALL[: SMALL.index("[login]")] + login + SMALL[SMALL.index("[send]") :]))
    with pytest.raises(StopIteration) as end:
        next(target.login(Person(number=1, name="bob", email="bob@x")))
    assert (end.value.value.token, end.value.value.user_id) == ("tok-2", "b@x")


def test_a_secret_that_no_header_can_have(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a line break in the environment: said before anybody connects, and not shown."""
    monkeypatch.setenv("CHAT_API_KEY", "first line\nsecond line")
    [fault] = faults_of(
        write(SMALL.replace("[send]", '[socket]\nheaders = { X-Api-Key = "env:CHAT_API_KEY" }\n[send]'))
    )
    assert fault.startswith("socket.headers.X-Api-Key has a line break")
    assert "second line" not in fault


def test_all_faults_at_once(write: Callable[[str], Path]) -> None:
    """One run of the tool shows everything that has to be mended."""
    text = """
max_user = 5
[urls]
socket = "http://127.0.0.1:1/ws"
[login]
by = "passwort"
[send]
frame = { t = "{txt}" }
[frames]
kind = "type"
message = { is = "m" }
[contract]
sequenze = "none"
"""
    faults = "\n".join(faults_of(write(text)))
    for sentence in (
        "max_user is not known here (did you mean max_users?)",
        "urls.socket = 'http://127.0.0.1:1/ws' is no ws address; for example socket = \"ws://127.0.0.1:8000/ws\"",
        "login.by = 'passwort' is none of password, tokens, mint, function",
        "send.frame uses the unknown placeholder {txt} (known: email, id, label, n, name, number, room, secret, text,",
        'frames.message.text is missing; for example text = "text"',
        "contract.sequenze is not known here (did you mean sequence?)",
    ):
        assert sentence in faults


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("history = false", "", "contract.history is promised, but there is no [history]"),
        ("history = false", "history = false\nresume = true", "contract.resume is promised, but there is no [resume]"),
        ("ack = {", "akk = {", "frames.akk is not known here (did you mean ack?)"),
        ('ack = { is = "ack", id = "id" }', "", "contract.acknowledges is promised, but there is no [frames.ack]"),
        (', sender = "from"', "", "contract.names_sender is promised, but [frames.message] has no sender"),
        ("history = false", 'history = false\nsequence = "contiguous"', "[frames.message] has no seq"),
        ('token = "token"', 'token = "a..b"', "login.token = 'a..b' is no path"),
        ('token = "token"', 'token = "t"\ncookie = "c"', "login.token and cookie exclude each other"),
        ('by = "password"', "by = 3", "login.by = 3 is not text"),
        (', text = "{text}"', "", "send.frame does not contain {text}"),
        ('body = { user = "{email}"', 'body = { user = "{mail}"', "login.body uses the unknown placeholder {mail}"),
        ('url = "/login"', "", 'login.url is missing; for example url = "/login"'),
        ("http://127.0.0.1:1", "http://[::1", "urls.http = 'http://[::1' is no address (Invalid IPv6 URL)"),
        ("http://127.0.0.1:1", "http://127.0.0.1:99999", "urls.http = 'http://127.0.0.1:99999' is no address"),
        ("ws://127.0.0.1:1/ws", "ws://:80/ws", "urls.socket = 'ws://:80/ws' names no host"),
        ("[send]", '[socket]\nheaders = { "X Key" = "1" }\n[send]', "socket.headers has the name 'X Key', which no"),
        ("[send]", '[http]\ncookies = { sid = "日本" }\n[send]', "http.cookies.sid has a line break, or a character"),
        ("[send]", "[send]\nframes = 1", "send.frames is not known here (did you mean frame?)"),
        ("[send]", '[history]\nurl = "/h"\npaging = "after"\ntext = "t"\n[send]', "does not contain {after}"),
        ("[send]", '[rooms]\nexisting = [{ label = "x", members = "some" }]\n[send]', "neither \"all\" nor a list"),
        ("[send]", '[faults.down]\non = "x"\n[send]', "faults.down.off is missing"),
        ("[send]", '[databases.auth]\ndsn = "env:NO_DSN"\nquery = "delete from users"\n[send]', "select or with"),
        ("[send]", '[databases.auth]\ndsn = "env:NO_DSN"\nquery = "select 1"\n[send]', "NO_DSN, which is not set"),
        ("[send]", '[databases.auth]\ndsn = "postgres://u:pw@h/d"\nquery = "select 1"\n[send]', "is written out"),
        ("[send]", '[[identity]]\nplace = "moon"\nurl = "/me"\n[send]', "identity[0].place = 'moon' is none of"),
        ("[login]", "max_users = 0\n[login]", "urls.max_users is not known here"),
        ("[urls]", "max_users = 0\n[urls]", "max_users = 0 is below 1"),
        ("[urls]", "allow_load = 1\n[urls]", "allow_load = 1 is not true or false"),
        ("[urls]", 'accounts = "nobody.json"\n[urls]', "accounts cannot be read"),
    ],
)  # fmt: skip
def test_each_fault(write: Callable[[str], Path], old: str, new: str, sentence: str) -> None:
    """Key, problem and example of one fault in a file that is right otherwise."""
    assert old in SMALL
    assert sentence in "\n".join(faults_of(write(SMALL.replace(old, new, 1))))


def test_secrets_are_not_told(write: Callable[[str], Path]) -> None:
    """A password that was written out by mistake does not appear in the complaint about it."""
    text = SMALL.replace("[send]", '[databases.auth]\ndsn = "postgres://u:hunter2@h/d"\nquery = "select 1"\n[send]')
    assert "hunter2" not in "\n".join(faults_of(write(text)))


def test_no_file_and_no_toml(write: Callable[[str], Path], tmp_path: Path) -> None:
    """A wrong path and a torn file are one sentence each."""
    assert "there is no such file" in faults_of(tmp_path / "none.toml")[0]
    assert "is no valid TOML" in faults_of(write("[urls"))[0]


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        ("", "allow_load = true and max_users = 100"),
        ("allow_load = true\n", "write max_users = 100"),
        ("max_users = 10\n", "write allow_load = true"),
    ],
)
def test_load_on_others_needs_consent(write: Callable[[str], Path], lines: str, missing: str) -> None:
    """An address that is not this machine needs both words of its owner, whichever address it is."""
    for old, new in (("http://127.0.0.1:1", "https://chat.example.org"), ("ws://127.0.0.1:1/ws", "wss://10.0.0.7/ws")):
        with pytest.raises(TargetError) as caught:
            load_target(write(lines + SMALL.replace(old, new)))
        assert missing in str(caught.value)
        assert caught.value.exit_code == Exit.CANNOT_RUN
    text = "allow_load = true\nmax_users = 10\n" + SMALL.replace("127.0.0.1", "chat.example.org")
    assert load_target(write(text)).max_users == 10


def test_too_many_users(write: Callable[[str], Path]) -> None:
    """More users than the owner allows is refused before anything is sent."""
    target = load_target(write("max_users = 10\n" + SMALL))
    check_users(target, 10)
    with pytest.raises(TargetError, match=r"allows 10 users .* 11 were asked for"):
        check_users(target, 11)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:80/x", True), ("ws://[::1]:1", True), ("http://localhost", True), ("http://127.9.9.9", True),
        ("http://10.0.0.1", False), ("http://chat.example.org", False), ("http://localhost.example.org", False),
        ("http://0.0.0.0", False), ("http://127.0.0.1.example.org", False), ("http://user@10.0.0.1", False),
    ],
)  # fmt: skip
def test_loopback(url: str, here: bool) -> None:
    """What counts as this machine."""
    assert (host_of(url) == HERE) is here


def test_databases(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Addresses with passwords come from the environment or from a file beside the target file."""
    monkeypatch.setenv("CHAT_AUTH_DSN", "postgres://u:pw@127.0.0.1/a")
    (tmp_path / "main.dsn").write_text("postgres://u:pw@127.0.0.1/m\n")
    text = SMALL.replace(
        "[send]",
        '[databases]\nauth = { dsn = "env:CHAT_AUTH_DSN", query = "select id, email from u where email like $1" }\n'
        'main = { dsn = "file:main.dsn", query = "with x as (select 1) select id, email from v" }\n[send]',
    )
    databases = load_target(write(text)).parts.databases
    assert databases[Place.AUTH_DATABASE].dsn == "postgres://u:pw@127.0.0.1/a"
    assert databases[Place.MAIN_DATABASE].dsn == "postgres://u:pw@127.0.0.1/m"
    assert "pw@" not in repr(databases)


def test_open_target(write: Callable[[str], Path]) -> None:
    """A run's description opens the same target again."""
    endpoints: dict[str, Any] = {"edge": "http://127.0.0.1:1", "auth": "http://a", "frontend": "http://f"}
    description = {"kind": "reference", "endpoints": endpoints, "options": {"via": "query"}}
    target = open_target(description)
    assert isinstance(target, ReferenceTarget)
    assert target.via == "query"
    assert open_target({"kind": "file", "path": str(write(SMALL))}).name == "chat"
    with pytest.raises(TargetError):
        open_target({"kind": "xmpp"})
    with pytest.raises(SettingsError) as caught:
        open_target({"kind": "reference", "endpoints": {}, "options": {"via": "pigeon"}})
    assert len(caught.value.faults) == 4


def test_a_mistyped_login_is_one_fault_with_its_way_out(write: Callable[[str], Path]) -> None:
    """The other keys are read as those of the closest way; without one nobody knows what they should be."""
    login = '[login]\nby = "WAY"\nfile = "tokens.txt"\ncolour = "red"\n'
    text = SMALL[: SMALL.index("[login]")] + login + SMALL[SMALL.index("[send]") :]
    faults = [fault for fault in faults_of(write(text.replace("WAY", "tokns"))) if "cannot be read" not in fault]
    assert [fault.partition(" ")[0] for fault in faults] == ["login.by", "login.colour"]
    assert "(did you mean tokens?)" in faults[0]
    [fault] = faults_of(write(text.replace("WAY", "xyz")))
    assert fault.startswith("login.by = 'xyz' is none of password, tokens, mint, function; for example")


def test_faults_of_promises_are_told_like_all_others(write: Callable[[str], Path]) -> None:
    """Each with its key and a line that would do, in the order of the file's keys."""
    promises = 'history = false\nordered = 1\ndelivery_bound_s = -1\nsequence = "contigous"\nname = 3'
    assert faults_of(write(SMALL.replace("history = false", promises))) == [
        'contract.name = 3 is not text; for example name = "unnamed"',
        "contract.ordered = 1 is not true or false; for example ordered = true",
        "contract.sequence = 'contigous' is none of contiguous, increasing, none (did you mean contiguous?); "
        'for example sequence = "none"',
        "contract.delivery_bound_s = -1 is below 0; for example delivery_bound_s = 5.0",
    ]
    assert "contract = 5 is not a table" in faults_of(write("contract = 5\n" + SMALL[: SMALL.index("[contract]")]))[0]


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_dialect_is_short(name: str) -> None:
    """At most 150 lines, so that it can be read as an example."""
    assert len((SHIPPED / f"{name}.py").read_text("utf-8").splitlines()) <= 150


def test_a_mistyped_column_of_accounts(write: Callable[[str], Path], tmp_path: Path) -> None:
    """It is refused where a column is missing that it resembles; other columns are none of our business."""
    (tmp_path / "people.csv").write_text("name,Secret,team\nann,word,red\n")
    [fault] = faults_of(write('accounts = "people.csv"\n' + SMALL))
    assert fault.startswith("accounts has a column Secret: did you mean secret?")
    assert "word" not in fault
    (tmp_path / "people.csv").write_text("email,username,secret\na@x.example,ann,word\n")
    assert load_target(write('accounts = "people.csv"\n' + SMALL)).parts.people[0].email == "a@x.example"
