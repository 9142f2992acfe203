"""Somebody else's platform, known only by its target.toml: another envelope, another login, no sequence numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from certificates import NAMED, make_certificates
from forward_proxy import ForwardProxy


def test_it_passes(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """Order, isolation, loss and identity are judged without one line of Python about it."""
    run = locust("-u", "20", "-r", "20", "-t", "6s", "--target", str(other_chat()))
    assert run.code == 0, run.out
    examined = {c["id"] for c in run.verdict["checks"] if c["examined"] > 0 and c["outcome"] == "PASS"}
    assert {"I1", "I2", "I5a", "I5b", "I6", "I8", "I10", "I12", "I15"} <= examined
    assert "I4" not in examined


def test_one_lost_delivery_is_found(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """One delivery in thousands is dropped: FAIL, by the check of deliveries, and the witness names the message."""
    run = locust("-u", "20", "-r", "20", "-t", "6s", "--target", str(other_chat("--lose", "2000")))
    assert run.code == 1, run.out
    lost = run.check("I5b")
    assert (lost["outcome"], lost["violations"]) == ("FAIL", 1)
    assert run.broken == ["I5b"]


TALKING = "tests/load/stories/talking.py"


def test_accounts_and_a_room_that_were_there_before_spoken_to_by_http(
    locust: Callable[..., Any], other_chat: Callable[..., Path]
) -> None:
    """Requests are the messages, a burst among them; one answer is a 503 after the message was taken, and a stranger
    talks all the time: nothing of that is a violation. No secret of an account is written down."""
    file = other_chat("--stumble", "40", file="by_http.toml")
    run = locust("-u", "10", "-r", "10", "-t", "5s", "--target", str(file), story=TALKING)
    assert run.code == 0, run.out
    examined = {c["id"] for c in run.verdict["checks"] if c["examined"] > 0 and c["outcome"] == "PASS"}
    assert {"I1", "I2", "I5a", "I5b", "I6", "I8", "I10", "I12", "I15"} <= examined
    assert run.check("I4")["outcome"] != "PASS"
    assert [burst["count"] for burst in run.verdict["bursts"]] == [50]
    assert run.recorded("INFO") == 1
    assert run.recorded("OK") + 1 == run.recorded("INVOKE") > 100
    written = b"".join(path.read_bytes() for path in run.directory.rglob("*") if path.is_file())
    assert b"own password" not in written


def test_the_main_story_with_messages_by_http(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """An answer belongs to its request: its scope (I14) is judged, so that nothing stays UNKNOWN. `urls.http` is a
    bare host and there is no [probe], so the probes ask for the root."""
    file = other_chat(file="by_http.toml")
    file.write_text(file.read_text().replace('[probe]\nurl = "/me"\n', ""))
    run = locust("-u", "6", "-r", "6", "-t", "6s", "--target", str(file))
    # Few users may do without a probe in so short a run: then its thresholds have no data. None may be missed.
    assert run.verdict["outcome"] == "PASS", run.out
    assert not [row for row in run.verdict["thresholds"] if row["met"] is False], run.out
    assert run.check("I14")["outcome"] == "PASS"
    assert run.check("I14")["examined"] == run.recorded("OK")
    assert run.check("I4")["outcome"] != "PASS"


def test_connections_cut_while_a_request_is_under_way(
    locust: Callable[..., Any], other_chat: Callable[..., Path]
) -> None:
    """The story of cut sockets sends requests where the platform takes those, and cuts while one is unanswered."""
    run = locust(
        "-u", "6", "-r", "6", "-t", "4s", "--target", str(other_chat(file="by_http.toml")),
        story="locustfiles/ws_reconnect.py",
    )  # fmt: skip
    assert run.check("H7")["outcome"] == "PASS", run.out
    assert "did not occur, so not verified: cut-in-mid-send" not in run.out
    assert not run.broken, run.out


@pytest.mark.campaign
def test_the_same_room_with_one_lost_delivery(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """Among strangers a lost message of ours is still found."""
    file = other_chat("--lose", "200", file="by_http.toml")
    run = locust("-u", "10", "-r", "10", "-t", "4s", "--target", str(file), story=TALKING)
    assert run.code == 1, run.out
    assert run.broken == ["I5b"]


def test_more_users_than_accounts(refused: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """Refused in a sentence before anybody logs in."""
    run = refused("-u", "11", "-t", "2s", "--target", str(other_chat(file="by_http.toml")), story=TALKING)
    assert run.code == 2, run.out
    assert "has 10 accounts, but 11 users were planned" in run.out
    assert "Traceback" not in run.out


def test_more_users_than_its_owner_allows(refused: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """Refused at once in one sentence, not after the run time, and no run directory says otherwise."""
    file = other_chat()
    file.write_text(file.read_text().replace('name = "other chat"', 'name = "other chat"\nmax_users = 2'))
    run = refused("-u", "5", "-t", "10m", "--target", str(file))
    assert run.code == 2, run.out
    assert "other chat allows 2 users (max_users), 5 were asked for" in run.out
    assert not (run.runs / "latest").exists()


@pytest.mark.campaign
def test_how_connections_ended(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """Close code and reason of the platform with their count, in the verdict's text and in verdict.json. Escapes in
    them, and in names, are shown: no terminal obeys them, and they forge no line of ours."""
    file = other_chat("--tire", "3", "--rude")
    file.write_text(file.read_text().replace('user = "me"', 'user = "me", replica = "node"'))
    run = locust("-u", "4", "-r", "4", "-t", "5s", "--target", str(file), story=TALKING)
    row = next(row for row in run.verdict["endings"] if row["by"] == "platform")
    reason = "\x1b[2J\x1b[31mEVIL\x07\x9b\nearwitness: PASS"
    assert (row["code"], row["reason"]) == (4002, reason)
    assert row["count"] == sum(row["count"] for row in run.verdict["endings"] if row["by"] == "platform") > 3
    ending = f"connections ended by the platform: {row['count']} with 4002 {reason!r}"
    assert ending in " ".join(run.out.split())
    assert r"node\x1b[2J\x1b[31mEVIL\x07\x9b\x0aearwitness: PASS" in run.out
    for text in (run.out, (run.directory / "verdict.txt").read_text()):
        assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
        assert "\nearwitness: PASS" not in text
    ET.fromstring((run.directory / "junit.xml").read_bytes())


def test_a_platform_that_dies_in_mid_run(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """One line says when it stopped answering, and how its connections ended."""
    file = other_chat("--die", "40")
    run = locust("-u", "5", "-r", "5", "-t", "7s", "--drain-s", "3", "--target", str(file), story=TALKING)
    assert run.code == 3, run.out
    assert run.verdict["stopped"]["ended"] == 5
    assert run.out.count("Note: the platform stopped answering") == 1
    assert "connections ended by the platform: 5 without a close frame (1006)" in run.out


def test_a_wrong_path(refused: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """A path that finds no text is the file's fault, not a loss of every message: said before anything begins."""
    file = other_chat()
    file.write_text(file.read_text().replace("what.body", "what.bdoy"))
    run = refused("-u", "5", "-t", "10m", "--target", str(file))
    assert run.code == 2, run.out
    assert "frames.message.text = 'what.bdoy' finds no text in any of 4 frames" in run.out
    assert "the keys at 'what' are by, body, n" in run.out
    assert not (run.runs / "latest").exists()


