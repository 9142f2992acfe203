"""Ways of logging in that a target file can name: password, tokens, mint, function."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Protocol

import jwt

from earwitness.checks.declared import TABLE, closest
from earwitness.harness.client.flow import Browser, Flow, FlowError, HttpResponse
from earwitness.harness.described import Table, from_json
from earwitness.harness.dialects.protocol import Credentials, Person
from earwitness.harness.dialects.toml.paths import PATH, Getter, compile_path, text_or_none
from earwitness.harness.dialects.toml.requests import PERSON, RequestTemplate, checked, read_path, read_request
from earwitness.harness.dialects.toml.template import Template

ACCOUNT = frozenset({"name", "email", "secret"})
"""Columns of a file of accounts."""
CSV_SEPARATORS = ",;\t"
ALGORITHMS = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384")


class Login(Protocol):
    """Protocol of a way to log in.

    requests  the HTTP requests that it sends, as far as the file names them
    most      how many people it can log in; None: any number
    """

    requests: Sequence[RequestTemplate]
    most: int | None

    def flow(self, person: Person, values: Mapping[str, object], base: str) -> Flow[Credentials]:
        """Log a person in and return the credentials.

        values  values of the person's placeholders
        base    base URL of relative addresses

        Raises FlowError if the platform refuses, or there is no token or no user id.
        """
        ...


class Claim:
    """Paths to token, id and expiry in an answer, in a row, or in a token's own claims (`claims.…`).

    `table`: the table that states the paths; `default_user_id`: path of the user id if the table states none.
    """

    def __init__(self, table: Table, *, default_user_id: str) -> None:
        """Read the keys `token`, `expires_in` and `user_id` of `table`.

        Mistakes are collected there and raised together later.
        """
        self.token = read_path(table, "token", "token") or compile_path("token")
        self.expires_in = read_path(table, "expires_in", "expires_in") or compile_path("expires_in")
        text = table.text("user_id", default_user_id, example="user.id")
        self._user_path: Getter | None = None
        self._user_text: Template | None = None
        if "{" in text:
            self._user_text = checked(table, "user_id", text, PERSON, example='"{name}"')
        elif fault := PATH.fault(text):
            table.fault("user_id", fault, 'user_id = "user.id"')
        else:
            self._user_path = compile_path(text)

    def credentials(self, person: Person, values: Mapping[str, object], answer: object, token: str) -> Credentials:
        """Return the credentials of a person from an answer and its token.

        `values`: the person's placeholders; `answer`: a decoded answer, or a row of a file. If the token is a JWT, its
        claims are read without verification; they also tell when it expires, unless `expires_in` does. Raises FlowError
        if there is no user id.
        """
        claims = _claims(token)
        source = {**answer, "claims": claims} if isinstance(answer, dict) else {"claims": claims}
        user_id = (
            self._user_text.render(values)
            if self._user_text
            else text_or_none(self._user_path(source))
            if self._user_path
            else None
        )
        if not user_id:
            raise FlowError("login", "a user id (login.user_id)", detail=f"none in {shape(source)}")
        expires_at = claims.get("exp")
        expires_in = self.expires_in(source)
        if isinstance(expires_in, (int, float)):
            expires_at = time.time() + expires_in
        return Credentials(
            person=person,
            user_id=user_id,
            token=token,
            expires_at=float(expires_at) if isinstance(expires_at, (int, float)) else None,
            extra={"answer": answer},
        )


def shape(answer: object) -> str:
    """Return words that name the keys of an answer, or its type if it is no object.

    Values are left out, because they may be secrets.
    """
    return (
        f"an object with {', '.join(map(str, answer)) or 'nothing'}" if isinstance(answer, dict) else repr(type(answer))
    )


def _claims(token: str) -> dict[str, object]:
    """Return the claims of a JWT, not verified; {} for a token of another kind."""
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}


class PasswordLogin:
    """Login by requests as a browser makes them; the answer to the last one holds the token, or sets it as a cookie.

    `cookie` is the name of that cookie; if it is empty, `claim` finds the token in the answer.
    """

    most: int | None = None

    def __init__(self, requests: Sequence[RequestTemplate], claim: Claim, cookie: str) -> None:
        """Keep the requests of a login, which are sent in order, and how its token is found."""
        self.requests, self.claim, self.cookie = requests, claim, cookie

    def flow(self, person: Person, values: Mapping[str, object], base: str) -> Flow[Credentials]:
        """Implement `Login.flow`: send all requests in order, with one cookie jar."""
        browser = Browser()
        response = HttpResponse(0, {}, b"")
        for template in self.requests:
            request = template.fill(base, values)
            response = yield from browser.request(
                request.method, request.url, headers=request.headers, body=request.body, name=request.name
            )
            if response.status not in template.accept:
                raise FlowError(template.name, " or ".join(map(str, template.accept)), response)
        try:
            answer = response.json() if response.body else {}
        except ValueError:
            answer = {}
        token = _cookie(response, self.cookie) if self.cookie else text_or_none(self.claim.token(answer))
        if not token:
            expected = f"a cookie {self.cookie}" if self.cookie else "a token (login.token)"
            raise FlowError("login", expected, detail=shape(answer))
        return self.claim.credentials(person, values, answer, token)


def _cookie(response: HttpResponse, name: str) -> str | None:
    for line in response.set_cookies:
        try:
            jar = SimpleCookie(line)
        except CookieError:
            continue
        if name in jar:
            return jar[name].value
    return None


class TokenLogin:
    """Login by ready tokens, one for each user number."""

    requests: Sequence[RequestTemplate] = ()

    def __init__(self, rows: Sequence[Mapping[str, object]], claim: Claim) -> None:
        """Prepare logins for as many users as there are `rows`; user n takes row n."""
        self.rows, self.claim = rows, claim
        self.most: int | None = len(rows)

    def flow(self, person: Person, values: Mapping[str, object], base: str) -> Flow[Credentials]:
        """Implement `Login.flow`: take the token of the person's row; no request is sent."""
        if person.number >= len(self.rows):
            raise FlowError("login", f"a token for user {person.number}", detail=f"only {len(self.rows)} in the file")
        row = self.rows[person.number]
        token = text_or_none(self.claim.token(row))
        if not token:
            raise FlowError("login", f"a token in row {person.number} of the token file", detail="none")
        yield from ()  # makes it a generator, as every flow is, though it sends no request
        return self.claim.credentials(person, values, row, token)


