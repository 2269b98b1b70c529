"""The look of Microsoft's sign-in pages: plain forms, which work without scripts."""

import html
from collections.abc import Iterable, Mapping

_STYLE = """
body { font: 15px/1.5 "Segoe UI", system-ui, sans-serif; background: #f2f2f2; margin: 0; color: #1b1b1b; }
main { background: #fff; max-width: 27rem; margin: 3rem auto; padding: 2.2rem 2.6rem; box-shadow: 0 2px 6px #0003; }
h1 { font-size: 1.5rem; font-weight: 600; margin: .6rem 0 .8rem; }
.brand { color: #555; font-weight: 600; } .note { color: #555; font-size: .85rem; }
form { margin: 0; } button { font: inherit; cursor: pointer; }
.accounts button { display: block; width: 100%; text-align: left; background: none; border: 0; padding: .3rem .5rem;
  line-height: 1.35; }
.accounts button:hover, .accounts button:focus { background: #eee; }
.accounts small { display: block; color: #555; }
.actions { display: flex; gap: .6rem; justify-content: flex-end; margin-top: 1.4rem; }
.actions button { border: 0; padding: .4rem 1.3rem; background: #ccc; }
.actions button.main { background: #0067b8; color: #fff; }
input:not([type=hidden], [type=checkbox]) { font: inherit; width: 100%; border: 0; border-bottom: 1px solid #666;
  padding: .4rem 0; }
"""


def page(title: str, body: str, *, tenant: str = "") -> str:
    """A whole page; *body* is markup, *title* and *tenant* are text."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)} · Microsoft (sandbox)</title><style>{_STYLE}</style></head><body><main>"
        f'<div class="brand">Microsoft (sandbox){f" · {html.escape(tenant)}" if tenant else ""}</div>'
        f"<h1>{html.escape(title)}</h1>{body}</main></body></html>"
    )


def text(words: str, *, note: bool = False) -> str:
    """A paragraph."""
    return f'<p class="{"note" if note else "told"}">{html.escape(words)}</p>'


def items(words: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(one)}</li>' for one in words)}</ul>"


def field(name: str, label: str, value: str = "") -> str:
    return (
        f'<label>{html.escape(label)} <input name="{html.escape(name)}" value="{html.escape(value)}" required '
        'autocomplete="off"></label>'
    )


def checkbox(name: str, label: str) -> str:
    return f'<p><label><input type="checkbox" name="{html.escape(name)}" value="yes"> {html.escape(label)}</label></p>'


def accounts(people: Iterable[tuple[str, str]]) -> str:
    """A button for each account, given as name and user principal name, and one for any other."""
    buttons = "".join(
        f'<button name="do" value="account:{html.escape(upn)}">Sign in as {html.escape(name)} '
        f"<small>{html.escape(upn)}</small></button>"
        for name, upn in people
    )
    return f'<div class="accounts">{buttons}<button name="do" value="another">Use another account</button></div>'


def actions(first: tuple[str, str], *others: tuple[str, str]) -> str:
    """Buttons, each with what it does and what stands on it; what Enter presses comes first."""
    buttons = "".join(
        f'<button name="do" value="{html.escape(do)}" class="{"other" if number else "main"}">'
        f"{html.escape(label)}</button>"
        for number, (do, label) in enumerate((first, *others))
    )
    return f'<div class="actions">{buttons}</div>'


def form(action: str, body: str, hidden: Mapping[str, str], *, method: str = "post") -> str:
    kept = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in hidden.items()
    )
    return f'<form method="{method}" action="{html.escape(action)}">{kept}{body}</form>'


def send_back(action: str, values: Mapping[str, str]) -> str:
    """The page of `response_mode=form_post`: it sends itself."""
    kept = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in values.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Working...</title></head><body>'
        f'<form id="back" method="post" action="{html.escape(action)}">{kept}<noscript><button>Continue</button>'
        "</noscript></form><script>document.forms[0].submit()</script></body></html>"
    )
