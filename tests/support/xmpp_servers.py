"""XMPP servers of Debian as processes of a test: prosody, and ejabberd with its archive in mnesia or in SQL.

By hand: `python tests/support/xmpp_servers.py prosody FOLDER PORT` starts one in FOLDER until it is interrupted.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

DOMAIN = "localhost"
GET = "apt-get install prosody ejabberd erlang-p1-sqlite3"
"""Command that gets what the tests need."""
PROSODY = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
modules_enabled = {{ "roster", "saslauth", "disco", "ping", "register_ibr", "smacks", "websocket", "http" }}
modules_disabled = {{ "s2s", "offline" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {tcp} }}
http_ports = {{ {port} }}
http_interfaces = {{ "127.0.0.1" }}
https_ports = {{}}
allow_registration = true
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
consider_websocket_secure = true
authentication = "internal_plain"
storage = "internal"
smacks_max_ack_delay = {ack_s}
log = {{ warn = "{folder}/prosody.log" }}
VirtualHost "localhost"
Component "conference.localhost" "muc"
    modules_enabled = {{ "muc_mam" }}
    muc_log_by_default = true
    max_archive_query_results = 100
"""
EJABBERD = """
hosts: [localhost]
loglevel: warning
default_db: {archive}
auth_method: [{auth}]
sql_type: sqlite
sql_database: "{folder}/ejabberd.db"
auth_password_format: plain
registration_timeout: infinity
listen:
  - port: {port}
    ip: "127.0.0.1"
    module: ejabberd_http
    request_handlers: {{ /ws: ejabberd_http_ws }}
  - port: {tcp}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    starttls: false
websocket_ping_interval: 5
modules:
  mod_disco: {{}}
  mod_mam: {{ db_type: {archive}, default: always, assume_mam_usage: true }}
  mod_muc:
    db_type: {archive}
    access_create: all
    access_persistent: all
    max_users: 500
    max_user_conferences: 500
    default_room_options: {{ mam: true, persistent: true, max_users: 500 }}
  mod_ping: {{ send_pings: true, ping_interval: 5, timeout_action: kill, ping_ack_timeout: 5 }}
  mod_register: {{ access: all }}
  mod_stream_mgmt: {{ resend_on_timeout: if_offline, ack_timeout: {ack_s} }}
"""


def missing(kind: str) -> str:
    """Return why a server of this kind cannot be started, "" if it can."""
    program = "prosody" if kind == "prosody" else "ejabberdctl"
    return "" if shutil.which(program) else f"{program} is not installed: {GET}"


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


class XmppServer:
    """A server in `folder`. Kinds: prosody, mnesia and sql (both ejabberd, by where its archive is).

    start, kill, stop: by signals; the data stay in the folder. `url`: of its WebSocket, `tcp`: of its TCP port.
    """

    def __init__(self, kind: str, folder: Path, port: int = 0, *, ack_s: int = 5) -> None:
        """Write the configuration. `ack_s`: within so many seconds a client must answer stream management."""
        self.kind, self.folder, self.port, tcp = kind, folder, port or free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.tcp = f"tcp://127.0.0.1:{tcp}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        values = {"folder": folder, "port": self.port, "tcp": tcp, "ack_s": ack_s, "archive": kind}
        if kind == "prosody":
            self.url = f"ws://127.0.0.1:{self.port}/xmpp-websocket"
            (folder / "prosody.cfg.lua").write_text(PROSODY.format(**values))
        else:
            self.url = f"ws://127.0.0.1:{self.port}/ws"
            auth = "internal" if kind == "mnesia" else "sql"
            (folder / "ejabberd.yml").write_text(EJABBERD.format(**values, auth=auth))

    def start(self, within_s: float = 40.0) -> None:
        """Start it; return when it listens."""
        folder, env = self.folder, dict(os.environ)
        command = ["prosody", "-F", "--config", str(folder / "prosody.cfg.lua")]
        if self.kind != "prosody":
            env |= {
                "EJABBERD_CONFIG_PATH": str(folder / "ejabberd.yml"), "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
                "ERL_CRASH_DUMP": str(folder / "crash.dump"), "ERL_LIBS": "/usr/lib/x86_64-linux-gnu",
                "HOME": str(folder),
            }  # fmt: skip
            command = ["erl", "-noinput", "+sbwt", "none", "-mnesia", "dir", f'"{folder}/data"', "-s", "ejabberd"]
        with (folder / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=env, cwd=folder)
        (folder / "pid").write_text(str(self.process.pid))
        end = time.monotonic() + within_s
        while not _listens(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                said = (folder / "output.txt").read_text(errors="replace")[-1000:]
                raise RuntimeError(f"{self.kind} does not listen: {said}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill it as a crash does (SIGKILL)."""
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal; no-op if it does not run."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    server = XmppServer(sys.argv[1], Path(sys.argv[2]).absolute(), int(sys.argv[3]))
    server.start()
    print(server.url, server.tcp, flush=True)
    try:
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        server.end()