def test_tls_with_certificates_of_both_sides_through_a_proxy(
    locust: Callable[..., Any], other_chat: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One configuration for the rehearsal, the load and the final read: the host can be found by the proxy only, its
    authority is known to `ca_file` only, and it wants to see a certificate."""
    files = make_certificates(tmp_path)
    file = other_chat("--tls", files.certificate, files.key, files.authority)
    text = file.read_text().replace("http://127.0.0.1", f"https://{NAMED}").replace("ws://127.0.0.1", f"wss://{NAMED}")
    names = (("ca_file", files.authority), ("certificate_file", files.certificate), ("key_file", files.key))
    shown = "\n".join(["[urls]", *(f'{key} = "{Path(path).name}"' for key, path in names)])
    file.write_text("allow_load = true\nmax_users = 4\n" + text.replace("[urls]", shown))
    proxy = ForwardProxy()
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    try:
        run = locust("-u", "4", "-r", "4", "-t", "3s", "--target", str(file), story=TALKING)
    finally:
        proxy.close()
    assert run.code == 0, run.out
    way = f"{NAMED} is reached through the proxy {proxy.url} named by HTTPS_PROXY"
    assert run.verdict["warnings"] == [f"{way}: what it does counts as the platform's."]
    assert run.check("I5a")["examined"] > 0
    [(way, count)] = Counter(proxy.asked).items()
    assert re.fullmatch(rf"CONNECT {NAMED}:\d+", way)
    assert count >= 8