class MintLogin:
    """Login by tokens that the tester signs with a test key of the platform.

    `claims` is rendered for each user and must give a JSON object; a token expires `ttl_s` seconds after its issue,
    unless the claims have an `exp`.
    """

    requests: Sequence[RequestTemplate] = ()
    most: int | None = None

    def __init__(
        self, algorithm: str, key: str, headers: dict[str, object], claims: Template, ttl_s: float, claim: Claim
    ):
        """Keep the key and the algorithm that sign tokens, and `headers`, the JOSE header of each token."""
        self.algorithm, self.key, self.headers = algorithm, key, headers
        self.claims, self.ttl_s, self.claim = claims, ttl_s, claim

    def flow(self, person: Person, values: Mapping[str, object], base: str) -> Flow[Credentials]:
        """Implement `Login.flow`: sign a token that is issued now; no request is sent."""
        now = int(time.time())
        claims = {"iat": now, "exp": now + int(self.ttl_s), **json.loads(self.claims.render(values))}
        token = jwt.encode(claims, self.key, self.algorithm, headers=self.headers)
        yield from ()
        return self.claim.credentials(person, values, {}, token)


class FunctionLogin:
    """Login by a Python function that the tester's user wrote.

    The function is `(person) -> {"token", "user_id", …}`, or a flow that returns such a mapping. `name` is shown in
    error messages.
    """

    requests: Sequence[RequestTemplate] = ()
    most: int | None = None

    def __init__(self, name: str, function: Callable[[Person], object], claim: Claim) -> None:
        """Keep the function, which is called for each login, and `claim`, which finds the token in its result."""
        self.name, self.function, self.claim = name, function, claim

    def flow(self, person: Person, values: Mapping[str, object], base: str) -> Flow[Credentials]:
        """Implement `Login.flow`: call the login function. If it returns a flow, that flow is run."""
        answer = self.function(person)
        if inspect.isgenerator(answer):
            answer = yield from answer
        token = text_or_none(self.claim.token(answer))
        if not token:
            raise FlowError("login", f"{self.name} to return a mapping with a token", detail=type(answer).__name__)
        return self.claim.credentials(person, values, answer, token)


