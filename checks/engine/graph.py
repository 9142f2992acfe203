"""Test whether one order fits all deliveries: edges "delivered directly before" must have no cycle."""

from __future__ import annotations

from collections import deque

import numpy as np

from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.tables import Array


@kernel
def trim(source: Array, target: Array, starts: Array, alive: Array, degree: Array, queue: Array) -> None:
    """Mark nodes that no living node leads to as not alive, until none is left (Kahn's algorithm).

    `source` and `target` are the ends of edges, sorted by `source`. `starts`: by node, the index of its first edge, and
    a last entry with the number of edges. `degree`: by node, the number of edges from living nodes; it is changed.
    `queue` is scratch space for as many entries as nodes. `alive`: bool by node, input and result.

    Invariant: `queue[head:tail]` holds nodes with degree 0 whose edges are not yet removed. A node enters the queue
    once, when its degree becomes 0, so the loop takes O(nodes + edges). Nodes that stay alive lie on a cycle or are
    reached from one. The edges are a sorted array with offsets, not lists of lists, because compiled loops do not
    allocate.
    """
    head = 0
    tail = 0
    for node in range(len(alive)):
        if alive[node] and degree[node] == 0:
            queue[tail] = node
            tail += 1
    # Nodes before `head` are removed; from there to `tail` wait those that no living node leads to.
    while head < tail:
        node = queue[head]
        head += 1
        alive[node] = False
        for k in range(starts[node], starts[node + 1]):
            following = target[k]
            if alive[following]:
                degree[following] -= 1
                # Degrees only sink, so this step happens once for each node, and `queue` needs no more places than
                # there are nodes.
                if degree[following] == 0:
                    queue[tail] = following
                    tail += 1


@kernel
def join(source: Array, target: Array, root: Array) -> None:
    """Find the connected components of the edges by union-find, without regard to direction.

    `root` maps each node to itself at first, and to the representative of its component in the end. Each step hangs the
    larger of two roots under the smaller, so every chain of `root` descends and the loops end. Path halving (`root[a] =
    root[root[a]]`) keeps the chains short; no ranks are needed for the few edges that `trim` leaves. The last loop
    makes every entry point directly at its root, so that callers may compare components with one array access.
    """
    for k in range(len(source)):
        a, b = source[k], target[k]
        # A root is the smallest node of its tree: each step descends, so the loop ends.
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        if a < b:
            root[b] = a
        else:
            root[a] = b
    # Flatten: afterwards two nodes are connected exactly if their entries are equal.
    for node in range(len(root)):
        top = node
        while root[top] != top:
            top = root[top]
        root[node] = top


def _trimmed(source: Array, target: Array, alive: Array) -> None:
    order = np.argsort(source, kind="stable")
    source, target = source[order], target[order]
    inside = alive[source] & alive[target]
    degree = np.bincount(target[inside], minlength=len(alive))
    starts = np.searchsorted(source, np.arange(len(alive) + 1))
    trim(source, target, starts, alive, degree, np.empty(len(alive), np.int64))


def cycles(edges: Array, nodes: int, keep: int = 8) -> tuple[list[tuple[int, Array]], int]:
    """Return (one short cycle for each of the first `keep` tangles, number of tangles).

    A tangle is a connected part of the graph after removal of all nodes that lie only before or only after cycles.
    Tangles are ordered by the lowest record reference `after_rec` of their edges. A cycle is (that reference, its rows
    of `edges`, each leading to the next and the last one to the first).

    `edges`: rows with `before` and `after` (node numbers below `nodes`) and `after_rec`.
    """
    if not len(edges):
        return [], 0
    alive = np.zeros(nodes, bool)
    alive[edges["before"]] = alive[edges["after"]] = True
    _trimmed(edges["before"].astype(np.int64), edges["after"].astype(np.int64), alive)
    if not alive.any():
        return [], 0
    _trimmed(edges["after"].astype(np.int64), edges["before"].astype(np.int64), alive)
    core = edges[alive[edges["before"]] & alive[edges["after"]]]
    root = np.arange(nodes)
    join(core["before"].astype(np.int64), core["after"].astype(np.int64), root)
    leading = root[core["before"]]
    tangles, which = np.unique(leading, return_inverse=True)
    firsts = np.full(len(tangles), np.iinfo(np.int64).max)
    np.minimum.at(firsts, which, core["after_rec"])
    by_first = np.argsort(firsts, kind="stable")[:keep]
    found = [(int(firsts[n]), _cycle_in(core[leading == tangles[n]])) for n in by_first]
    return found, len(tangles)


def _cycle_in(edges: Array) -> Array:
    """Return a short cycle: the shortest one through one of the first edges that lie on a cycle."""
    following: dict[int, list[int]] = {}
    for k, node in enumerate(edges["before"].tolist()):
        following.setdefault(node, []).append(k)
    afters = edges["after"].tolist()
    best: list[int] = []
    for first in range(len(edges)):
        path = _path(following, afters, afters[first], int(edges["before"][first]))
        if path is not None and (not best or len(path) + 1 < len(best)):
            best = [first, *path]
        if best and (len(best) == 2 or first > 64):
            break
    result: Array = edges[best]
    return result


def _path(following: dict[int, list[int]], afters: list[int], start: int, goal: int) -> list[int] | None:
    """Return the edges of a shortest path from node `start` to node `goal`; None if there is none.

    Breadth-first search. Edges are indexes of `afters`, which holds the target node of each edge. `following`: the
    edges that start at a node.
    """
    came: dict[int, tuple[int, int]] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if node == goal:
            path: list[int] = []
            while node != start:
                node, edge = came[node]
                path.append(edge)
            return path[::-1]
        for edge in following.get(node, ()):
            if afters[edge] not in came and afters[edge] != start:
                came[afters[edge]] = (node, edge)
                queue.append(afters[edge])
    return None
