"""Requests and frames of target files: read their tables, check their placeholders, fill them in."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from earwitness.checks.declared import TABLE, TEXT, AnyOf, Many, Number, Open
from earwitness.harness.client.flow import HttpRequest
from earwitness.harness.described import Table
from earwitness.harness.dialects.toml.paths import PATH, Getter, compile_path
from earwitness.harness.dialects.toml.template import Source, Template

PERSON = frozenset({"number", "name", "email", "secret"})
LOGGED_IN = PERSON | {"token", "user_id"}
ROOM = frozenset({"label", "room", "members.number", "members.name", "members.email"})
MEMBER = frozenset({"member.number", "member.name", "member.email"})
BRACES = "{}:."
LIST = Open(list, "a list", "[]")
BODY = AnyOf(kinds=(TEXT, TABLE, LIST), words="text or a table", example="{}")
FRAMES = Many(
    item=AnyOf(
        kinds=(TEXT, TABLE, Many(item=TABLE, words="a list of tables", example="[{}]")), words="a frame", example="{}"
    ),
    words="a list of frames, each text or a table",
    example="[{}]",
    single=True,
)
STATUSES = Many(
    item=Number(whole=True, least=100, most=599), words="a list of HTTP statuses", example="[200]", single=True
)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
"""Form of a header's value; its name has the form of `_NAME` (RFC 9110 §5.1, §5.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTemplate:
    """One HTTP request with placeholders.

    accept       statuses of success
    each_member  the request is sent once for each member of a room
    where        the key of the target file that has its address
    """

    name: str
    method: str
    url: Template
    headers: Mapping[str, Template]
    body: Template | None
    content_type: str
    accept: tuple[int, ...]
    each_member: bool = False
    where: str = ""

    def fill(self, base: str, values: Mapping[str, object], headers: Mapping[str, str] | None = None) -> HttpRequest:
        """Return the request with `values` in its placeholders.

        base     base URL of relative addresses
        headers  headers that present the credentials; own headers of the same name replace them

        Raises KeyError for a placeholder without a value.
        """
        own = {key: template.render(values) for key, template in self.headers.items()}
        general = dict(headers or {})
        if self.body is not None:
            general["content-type"] = self.content_type
        named = {key.lower() for key in own}
        sent = {key: value for key, value in general.items() if key.lower() not in named} | own
        body = self.body.render(values).encode() if self.body is not None else b""
        return HttpRequest(self.method, address(base, self.url.render(values)), sent, body, self.name)


def address(base: str, url: str) -> str:
    """Return `url` itself if it is absolute, else `url` below `base`; a path in `base` is kept."""
    # Not by `urljoin`: it leaves out line breaks and tabs, so that a relative address could become one of another host.
    return url if is_absolute(url) else f"{base.rstrip('/')}/{url.lstrip('/')}"


def is_absolute(url: str) -> bool:
    """Return whether the address begins with a scheme, such as https://, so that it is not relative to a base URL."""
    return _ABSOLUTE.match(url) is not None


def address_fault(url: str) -> str:
    """Return what is wrong with the host or the port of an address, "" if nothing."""
    try:
        parts = urlsplit(url)
        return "" if parts.hostname and parts.port != 0 else "names no host and port"
    except ValueError as error:
        return f"is no address ({error})"


def _url_fault(template: Template) -> str:
    """Return what is wrong with the address of a request, "" if nothing.

    Its host is checked before the first request, so it must be known by then.
    """
    if not is_absolute(template.prefix):
        return ""
    scheme, _, rest = template.prefix.partition("://")
    if scheme.lower() not in ("http", "https"):
        return f"begins with {scheme}://, which is no http address"
    if template.names and not re.search(r"[/?#]", rest):
        return "has a placeholder in its host; write the host out"
    return address_fault(template.prefix)


def read_template(
    table: Table, name: str, known: Collection[str], *, example: str, quoting: str = "", required: bool = False
) -> Template | None:
    """Return the template under the key `name`; None if the key is absent or its value is of a wrong kind.

    A value that is a table becomes JSON. Mistakes are collected in `table`: a wrong kind, an unknown filter or
    placeholder (a template is returned all the same), and an absent key if `required`.

    known     names of the placeholders that may be used
    example   a correct value, shown in messages about mistakes
    quoting   filter for placeholders that do not name one themselves; "" for none
    """
    value = table.value(name, BODY, example=example, required=required)
    return None if value is None else checked(table, name, value, known, quoting=quoting, example=example)