# -- reading [login] ------------------------------------------------------------------------------------------------


def read_login(table: Table, folder: Path) -> Login | None:
    """Return the login that the table [login] describes, None after a mistake. Mistakes are collected in `table`.

    `folder`: directory of relative file names and of modules.
    """
    readers = {"password": _password, "tokens": _tokens, "mint": _mint, "function": _function}
    login = table.either("by", {way: partial(reader, folder=folder) for way, reader in readers.items()})
    table.finish()
    return login


def _password(table: Table, folder: Path) -> Login | None:
    before = [
        read_request(inner, f"login: step {k + 1}", PERSON)
        for k, inner in enumerate(table.tables("before", example='[{ url = "/signup", body = { name = "{name}" } }]'))
    ]
    cookie = table.text("cookie", example="session")
    claim = Claim(table, default_user_id="user_id")
    if cookie and "token" in table.data:
        table.fault("token and cookie", "exclude each other", 'token = "token"')
    return PasswordLogin([*before, read_request(table, "login", PERSON)], claim, cookie)


def _tokens(table: Table, folder: Path) -> Login | None:
    file = table.text("file", example="tokens.txt", required=True)
    claim = Claim(table, default_user_id="user_id")
    rows = read_rows(table, "file", folder / file, "token") if file else None
    return TokenLogin(rows, claim) if rows is not None else None


