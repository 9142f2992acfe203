"""Matrix homeserver Synapse as a process of a test, with SQLite, open registration and without rate limits.

To start it by hand: `python tests/support/serve.py synapse`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from server_processes import ROOT, until_it_listens
from tied import tied

GET = "python -m venv build/synapse && build/synapse/bin/pip install matrix-synapse==1.163.2"
"""Command that installs what the tests need: 144 MB, so in an environment of its own."""
PYTHON = Path(os.environ.get("EARWITNESS_SYNAPSE", ROOT / "build/synapse/bin/python"))
SECRET = "shared-secret-of-a-test"
CONFIG = """
server_name: localhost
pid_file: {folder}/synapse.pid
listeners:
  - {{ port: {port}, type: http, bind_addresses: ["127.0.0.1"], resources: [{{ names: [client], compress: false }}] }}
database: {{ name: sqlite3, args: {{ database: "{folder}/synapse.db" }} }}
log_config: {folder}/log.yaml
media_store_path: {folder}/media
signing_key_path: {folder}/signing.key
registration_shared_secret: {secret}
macaroon_secret_key: only-of-a-test
form_secret: only-of-a-test
report_stats: false
enable_registration: true
enable_registration_without_verification: true
bcrypt_rounds: 4
trusted_key_servers: []
presence: {{ enabled: false }}
rc_message: &free {{ per_second: 100000, burst_count: 100000 }}
rc_registration: *free
rc_login: {{ address: *free, account: *free, failed_attempts: *free }}
rc_joins: {{ local: *free, remote: *free }}
rc_joins_per_room: *free
rc_invites: {{ per_room: *free, per_user: *free, per_issuer: *free }}
rc_room_creation: *free
"""
LOG = """
version: 1
handlers: {{ file: {{ class: logging.FileHandler, filename: {folder}/synapse.log }} }}
root: {{ level: WARNING, handlers: [file] }}
"""


def missing() -> str:
    """Return why Synapse cannot be started, "" if it can."""
    return "" if PYTHON.is_file() else f"matrix-synapse is not installed: {GET}"


class SynapseServer:
    """Synapse with its files in `folder`, at the address `url`."""

    def __init__(self, folder: Path, port: int, python: Path = PYTHON) -> None:
        """Write the configuration. `python`: path of the interpreter that has the package."""
        self.folder, self.port, self._python = folder, port, python
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "homeserver.yaml").write_text(CONFIG.format(folder=folder, port=port, secret=SECRET))
        (folder / "log.yaml").write_text(LOG.format(folder=folder))

    def configured(self) -> list[str]:
        """Make the signing key if there is none; return the command that serves in the foreground."""
        command = [str(self._python), "-m", "synapse.app.homeserver", "-c", str(self.folder / "homeserver.yaml")]
        if not (self.folder / "signing.key").exists():
            with (self.folder / "output.txt").open("ab") as output:
                subprocess.run([*command, "--generate-keys"], stdout=output, stderr=output, check=True)
        return command

    def start(self) -> None:
        """Start the server; return when it listens."""
        command = self.configured()
        with (self.folder / "output.txt").open("ab") as output:
            self.process = tied(command, stdout=output, stderr=output, cwd=self.folder)
        until_it_listens(self.port, self.process, self.folder / "output.txt")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server by the signal `how`, after 20 s by SIGKILL; nothing happens if it does not run."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
