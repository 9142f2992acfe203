"""A stand-in service, run as a program: answers HTTP with its name and pid on the socket that it inherits.

Its settings, in EARWITNESS_SERVICE: name, fd, and optionally `last_words` (say them and exit 3 at once), `unready`
(answer 503), `deaf` (ignore SIGTERM), `child` (have a sleeping child process, named in the answer),
`fails_to_take_over` (end when it is to replace another process), `clock_offset` (of the time that it tells) unless it
`ignores_clock`, `shows_environment` (say the names of its variables).
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time


def main() -> None:
    settings = json.loads(os.environ["EARWITNESS_SERVICE"])
    print("hello from", settings["name"], flush=True)
    if settings.get("shows_environment"):
        print(*sorted(os.environ))
    if "last_words" in settings:
        sys.exit(print(settings["last_words"]) or 3)
    if settings.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True).pid if settings.get("child") else None
    answer = {"name": settings["name"], "pid": os.getpid(), "child": child}
    status = "503 Not Yet" if settings.get("unready") else "200 OK"
    listener = socket.socket(fileno=settings["fd"])
    if takeover := os.environ.get("EARWITNESS_TAKEOVER"):
        if settings.get("fails_to_take_over"):
            sys.exit(print("no, not I") or 3)
        os.write(int(takeover), b"1")
    listener.listen(64)
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(ConnectionError):
            request = connection.recv(65536)
            if b" /exit " in request:
                print("told to go", flush=True)
                os._exit(7)
            answer["at"] = time.time() + (0 if settings.get("ignores_clock") else settings.get("clock_offset", 0))
            body = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode() + body)


if __name__ == "__main__":
    main()