def read_rows(table: Table, key: str, path: Path, plain: str) -> list[Mapping[str, object]] | None:
    """Return the rows of a file, None after a mistake, which is collected in `table` under `key`.

    The file is a JSON list, a CSV file with a header (`*.csv`), or has one row a line. A line is a JSON object, or
    plain text that counts as `{plain: text}`. `plain` = "name": it is a file of accounts, whose rows need a name or an
    email.
    """
    rows: Any
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix.lower() == ".csv":
            lines = text.splitlines()
            between = max(CSV_SEPARATORS, key=lines[0].count) if lines else ","
            rows = list(csv.DictReader(lines, strict=True, skipinitialspace=True, delimiter=between))
        elif text.lstrip().startswith("["):
            rows = from_json(text)
        else:
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if _looks_like_csv(lines, plain):
                # Otherwise headers and passwords would become names, and names are shown.
                table.fault(key, f"looks like CSV; name it *.csv and give it a header ({path})", "email,secret")
                return None
            rows = [from_json(line) if line.startswith("{") else {plain: line} for line in lines]
        rows = [{plain: row} if isinstance(row, str) else row for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        # the error's text may quote the file, which holds secrets: only its type is shown
        table.fault(key, f"cannot be read ({path}: {type(error).__name__})", f'{key} = "tokens.txt"')
        return None
    if not rows or not all(isinstance(row, dict) for row in rows):
        table.fault(key, f"holds no rows ({path})", 'one token a line, or [{"token": "…", "user_id": "…"}]')
        return None
    if plain == "name" and (nameless := _nameless(rows)):
        # its columns are not shown: if the header is missing, they are a user's name and password
        problem = f"has neither a name nor an email in row {nameless}; a CSV file names its columns in its first line"
        table.fault(key, f"{problem} ({path})", "name,email,secret")
        return None
    if plain == "name" and (mistyped := _mistyped(rows)):
        table.fault(key, f"has a column {mistyped[0]}: did you mean {mistyped[1]}? ({path})", "name,email,secret")
        return None
    if path.suffix.lower() == ".csv" and (ragged := _ragged(rows)):
        table.fault(key, f"has another number of fields than its header in row {ragged} ({path})", "name,email,secret")
        return None
    return list(rows)


def _looks_like_csv(lines: Sequence[str], plain: str) -> bool:
    """Return whether two or more lines have the same number (1 or more) of some separator. Lines of JSON do not count.

    The colon is a separator only in a file of names, because a token may contain colons.
    """
    texts = [line for line in lines if not line.startswith("{")]
    separators = CSV_SEPARATORS + "|" + (":" if plain == "name" else "")
    counts = ({line.count(separator) for line in texts} for separator in separators)
    return len(texts) > 1 and any(len(count) == 1 and count != {0} for count in counts)


def _nameless(rows: Sequence[Mapping[str | None, object]]) -> int:
    """Return the first row, counted from 1, that has no name and no email; 0: none."""
    return next((n for n, row in enumerate(rows, 1) if not (row.get("name") or row.get("email"))), 0)


def _mistyped(rows: Sequence[Mapping[str | None, object]]) -> tuple[str, str] | None:
    """Return (unknown column, missing column whose name it resembles); None if there is no such column.

    Other unknown columns are allowed, because a file of accounts often comes from another program.
    """
    columns = {column for row in rows for column in row if isinstance(column, str)}
    absent = sorted(ACCOUNT - columns)
    found = ((column, closest(column.lower(), absent, 0.8)) for column in sorted(columns - ACCOUNT))
    return next(((column, meant) for column, meant in found if meant), None)


def _ragged(rows: Sequence[Mapping[str | None, object]]) -> int:
    """Return the first row, counted from 1, with more or fewer fields than the header of its CSV file; 0: none."""
    return next((n for n, row in enumerate(rows, 1) if None in row or None in row.values()), 0)


def _mint(table: Table, folder: Path) -> Login | None:
    algorithm = table.choice("algorithm", ALGORITHMS)
    key = table.secret("key", example="env:CHAT_TEST_KEY")
    claims = table.value("claims", TABLE, example='{ sub = "{name}" }', required=True) or {}
    template = checked(table, "claims", claims, PERSON, example='{ sub = "{name}" }')
    ttl_s = table.number("ttl_s", 3600.0, example="3600", least=1.0) or 3600.0
    key_id = table.text("key_id", example="test-1")
    claim = Claim(table, default_user_id="claims.sub")
    if key:
        try:
            jwt.encode({}, key, algorithm)
        except (jwt.PyJWTError, ValueError, TypeError):
            table.fault("key", f"cannot sign with {algorithm}", 'key = "file:private.pem"')
    return MintLogin(algorithm, key, {"kid": key_id} if key_id else {}, template, ttl_s, claim)


def _function(table: Table, folder: Path) -> Login | None:
    name = table.text("function", example="my_login:log_in", required=True)
    claim = Claim(table, default_user_id="user_id")
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        if name:
            table.fault("function", f"= {name!r} is not module:function", 'function = "my_login:log_in"')
        return None
    try:
        function = getattr(_module(module_name, folder), attribute)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        table.fault("function", f"= {name!r} cannot be imported ({error})", 'function = "my_login:log_in"')
        return None
    return FunctionLogin(name, function, claim)


def _module(name: str, folder: Path) -> object:
    """Import a module; a file next to the target file takes precedence over an installed module of the same name."""
    path = folder / f"{name.replace('.', '/')}.py"
    if not path.is_file():
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
