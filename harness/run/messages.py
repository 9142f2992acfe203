"""Messages between the master of a run and its workers, over Locust's own connection: their names and contents.

A run with one process sends no messages: its coordinator calls the same methods directly. `harness.load.coordinator`
sends the master's messages, and `harness.load.hooks` answers them in a worker. `hosts` and `shipper` handle the
messages about other hosts.

| name | from → to | content |
|---|---|---|
| BEGIN | master → worker | `harness.load.worker.Assignment`, the same for all; `indexes` has each worker's number |
| HERE | worker → master | `users`: how many of its users have started |
| EVERYONE | master → worker | `users`: how many users of the run have started; none is missing |
| DRAIN | master → worker | `deadline_s`: stop sending, wait for answers to what was sent |
| ACKED | worker → master | `heads`: room label → highest acknowledged sequence number of its users' messages |
| SETTLE | master → worker | `heads` of all workers, `deadline_s`: wait until messages up to these were delivered |
| DRAINED | worker → master | the worker's figures (`load.metrics.part_figures`); its journal is closed |
| MEET | master → worker | `n`, `mark`: path of a file, `text`: its content |
| MET | worker → master | `n`, `t`: monotonic ns, `clock`: the id of its clock, `shares`: it can read the file |
| TIME | master → worker | `n`: asks for the worker's monotonic time |
| TOLD | worker → master | `n`, `t`: monotonic ns |
| PIECE | worker → master | `run`: name of the run directory, `piece`: records (`record.shipping.Piece.packed`) |
| KEPT | master → worker | `run`, `kept`: bytes of each file that are written, `gap`: a piece before it is missing |
"""

from __future__ import annotations

from typing import Final

BEGIN: Final = "earwitness-begin"
HERE: Final = "earwitness-here"
EVERYONE: Final = "earwitness-everyone"
DRAIN: Final = "earwitness-drain"
ACKED: Final = "earwitness-acked"
SETTLE: Final = "earwitness-settle"
DRAINED: Final = "earwitness-drained"
MEET: Final = "earwitness-meet"
MET: Final = "earwitness-met"
TIME: Final = "earwitness-time"
TOLD: Final = "earwitness-told"
PIECE: Final = "earwitness-piece"
KEPT: Final = "earwitness-kept"
