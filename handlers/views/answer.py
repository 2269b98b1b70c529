"""What only the person who asked sees: facts, the help, a decision with its reasons, a refusal, the audit trail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bot.actions._action import Action
from bot.model import JSON, Request, RequestState
from handlers.views import whatif
from handlers.views.audit import entries, holdings
from handlers.views.blocks import (
    Block,
    Markup,
    Said,
    actions,
    button,
    context,
    facts,
    markup,
    option,
    said,
    section,
    sections,
    select,
)
from handlers.views.help import commands
from handlers.views.offers import CHOOSE, OLDER, SHARE, offers
from handlers.views.roles import buttons, listed
from handlers.views.wording import Known, emoji, notes, wish


def build(request: Request, known: Known) -> Said:
    """The answer to the person, with *Share in channel* under what was read of the tenant."""
    return said(_sentence(request, known.action), [*_content(request, known), *_buttons(request, known.action)])


def shared(request: Request, known: Known) -> Said:
    """The same for everybody in the channel, saying who shared it and offering nothing."""
    by = markup("Looked up and shared by {}", known.by)
    return said(_sentence(request, known.action), [*_content(request, known), *context(by)])


def _sentence(request: Request, action: Action | None) -> Markup:
    spoken = request.sentence or request.answer.get("title") or wish(request, action)
    return markup("{}", str(spoken))


def _content(request: Request, known: Known) -> list[Block]:
    answer = request.answer
    blocks = []
    title = str(answer.get("title") or "")
    if title:
        blocks.append(section(markup("*{}*", title)))
    if request.sentence and request.sentence != title:
        blocks.append(section(_with_state(request)))
    blocks += facts([(str(label), str(value)) for label, value in _pairs(answer, "facts")])
    blocks += sections(_trace(answer))
    blocks += commands(_rows(answer, "commands"))
    blocks += entries(_rows(answer, "rows"))
    blocks += holdings(_rows(answer, "holdings"))
    blocks += listed(_rows(answer, "roles"))
    blocks += whatif.content(answer)
    blocks += context(*(markup("{}", str(note)) for note in _list(answer, "notes")))
    return [*(blocks or [section(_sentence(request, known.action))]), *context(*notes(request, known))]


def _with_state(request: Request) -> Markup:
    quiet = request.state is RequestState.DONE or not ("trace" in request.answer or request.answer.get("again"))
    return markup("{}", request.sentence) if quiet else markup("{} {}", emoji(request.state), request.sentence)


def _trace(answer: Mapping[str, JSON]) -> list[Markup]:
    marks = {True: Markup(":white_check_mark: Yes:"), False: Markup(":no_entry: No:")}
    return [markup("{} {}", marks[bool(ok)], str(words)) for ok, words in _pairs(answer, "trace")]


def _choice(request: Request) -> list[Block]:
    """The people who could be meant, to choose one of. The block names the request, the option only the person."""
    if request.state is not RequestState.AWAITING_CONFIRMATION:
        return []
    people = [option(str(name), str(id_), str(detail)) for id_, name, detail in _rows(request.answer, "suggestions")]
    menu = select(CHOOSE, people, placeholder="Choose the person") if people else None
    return actions(menu, block_id=request.id)


def _buttons(request: Request, action: Action | None) -> list[Block]:
    there = offers(request, action)
    if _may_be_shared(request, action):
        there.append(button("Share in channel", SHARE, request.id))
    if request.answer.get("next"):
        there.append(button("Older", OLDER, request.id, spoken="Show older entries of the audit trail"))
    if request.answer.get("roles"):
        there += buttons(request.id)
    if change := whatif.change_button(request):
        there.append(change)
    return [*_choice(request), *actions(*there, block_id=f"answer:{request.id}:{request.version}")]


def _may_be_shared(request: Request, action: Action | None) -> bool:
    reads = action is not None and not action.writes and request.state is RequestState.DONE
    return reads and request.origin.channel.startswith(("C", "G")) and not request.answer.get("shared")


def _list(answer: Mapping[str, JSON], key: str) -> Sequence[Any]:
    found = answer.get(key)
    return found if isinstance(found, list | tuple) else ()


def _rows(answer: Mapping[str, JSON], key: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in _list(answer, key)]


def _pairs(answer: Mapping[str, JSON], key: str) -> list[tuple[Any, Any]]:
    return [(first, second) for first, second in _rows(answer, key)]
