"""The tab "Verdict" of Locust's web UI: the live verdict, the findings in words, the runs before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, jsonify, request, send_from_directory
from locust.util.timespan import parse_timespan

from earwitness.harness.errors import TargetError
from earwitness.harness.report.live_file import read_live

if TYPE_CHECKING:
    from earwitness.harness.load.coordinator import Conductor

HERE = Path(__file__).parent
SCRIPT = b'<script src="./verdict/tab.js"></script></body>'


def extend(web_ui: Any, conductor: Conductor, base_path: str | None) -> None:
    """Add our tab and pages by Locust's own extension points, behind its login where there is one."""
    web_ui.template_args["extended_tabs"] = [
        *web_ui.template_args.get("extended_tabs", ()),
        {"title": "Verdict", "key": "verdict"},
    ]
    pages = Blueprint("earwitness", __name__, url_prefix=base_path)

    def verdict() -> Response:
        return send_from_directory(HERE, "verdict.html")

    def tab() -> Response:
        return send_from_directory(HERE, "verdict_tab.js")

    def live() -> Response:
        runs = conductor.runs
        return jsonify({"live": read_live(runs[-1]) if runs else None, "runs": [_told(run) for run in reversed(runs)]})

    def of_run(name: str) -> Response:
        run = next((run for run in conductor.runs if run.name == name), None)
        if run is None or not (run / "verdict.txt").exists():
            abort(404, f"There is no verdict of a run {name} of this process.")
        return Response((run / "verdict.txt").read_text(), mimetype="text/plain")

    def metrics() -> Response:
        return Response(*conductor.metrics.exposition(request.headers.get("Accept", "")))

    views: dict[str, Callable[..., Response]] = {
        "/verdict": verdict,
        "/verdict/tab.js": tab,
        "/verdict/live": live,
        "/verdict/runs/<name>": of_run,
        "/metrics": metrics,
    }
    for rule, view in views.items():
        pages.add_url_rule(rule, view.__name__, web_ui.auth_required_if_enabled(view))

    @pages.before_app_request
    def refuse_too_many() -> Response | None:
        """The form, or whoever posts it, asks for more users than the target's owner allows: nothing is changed."""
        if request.endpoint != "locust.swarm" or (users := _whole(request.form.get("user_count", ""))) is None:
            return None
        try:
            conductor.under_test.allow(users)
        except TargetError as error:
            return jsonify({"success": False, "message": str(error), "host": ""})
        return None

    @pages.before_app_request
    def note_run_time() -> None:
        """The form's run time limits the run that it starts; Locust keeps it nowhere apart from its own options."""
        if request.endpoint == "locust.swarm" and conductor.run is None:
            conductor.form_run_time_s = _seconds(request.form.get("run_time", ""))

    @pages.after_app_request
    def with_tab(response: Response) -> Response:
        if request.endpoint == "locust.index" and response.status_code == 200:
            response.set_data(response.get_data().replace(b"</body>", SCRIPT))
        return response

    web_ui.app.register_blueprint(pages)


def _whole(text: str) -> int | None:
    """The number of users of a form; None for one that Locust will refuse."""
    try:
        return int(text)
    except ValueError:
        return None


def _seconds(text: str) -> float | None:
    """The planned time of a form; None if there is none, or one that Locust will refuse."""
    try:
        return float(parse_timespan(text)) if text else None
    except ValueError:
        return None


def _told(run: Path) -> dict[str, Any]:
    live = read_live(run) or {"state": "", "outcome": "", "why": ""}
    judged = live["state"] == "finished"
    return {
        "run": run.name,
        "judged": judged,
        "outcome": live["outcome"] if judged else "",
        "why": live["why"] if judged else "going on",
    }