def checked(
    table: Table, name: str, value: Source, known: Collection[str], *, example: str, quoting: str = ""
) -> Template:
    """Return the template of `value`; collect a mistake in `table` if it uses unknown filters or placeholders."""
    template = Template(value, quoting=quoting)
    fault = template.fault(known)
    if fault:
        table.fault(name, fault, f"{name} = {example}")
    return template


def read_texts(table: Table, name: str, known: Collection[str], *, example: str) -> dict[str, Template]:
    """Return the table under the key `name` as a dict from each of its keys to the template of its text.

    The dict is empty if the table is absent. A text may be a secret: `env:NAME` or `file:PATH`. Mistakes are collected
    in `table`.

    known     names of the placeholders that may be used
    example   a correct table, shown in messages about mistakes
    """
    inner = table.table(name, example=example)
    templates = {}
    for key in inner.names() if inner else ():
        assert inner is not None
        text = inner.text(key, example="{token}")
        if text.startswith(("env:", "file:")):
            text = inner.secret(key, example="env:CHAT_API_KEY")
        templates[key] = checked(inner, key, text, known, example='"Bearer {token}"')
    return templates


def read_headers(table: Table, name: str, known: Collection[str], *, example: str) -> dict[str, Template]:
    """Return the table of headers or cookies under the key `name` as a dict from names to templates.

    Like `read_texts`; in addition, each name and text must be valid in the head of an HTTP request.
    """
    templates = read_texts(table, name, known, example=example)
    for key, template in templates.items():
        if not _NAME.fullmatch(key):
            table.fault(name, f"has the name {key!r}, which no request can have", f"{name} = {example}")
        if not _VALUE.fullmatch(template.literal):  # the value may be a secret
            table.fault(
                f"{name}.{key}", "has a line break, or a character that no request can have", '"Bearer {token}"'
            )
    return templates


def read_frames(table: Table, name: str, known: Collection[str], *, example: str) -> tuple[Template, ...]:
    """Return templates of the frames under the key `name`: one frame or a list, each of them text or a table.

    The result is empty if the key is absent. `known` and `example` are those of `read_template`. Mistakes are collected
    in `table`.
    """
    value = table.value(name, FRAMES, example=example)
    items = [] if value is None else value if isinstance(value, list) else [value]
    return tuple(checked(table, f"{name}[{k}]", item, known, example=example) for k, item in enumerate(items))


def read_path(table: Table, name: str, example: str, required: bool = False) -> Getter | None:
    """Return a getter for the path under the key `name`, None if it is absent. Mistakes are collected in `table`."""
    text = table.value(name, PATH, example=f'"{example}"', required=required)
    return None if text is None else compile_path(text)


def read_request(table: Table, name: str, known: Collection[str], *, url: str = "/login") -> RequestTemplate:
    """Return the request of a table with the keys url, method, body, form, raw, headers, accept and each_member.

    `name`: of the request in statistics; `known`: placeholders that have values; `url`: example in the error. Mistakes
    are collected in `table`.
    """
    each_member = table.flag("each_member")
    if each_member:
        known = set(known) | MEMBER
    address_template = read_template(table, "url", known, example=f'"{url}"', quoting="url", required=True)
    if address_template is not None and (problem := _url_fault(address_template)):
        table.fault("url", problem, f'url = "{url}"')
    body, content_type = _read_body(table, known)
    method = table.text("method", "GET" if body is None else "POST", example="POST").upper()
    accept = table.value("accept", STATUSES, example="[200, 201]")
    accepted = accept if isinstance(accept, list) else [200, 201, 202, 204] if accept is None else [accept]
    return RequestTemplate(
        name=name,
        method=method,
        url=address_template or Template(url),
        headers=read_headers(table, "headers", known, example='{ x-client = "earwitness" }'),
        body=body,
        content_type=content_type,
        accept=tuple(accepted),
        each_member=each_member,
        where=table.key("url"),
    )


def _read_body(table: Table, known: Collection[str]) -> tuple[Template | None, str]:
    body = read_template(table, "body", known, example='{ user = "{email}" }')
    form = table.table("form", example='{ user = "{email}" }')
    raw = read_template(table, "raw", known, example='"{token}"')
    given = [key for key in ("body", "form", "raw") if table.has(key)]
    if len(given) > 1:
        table.fault(" and ".join(given), "exclude each other", 'body = { user = "{email}" }')
    if "form" in given:
        # braces stay: they are the placeholders, whose values are quoted when they are filled in
        pairs = [f"{quote(key)}={quote(str(value), safe=BRACES)}" for key, value in (form.data if form else {}).items()]
        template = checked(table, "form", "&".join(pairs), known, quoting="url", example='{ user = "{email}" }')
        return template, "application/x-www-form-urlencoded"
    return (raw, "text/plain") if "raw" in given else (body, "application/json")
