"""Tab "Verdict" of Locust's web UI: the live verdict, the findings in words, earlier runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, g, jsonify, request, send_from_directory
from flask_login import current_user

from earwitness.harness.errors import EarwitnessError
from earwitness.harness.report.live_file import read_live

if TYPE_CHECKING:
    from earwitness.harness.load.coordinator import Conductor

HERE = Path(__file__).parent
SCRIPT = b'<script src="./verdict/page.js"></script><script src="./verdict/tab.js"></script></body>'


def extend(web_ui: Any, conductor: Conductor, base_path: str | None) -> None:
    """Add the tab "Verdict" and the pages of Earwitness to Locust's web UI, behind its login if it has one.

    `base_path`: prefix of all addresses.
    """
    web_ui.template_args["extended_tabs"] = [
        *web_ui.template_args.get("extended_tabs", ()),
        {"title": "Verdict", "key": "verdict"},
    ]
    _show_values(web_ui, conductor)
    pages = Blueprint("earwitness", __name__, url_prefix=base_path)

    def verdict() -> Response:
        return send_from_directory(HERE, "verdict.html")

    def tab() -> Response:
        return send_from_directory(HERE, "verdict_tab.js")

    def page() -> Response:
        return send_from_directory(HERE, "verdict_page.js")

    def live() -> Response:
        runs = conductor.runs
        live = read_live(runs[-1]) if runs else None
        told = [_told(run) for run in reversed(runs)]
        return jsonify({"live": live, "runs": told, "progress": conductor.progress()})

    def of_run(name: str) -> Response:
        run = next((run for run in conductor.runs if run.name == name), None)
        if run is None or not (run / "verdict.txt").exists():
            abort(404, f"There is no verdict of a run {name} of this process.")
        return Response((run / "verdict.txt").read_text(), mimetype="text/plain")

    def of_report(name: str) -> Response:
        return _file_of(name, "report.html")

    def of_picture(name: str, picture: str) -> Response:
        return _file_of(name, f"witnesses/{picture}")

    def _file_of(name: str, file: str) -> Response:
        run = next((run for run in conductor.runs if run.name == name), None)
        if run is None:
            abort(404, f"There is no run {name} of this process.")
        return send_from_directory(run, file)

    def metrics() -> Response:
        return Response(*conductor.metrics.exposition(request.headers.get("Accept", "")))

    views: dict[str, Callable[..., Response]] = {
        "/verdict": verdict,
        "/verdict/tab.js": tab,
        "/verdict/page.js": page,
        "/verdict/live": live,
        "/verdict/runs/<name>": of_run,
        "/verdict/runs/<name>/report.html": of_report,
        "/verdict/runs/<name>/witnesses/<picture>": of_picture,
        "/metrics": metrics,
    }
    for rule, view in views.items():
        pages.add_url_rule(rule, view.__name__, web_ui.auth_required_if_enabled(view))

    @pages.before_app_request
    def read_form() -> Response | None:
        """Flask `before_request` hook: answer a form with a wrong value, or with too many users, with an error.

        Locust then does not read the form. Returns None for a valid form, which the next run will use.
        """
        if request.endpoint != "locust.swarm" or _is_stranger(web_ui):
            return None
        try:
            users = _whole(request.form.get("user_count", ""))
            if users is not None:
                conductor.under_test.allow(users)
            g.awaits_run = conductor.prepare(request.form)
        except EarwitnessError as error:
            return jsonify({"success": False, "message": str(error), "host": ""})
        return None

    @pages.after_app_request
    def forget_refused_form(response: Response) -> Response:
        """Flask `after_request` hook: discard a form that Locust has refused; return the response unchanged.

        A later run must not take the form's values.
        """
        if g.get("awaits_run") and not (response.get_json(silent=True) or {}).get("success"):
            conductor.run_options.forget_form()
        return response

    @pages.after_app_request
    def with_tab(response: Response) -> Response:
        if request.endpoint == "locust.index" and response.status_code == 200:
            response.set_data(response.get_data().replace(b"</body>", SCRIPT))
        return response

    web_ui.app.register_blueprint(pages)


def _whole(text: str) -> int | None:
    """Return the number of users that a form states; None for a text that Locust will refuse."""
    try:
        return int(text)
    except ValueError:
        return None


def _is_stranger(web_ui: Any) -> bool:
    """Return whether a login is needed (--web-login) and missing; Locust answers such a request itself."""
    return bool(web_ui.web_login) and not current_user.is_authenticated


def _show_values(web_ui: Any, conductor: Conductor) -> None:
    """Make the page show the options of the run in progress, or else those of the process, which the form sends back.

    Locust itself always shows the options of the command line.
    """
    update = web_ui.update_template_args

    def update_template_args() -> None:
        update()
        shown = conductor.run_options.shown(running=conductor.run is not None)
        for name, value in shown.items():
            web_ui.template_args["extra_options"][name]["default_value"] = value

    web_ui.update_template_args = update_template_args


def _told(run: Path) -> dict[str, object]:
    live = read_live(run) or {"state": "", "outcome": "", "why": ""}
    judged = live["state"] == "finished"
    return {
        "run": run.name,
        "judged": judged,
        "outcome": live["outcome"] if judged else "",
        "why": live["why"] if judged else "in progress",
    }
