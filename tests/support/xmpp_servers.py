"""XMPP servers of Debian as processes of a test: prosody, and ejabberd with its archive in mnesia or in SQL.

To start one by hand: `python tests/support/serve.py prosody`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from server_processes import free_port

DOMAIN = "localhost"
GET = "apt-get install prosody ejabberd erlang-p1-sqlite3"
"""Command that installs what the tests need."""
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
    request_handlers: {{ /ws: ejabberd_http_ws, /xmpp-websocket: ejabberd_http_ws }}
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


START = """#!/bin/bash
# Start the server in the background; succeed when it listens.
cd {folder} || exit 1
{exports}
(: < /dev/tcp/127.0.0.1/{port}) 2> /dev/null && {{ echo "port {port} is taken" >> output.txt; exit 1; }}
setsid {command} >> output.txt 2>&1 < /dev/null &
echo $! > pid
for _ in $(seq 400); do
  (: < /dev/tcp/127.0.0.1/{port}) 2> /dev/null && exit 0
  kill -0 $(cat pid) || exit 1
  sleep 0.1
done
exit 1
"""
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
"""Folder in which Debian installs the modules of ejabberd."""


class XmppServer:
    """Server with its files in `folder`. Kinds: prosody, mnesia and sql (both ejabberd; the kind names its archive).

    url, tcp     its addresses
    command      the server itself, in the foreground, with the environment variables `environment`
    restart      command that starts it, also after it was killed; `folder / "pid"` holds its process id
    """

    def __init__(self, kind: str, folder: Path, port: int = 0, *, ack_s: int = 5) -> None:
        """Write the configuration. `ack_s`: seconds within which a client must answer requests of stream management."""
        self.kind, self.folder, port, tcp = kind, folder, port or free_port(), free_port()
        self.tcp = f"tcp://127.0.0.1:{tcp}"
        self.url = f"ws://127.0.0.1:{port}/{'xmpp-websocket' if kind == 'prosody' else 'ws'}"
        self.restart = f"bash {folder}/start"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (folder / "certs").mkdir(exist_ok=True)
        values = {"folder": folder, "port": port, "tcp": tcp, "ack_s": ack_s, "archive": kind}
        if kind == "prosody":
            (folder / "prosody.cfg.lua").write_text(PROSODY.format(**values))
            self.environment, self.command = dict[str, str](), f"prosody -F --config {folder}/prosody.cfg.lua"
        else:
            auth = "internal" if kind == "mnesia" else "sql"
            (folder / "ejabberd.yml").write_text(EJABBERD.format(**values, auth=auth))
            self.environment = {
                "EJABBERD_CONFIG_PATH": f"{folder}/ejabberd.yml", "EJABBERD_LOG_PATH": f"{folder}/ejabberd.log",
                "ERL_CRASH_DUMP": f"{folder}/crash.dump", "ERL_LIBS": LIBRARIES, "HOME": str(folder),
            }  # fmt: skip
            self.command = f"erl -noinput +sbwt none -mnesia dir '\"{folder}/data\"' -s ejabberd"
        exports = "\n".join(f"export {name}={value}" for name, value in self.environment.items())
        (folder / "start").write_text(START.format(folder=folder, exports=exports, command=self.command, port=port))

    def start(self) -> None:
        """Start the server; return when it listens. Raises RuntimeError if it does not."""
        if subprocess.run(["bash", str(self.folder / "start")], check=False).returncode:
            said = (self.folder / "output.txt").read_text(errors="replace")[-1000:]
            raise RuntimeError(f"{self.kind} does not listen: {said}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server by the signal `how`, after 15 s by SIGKILL; return when its process has ended."""
        pid = int((self.folder / "pid").read_text())
        for signal_number, within_s in ((how, 15.0), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal_number)
            end = time.monotonic() + within_s
            while _runs(pid) and time.monotonic() < end:
                time.sleep(0.05)
            if not _runs(pid):
                return


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
