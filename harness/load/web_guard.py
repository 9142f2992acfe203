"""Guard of the web UI: by which host names and from which pages it may be called, and what its form may change.

Locust's web UI trusts every request: any page in a browser on this machine could start load, read results, and set each
option of the command line, also those that name files and hosts (its `/swarm` takes every option as a form field, its
`/user` every attribute of a user class).
"""

from __future__ import annotations

import ipaddress
import json
import socket
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Response, jsonify, request
from locust.argument_parser import default_args_dict, get_parser
from locust.env import Environment

from earwitness.harness.load.options import FORM_OPTIONS

LOAD_FIELDS: Final = frozenset({"user_count", "spawn_rate", "run_time", "user_classes", "shape_class", "profile"})
"""Fields of Locust's form that set the amount of load."""
FORM: Final = LOAD_FIELDS | frozenset(FORM_OPTIONS)
"""Fields that the form may change; `RunOptions` checks the values of FORM_OPTIONS.

All other options of Locust and of Earwitness are fixed when the process starts.
"""
USER_FORM: Final = frozenset({"user_class_name", "tasks", "weight", "fixed_count"})
"""Keys that Locust's editor of user classes may change."""
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
EVERY_ADDRESS: Final = frozenset({"", "*", "0.0.0.0", "::"})


class Names:
    """Host names under which a server of this process may be called.

    Checking them protects the server against pages that rebind a name of their own to this machine (DNS rebinding).

    bound  the address on which the server listens. If that is every address, it may be called by any IP address, which
           no page can rebind, and by this machine's name
    given  names that the user has stated, e.g. those of a proxy
    """

    def __init__(self, bound: str = "127.0.0.1", given: Iterable[str] = ()) -> None:
        """Permit loopback, `given`, and the address `bound` or, if that is every address, this machine's name."""
        self._given = frozenset(name.lower() for name in given if name)
        self._every_address = bound in EVERY_ADDRESS
        own = {socket.gethostname().lower()} if self._every_address else {bound.lower()}
        self._known = LOOPBACK | own | self._given

    @classmethod
    def of_options(cls, options: Namespace) -> Names:
        """Return the names under which the web UI with these options may be called.

        They come from the options web_host, web_host_display_name and web_names.
        """
        shown = _host_of("//" + (options.web_host_display_name or "").rpartition("//")[2])
        return cls(options.web_host or "", [shown, *(name.strip() for name in options.web_names.split(","))])

    def know(self, host: str) -> bool:
        """Return whether the value of a `Host` header names this server. The port is ignored: it may be forwarded."""
        name = _host_of(f"//{host}")
        return name in self._known or (self._every_address and _is_address(name))

    def allow(self, origin: str, host: str) -> bool:
        """Return whether a page of `origin` may send requests to `host`.

        It may if the page comes from this server, or from a host name that the user has stated.
        """
        if _host_of(origin) in self._given:
            return True
        scheme, separator, rest = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and rest.lower() == host.lower()

    def wsgi(self, app: WSGIApplication) -> WSGIApplication:
        """Return `app` wrapped so that requests with a foreign `Host` or `Origin` are answered with 403."""

        def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            refusal = self.refusal(environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN"))
            if not refusal:
                return app(environ, start_response)
            start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{refusal}\n".encode()]

        return guarded

    def refusal(self, host: str, origin: str | None) -> str:
        """Return the reason why a request is refused, or "" if it is not.

        `host`, `origin`: values of these headers of the request; `origin` is None without the header.
        """
        if not self.know(host):
            name = _host_of(f"//{host}") or "an empty Host"
            return f"This server is not known as {name}. Ask it as 127.0.0.1, or start it with --web-names {name}."
        if origin is not None and not self.allow(origin, host):
            page = "without an address" if origin in ("", "null") else f"of {origin}"
            return f"A page {page} may not ask this server. A proxy's name is allowed with --web-names NAME."
        return ""


def guard(web_ui: Any, options: Namespace) -> None:
    """Refuse requests of foreign pages, and forms that change fixed options. Call it before any route is added."""
    names = Names.of_options(options)
    own = _story_options()

    @web_ui.app.before_request  # type: ignore[untyped-decorator]
    def refuse() -> Response | None:
        refusal = names.refusal(request.headers.get("Host", ""), request.headers.get("Origin"))
        if refusal:
            return Response(f"{refusal}\n", 403, mimetype="text/plain")
        if request.endpoint == "locust.swarm":
            fixed = [field for field in _changed(web_ui.environment) if field not in own]
            if fixed:  # Locust's page shows the message of such an answer, not that of an error
                return jsonify({"success": False, "message": _sentence(fixed), "host": web_ui.environment.host})
        if request.endpoint == "locust.update_user":
            return _refuse_settings(web_ui.environment)
        return None


def _sentence(fixed: Iterable[str]) -> str:
    return f"{', '.join(fixed)}: fixed when the process starts. Start it again with the option that you need."


def _story_options() -> frozenset[str]:
    """Return the options that the story itself has added for the form."""
    return frozenset(get_parser().args_included_in_web_ui) - default_args_dict().keys()


def _changed(environment: Environment) -> Iterator[str]:
    """Yield the form's fields that would change options of Locust other than FORM."""
    options = vars(environment.parsed_options)
    for field in request.form:
        sent = request.form.getlist(field)
        if field == "host":
            hosts = {environment.host, *(kind.host for kind in environment.user_classes)}
            if sent not in ([host or ""] for host in (*hosts, None)):
                yield field
        elif field in options and field not in FORM and sent not in _texts(options[field]):
            yield field


def _texts(value: object) -> list[list[str]]:
    """Return the lists of texts in which the form may send the unchanged `value` of an option."""
    if value is None:
        return [[""]]
    if isinstance(value, bool):
        return [[str(value).lower()]]
    if isinstance(value, list | tuple):
        return [[str(one) for one in value], [",".join(map(str, value))]]
    return [[str(value)]]


def _refuse_settings(environment: Any) -> Response | None:
    """Return a response that refuses changes of a user class beyond USER_FORM; None if there are none."""
    try:
        settings = json.loads(request.data)
    except ValueError:
        settings = None
    name = settings.get("user_class_name") if isinstance(settings, dict) else None
    kind = environment.available_user_classes.get(name) if isinstance(name, str) else None
    if kind is None:
        return _bad("The body must be a JSON object with the user_class_name of a class of this story.")
    same_host = (settings.get("host") or "") == (kind.host or "")
    fixed = [key for key in settings if key not in USER_FORM and not (key == "host" and same_host)]
    return _bad(_sentence(fixed)) if fixed else None


def _bad(message: str) -> Response:
    response = jsonify({"message": message})
    response.status_code = 400
    return response


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
