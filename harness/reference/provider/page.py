"""The provider's two HTML pages, login and error, without scripts and without anything loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from aiohttp import web

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
* {{ box-sizing: border-box }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center }}
main {{ width: min(26rem, 92vw); padding: 2rem; border: 1px solid #8886; border-radius: 1rem }}
h1 {{ font-size: 1.25rem; margin: 0 0 1rem }} label {{ display: block; margin-bottom: .25rem }}
input {{ width: 100%; padding: .6rem .8rem; margin-bottom: 1rem }} .wrong {{ color: light-dark(#a3282b, #f39a97) }}
input, button {{ font: inherit; color: inherit; background: none; border: 1px solid #8888; border-radius: .6rem }}
button {{ padding: .55rem 1.2rem; margin-right: .5rem; cursor: pointer }}
[value=allow] {{ background: light-dark(#1f6391, #7cc0ee); color: light-dark(#fff, #0d1d29); font-weight: 600 }}
:focus-visible {{ outline: 2px solid light-dark(#1f6391, #7cc0ee); outline-offset: 2px }}
</style></head><body><main><h1>{title}</h1>{body}</main></body></html>"""

_FORM = """<p>{client} asks who you are. It will learn your name and e-mail address.</p>{wrong}
<form method="post" action="{action}">{hidden}
<label for="email">E-mail</label>
<input id="email" name="email" type="email" value="{email}" autocomplete="username" autofocus>
<button name="decision" value="allow">Continue</button>
<button name="decision" value="deny" formnovalidate>Deny</button></form>"""


def login_page(action: str, asked: Mapping[str, str], email: str = "", wrong: str = "") -> web.Response:
    """Return the page on which a user enters an e-mail address.

    `action`: address to which the form is sent. The authorization request `asked` (by parameter) is in hidden fields,
    and is checked again afterwards. `email`: value of the field; `wrong`: a sentence about a mistake, with which the
    status is 400; "" for none.
    """
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in asked.items()
    )
    body = _FORM.format(
        client=escape(asked["client_id"]),
        action=escape(action),
        hidden=hidden,
        email=escape(email),
        wrong=f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else "",
    )
    return _page("Log in", body, 400 if wrong else 200)


def error_page(code: str, message: str) -> web.Response:
    """Return an error page with status 400, for requests whose redirect address is not trusted."""
    return _page("This login cannot go on", f"<p>{escape(message)}</p><p><code>{escape(code)}</code></p>", 400)


def _page(title: str, body: str, status: int) -> web.Response:
    text = _FRAME.format(title=escape(title), body=body)
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=_HEADERS)
