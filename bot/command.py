"""Read what people type after a slash command, on phones too: dashes, curly quotes and Slack's own markup included.

Everything here is one pass over the text; no regular expression can be made slow by it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Final, NoReturn

from bot.actions import catalogue
from bot.actions._action import FALSE, TRUE, Action, Field, Input, Label
from bot.errors import BadInput
from bot.model import TargetKind
from bot.what_if_by_hand import options as what_if_options

LONGEST_COMMAND: Final = 2000
LONGEST_TARGET: Final = 256
LONGEST_NOTE: Final = 500
"""The most characters of a reason, a verification or a ticket."""

PERSON: Final = "adele@contoso.com"
"""Who stands in examples."""


@dataclass(frozen=True)
class Parsed:
    """What was typed, taken apart but not yet believed.

    `action` is a catalogue name, or one of `help`, `can`, `undo`, `session-status`, `session-on`, `session-off`,
    `session-extend`, `audit`, `audit-who`, `roles-list`, `roles-who`, `mode`, `rotate-status`, `rotate-history`,
    `rotate-help`, `whatif`, `whatif-matrix`, `whatif-draft`, `whatif-help`.
    `options` are the action's inputs by name, as text that its declaration accepts (and what is asked for of `audit`,
    `audit-who`, `whatif` and `whatif-matrix`). `rest` is what the verb itself takes: the action asked about for `can`,
    the request for `undo`, the words after `help`, and `form` for `whatif`. `target` is empty if none was typed.
    """

    action: str
    target: str = ""
    options: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    verified: str = ""
    ticket: str = ""
    preview: bool = False
    rest: tuple[str, ...] = ()


def parse(command: str, text: str, known: Mapping[str, Action]) -> Parsed:
    """What *text* after the slash command *command* asks for. Raises `BadInput`, whose sentence says what to type."""
    if len(text) > LONGEST_COMMAND:
        raise BadInput(f"That is too long: at most {LONGEST_COMMAND} characters. Put details into the ticket instead.")
    words = _split(_plain(text, ids=command in _KNOWS_PEOPLE_BY_ID))
    match command:
        case "/m365":
            return _parse_action(words, known)
        case "/m365-session":
            return _parse_session(words)
        case "/m365-audit":
            return _parse_audit(words, known)
        case "/m365-roles":
            return _parse_roles(words)
        case "/m365-mode":
            return _parse_mode(words)
        case "/m365-rotate":
            return _parse_rotate(words)
        case "/m365-whatif":
            return _parse_whatif(words)
    raise BadInput(f"`{_quoted(command)}` is not a command of Latchkey. Type `/m365 help` to see what there is.")


_KNOWS_PEOPLE_BY_ID: Final = frozenset({"/m365-audit", "/m365-roles"})
"""Where a mention is about whoever is mentioned, and not about an account of a similar name."""


# --- The commands ---------------------------------------------------------------------------------------------------


def _parse_action(words: list[_Word], known: Mapping[str, Action]) -> Parsed:
    verb = _dashed(words[0].text) if words else "help"
    if verb in {"help", "h", "?"}:
        return Parsed("help", rest=tuple(word.text for word in words[1:]))
    if verb == "link":
        if _without_options("link", words[1:]):
            raise BadInput("Type just `/m365 link`: which account it is shows when you sign in.")
        return Parsed("link")
    if verb == "undo":
        plain = _without_options("undo", words[1:])
        if len(plain) > 1:
            raise BadInput("One request at a time: type `/m365 undo`, or `/m365 undo` and the request's id.")
        return Parsed("undo", rest=tuple(plain))
    if verb == "can":
        return _parse_can(words[1:], known)
    action, used = _find_action(words, known)
    taken = _Taken(action.name, (*_COMMON, *action.asks))
    taken.read(words[used:])
    positional = [each for each in action.asks if each.field is not Field.CHECKBOX and each.name not in taken.options]
    target = _place(action, taken, positional)
    options = {each.name: taken.options[each.name] for each in action.asks if each.name in taken.options}
    action.check(options)
    return Parsed(
        action=action.name,
        target=_check_target(target),
        options=options,
        reason=_note("reason", taken.options),
        verified=_note("verified", taken.options),
        ticket=_note("ticket", taken.options),
        preview=taken.options.get("preview", "no") in TRUE,
    )


def _parse_can(words: list[_Word], known: Mapping[str, Action]) -> Parsed:
    example = f"`/m365 can reset-password {PERSON}`"
    if not words:
        raise BadInput(f"Say which action and for whom, such as {example}.")
    action, used = _find_action(words, known)
    target = " ".join(_without_options("can", words[used:]))
    return Parsed("can", target=_check_target(target), rest=(action.name,))


_SESSION_VERBS: Final = {
    "": "session-status",
    "status": "session-status",
    "on": "session-on",
    "start": "session-on",
    "off": "session-off",
    "stop": "session-off",
    "end": "session-off",
    "extend": "session-extend",
}


def _parse_session(words: list[_Word]) -> Parsed:
    taken = _Taken("/m365-session", (_REASON,))
    taken.read(words)
    verb = " ".join(taken.words).casefold()
    if verb not in _SESSION_VERBS:
        raise BadInput(
            f"`/m365-session` does not know `{_quoted(verb)}`. "
            "Type `/m365-session status`, `/m365-session on`, `/m365-session off` or `/m365-session extend`."
        )
    return Parsed(_SESSION_VERBS[verb], reason=_note("reason", taken.options))


def _parse_audit(words: list[_Word], known: Mapping[str, Action]) -> Parsed:
    taken = _Taken("/m365-audit", _AUDIT)
    taken.read(words)
    options = {name: value for name, value in taken.options.items() if value not in FALSE}
    if form := options.get("export"):
        options["export"] = _file_form(form)
    if taken.words and taken.words[0].casefold() == "who" and not taken.first_quoted:
        return _parse_who(taken.words[1:], options, known)
    if action := options.get("action"):
        options["action"] = _only_action(action.split(), known, "--action").name
    spans = {name: read_span(options[name], name) for name in ("since", "until") if name in options}
    if len(spans) == 2 and spans["since"] <= spans["until"]:
        raise BadInput(
            "`--since` has to lie further back than `--until`: `--since 7d --until 2d` is what was between seven days "
            "ago and two days ago.",
            field="until",
        )
    target = " ".join(taken.words)
    if target.casefold() in {"help", "?"}:
        raise BadInput(_AUDIT_HELP)
    if len(target) > LONGEST_TARGET:
        raise BadInput(f"`/m365-audit` takes one operator, target or request, such as `/m365-audit {PERSON}`.")
    return Parsed("audit", target=target, options=options)


def _parse_who(words: list[str], options: dict[str, str], known: Mapping[str, Action]) -> Parsed:
    """Who may do what today, or one thing."""
    if others := sorted(options.keys() - {"export"}):
        raise BadInput(
            f"`/m365-audit who` tells of today and takes no `--{others[0].replace('_', '-')}`, only a command, such as "
            "`/m365-audit who reset-password`."
        )
    if words and words[0].casefold() == "/m365":
        words = words[1:]
    if words and words[0].startswith("/"):
        options["command"] = " ".join(words).casefold()
    elif words:
        options["command"] = _only_action(words, known, "who").command
    return Parsed("audit-who", options=options)


def _only_action(words: list[str], known: Mapping[str, Action], after: str) -> Action:
    action, used = _find_action([_Word(word) for word in words], known)
    if used < len(words):
        raise BadInput(f"One command at a time, such as `/m365-audit {after} {action.name}`.")
    return action


def _file_form(text: str) -> str:
    form = {"csv": "csv", "jsonl": "jsonl", "json": "jsonl"}.get(text.casefold())
    if form is None:
        raise BadInput(f"`--export {_quoted(text)}` is no form of file. It is `csv` or `jsonl`.", field="export")
    return form


def _parse_roles(words: list[_Word]) -> Parsed:
    """What is Latchkey's own and held as `/m365-roles ...`, and the two lists."""
    verb = _dashed(words[0].text) if words else "list"
    match verb:
        case "list" | "help" | "h" | "?":
            if _without_options("/m365-roles list", words[1:]):
                raise BadInput("`/m365-roles list` shows all roles. `/m365-roles who` shows who holds them.")
            return Parsed("roles-list")
        case "who":
            taken = _Taken("/m365-roles who", (_EXPORT,))
            taken.read(words[1:])
            if form := taken.options.get("export"):
                taken.options["export"] = _file_form(form)
            return Parsed("roles-who", target=" ".join(taken.words)[:LONGEST_TARGET], options=taken.options)
    return _parse_own("/m365-roles", verb, words[1:], ("list", "who"))


_MODE_VERBS: Final = ("advanced", "default")


def _parse_mode(words: list[_Word]) -> Parsed:
    """Which mode it is, which it shall be, and what else is held as `/m365-mode ...`."""
    verb, rest = ("", words) if not words or words[0].option else (_dashed(words[0].text), words[1:])
    if verb == "set" and rest and _dashed(rest[0].text) == "up":
        verb, rest = "set-up", rest[1:]
    if verb == "allowed" and rest and _dashed(rest[0].text) in {"ip", "ips"}:
        verb, rest = "allowed-ips", rest[1:]
    if verb in {"allowed-ip", "allowed-ips"}:
        verb, rest = _allowed_ips(rest)
    if verb in {"status", "help", "h", "?"} or not words:
        if _without_options("/m365-mode", rest):
            raise BadInput("`/m365-mode` alone says which mode it is.")
        return Parsed("mode")
    if verb and verb not in _MODE_VERBS:
        return _parse_own("/m365-mode", verb, rest, _MODE_VERBS)
    switch = catalogue()["switch-mode"]
    taken = _Taken("/m365-mode", (_REASON, _TICKET, _PREVIEW, *switch.asks))
    taken.read(rest)
    _refuse_more(" ".join(taken.words))
    options = {each.name: taken.options[each.name] for each in switch.asks if each.name in taken.options}
    if verb:
        options["to"] = verb
    switch.check(options)
    return Parsed(
        "switch-mode",
        options=options,
        reason=_note("reason", taken.options),
        ticket=_note("ticket", taken.options),
        preview=taken.options.get("preview", "no") in TRUE,
    )


def _allowed_ips(words: list[_Word]) -> tuple[str, list[_Word]]:
    """The addresses, which come first, are what an option is for; and there is a way back."""
    if words and words[0].option is None and _dashed(words[0].text) in {"remove", "off", "undo"}:
        return "remove-allowed-ips", words[1:]
    size = next((number for number, word in enumerate(words) if word.option is not None), len(words))
    addresses = " ".join(word.text for word in words[:size])
    tied = [_Word("--addresses", quoted=True, option="--addresses", value=addresses)] if addresses else []
    return "allowed-ips", [*tied, *words[size:]]


_ROTATE_VERBS: Final = {
    "": "rotate-status",
    "status": "rotate-status",
    "history": "rotate-history",
    "help": "rotate-help",
}


def _parse_rotate(words: list[_Word]) -> Parsed:
    """How the rotation stands and what it did, and what is held as `/m365-rotate ...`."""
    verb, rest = ("", words) if not words or words[0].option else (_dashed(words[0].text), words[1:])
    if verb == "roll" and rest and _dashed(rest[0].text) == "back":
        verb, rest = "back", rest[1:]
    verb = {"rollback": "back", "roll-back": "back", "h": "help", "?": "help"}.get(verb, verb)
    if verb in _ROTATE_VERBS:
        _refuse_more(" ".join(_without_options(f"/m365-rotate {verb}".rstrip(), rest)))
        return Parsed(_ROTATE_VERBS[verb])
    return _parse_own("/m365-rotate", verb, rest, ("status", "history"))


def _parse_whatif(words: list[_Word]) -> Parsed:
    """Whose sign-in, under which conditions; a draft; or many of them compared."""
    taken = _Taken("/m365-whatif", _WHATIF)
    taken.read(words)
    verb = "" if taken.first_quoted or not taken.words else _dashed(taken.words[0])
    matrix = taken.options.pop("matrix", "no") in TRUE or verb == "matrix"
    match verb:
        case "help" | "h" | "?":
            return Parsed("whatif-help")
        case "draft":
            _refuse_more(" ".join([*taken.words[1:], *taken.options.values()]))
            return Parsed("whatif-draft")
        case "form" | "matrix":
            del taken.words[0]
    target = _check_target(" ".join(taken.words))
    if "," in target and not matrix:
        raise BadInput("One account at a time. To compare several of them, add `--matrix`.", field="target")
    said = what_if_options.read(taken.options, several=matrix)
    if matrix:
        return Parsed("whatif-matrix", target=target, options=said.options)
    return Parsed("whatif", target=target, options=said.options, rest=("form",) if verb == "form" else ())


def _refuse_more(left: str) -> None:
    """What is about Latchkey as a whole names nobody: words that are left over are a slip."""
    if left:
        left = _quoted(left)
        raise BadInput(f'It is not clear what “{left}” is for. If it is the reason, type `--reason "{left}"`.')


def _parse_own(command: str, verb: str, words: list[_Word], others: tuple[str, ...]) -> Parsed:
    """A change of Latchkey itself, by the word after the command; *others* are further words there are."""
    own = {
        action.command.removeprefix(f"{command} "): action
        for action in catalogue().values()
        if action.command.startswith(f"{command} ")
    }
    action = own.get(verb)
    if action is None:
        near = get_close_matches(verb[:40], [*own, *others], n=2, cutoff=0.5)
        guess = f" Did you mean {_choices(f'{command} {name}' for name in near)}?" if near else ""
        there_are = ", ".join(f"`{name}`" for name in (*others, *own))
        raise BadInput(f"`{command}` does not know `{_quoted(verb)}`.{guess} It knows {there_are}.")
    taken = _Taken(action.command, (_REASON, _TICKET, _PREVIEW, *action.asks))
    taken.read(words)
    positional = [each for each in action.asks if each.required and each.name not in taken.options]
    target = _place(action, taken, positional)
    if action.about is TargetKind.TENANT:
        _refuse_more(target)
    if len(target) > LONGEST_TARGET:
        raise BadInput(f"That name is too long: at most {LONGEST_TARGET} characters.", field="target")
    options = {each.name: taken.options[each.name] for each in action.asks if each.name in taken.options}
    action.check(options)
    return Parsed(
        action=action.name,
        target=target,
        options=options,
        reason=_note("reason", taken.options),
        ticket=_note("ticket", taken.options),
        preview=taken.options.get("preview", "no") in TRUE,
    )


_AUDIT_HELP: Final = (
    f"`/m365-audit` shows the newest rows. Add a person, a target or a request's id (`/m365-audit {PERSON}`), "
    "`--action reset-password`, `--since 7d`, `--until 2d`, `--refused`, `--break-glass` or `--leavers`; "
    "`--export csv` or `--export jsonl` sends all of it as a file. `/m365-audit who` tells who may do what today, "
    "`/m365-audit who reset-password` who may do that."
)


_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST_SINCE: Final = timedelta(days=3660)


def read_span(text: str, option: str) -> timedelta:
    """How long ago an option such as `--since` means: `90m`, `12h`, `7d`, `2w`. Raises `BadInput`."""
    number, unit = text[:-1], text[-1:].casefold()
    if unit in _UNITS and number.isascii() and number.isdigit() and len(number) <= 5:
        ago = timedelta(**{_UNITS[unit]: int(number)})
        if timedelta(0) < ago <= _LONGEST_SINCE:
            return ago
    raise BadInput(
        f"`--{option} {_quoted(text)}` is not a time span. Type a number and m, h, d or w, such as `--{option} 7d`.",
        field=option,
    )


# --- Options and their values ---------------------------------------------------------------------------------------


def _option(name: str, kind: Field) -> Input:
    return Input(name=name, label=Label(name), field=kind, required=False, default=None)


# A select is one word, a text goes on to the next option.
_REASON: Final = _option("reason", Field.TEXT)
_TICKET: Final = _option("ticket", Field.SELECT)
_PREVIEW: Final = _option("preview", Field.CHECKBOX)
_EXPORT: Final = _option("export", Field.SELECT)
_COMMON: Final = (_REASON, _option("verified", Field.TEXT), _TICKET, _PREVIEW)
"""What every action takes beside its own inputs."""

_AUDIT: Final = (
    _option("since", Field.SELECT),
    _option("until", Field.SELECT),
    _option("action", Field.SELECT),
    _option("refused", Field.CHECKBOX),
    _option("break_glass", Field.CHECKBOX),
    _option("leavers", Field.CHECKBOX),
    _EXPORT,
)
"""What `/m365-audit` takes."""

_WHATIF: Final = (
    *(_option(name, Field.TEXT) for name in what_if_options.NAMES),
    _option("matrix", Field.CHECKBOX),
)
"""What `/m365-whatif` takes."""


@dataclass
class _Taken:
    """Words sorted into options with their values, and the others. Only `read` writes to it."""

    of: str
    inputs: tuple[Input, ...]
    options: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    first_quoted: bool = False
    """Whether the first of `words` was in quotes: it is then complete, spaces and all."""

    def read(self, words: list[_Word]) -> None:
        known = {each.option: each for each in self.inputs}
        words = [word.settled(known) for word in words]
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word.option is None:
                self.first_quoted |= word.quoted and not self.words
                self.words.append(word.text)
                continue
            wanted = known.get(word.option)
            if wanted is None:
                _refuse_option(self.of, word.option, known)
            if wanted.name in self.options:
                raise BadInput(f"`{word.option}` is there twice. Say it once.", field=wanted.name)
            values = [word.value] if word.value is not None else []
            if not (values and word.quoted):
                most = _most_words(wanted, words[position : position + 1], begun=bool(values))
                while position < len(words) and words[position].option is None and len(values) < most:
                    following = words[position]
                    if following.quoted and values:
                        break
                    values.append(following.text)
                    position += 1
                    if following.quoted:
                        break
            self.options[wanted.name] = self._joined(wanted, values)

    def _joined(self, wanted: Input, values: list[str]) -> str:
        value = " ".join(values).strip()
        if wanted.field is Field.CHECKBOX and not values:
            return "yes"
        if wanted.field is Field.CHECKBOX and value.casefold() not in TRUE | FALSE:
            raise BadInput(f"`{wanted.option}` is yes or no, not `{_quoted(value)}`.", field=wanted.name)
        if value:
            return value.casefold() if wanted.field is Field.CHECKBOX else value
        raise BadInput(f"`{wanted.option}` needs something after it, such as {_example(wanted)}.", field=wanted.name)


def _most_words(wanted: Input, following: list[_Word], *, begun: bool) -> int:
    """How many words the value of an option may have: text goes on to the next option, everything else is one word,
    and a bare flag takes the next word only if it says yes or no."""
    match wanted.field:
        case Field.TEXT | Field.GROUP | Field.LICENSE | Field.CHANNELS | Field.SCOPE:
            return LONGEST_COMMAND
        case Field.CHECKBOX if not begun:
            return sum(word.option is None and word.text.casefold() in TRUE | FALSE for word in following)
    return 1


def _place(action: Action, taken: _Taken, positional: list[Input]) -> str:
    """The target among the words that belong to no option; what follows it fills the inputs in order: those that must
    be given, or else, after a target that is certain to have ended, the others."""
    if not taken.words:
        return ""
    first, *others = taken.words
    certain = taken.first_quoted or looks_exact(first)
    open_inputs = [each for each in positional if each.required] or (positional if certain else [])
    if not certain and not open_inputs:
        for other in others:
            if looks_exact(other):
                raise BadInput(f"Put the person right after the action: `{action.command} {_quoted(other)}`.")
        return " ".join(taken.words)
    for index, each in enumerate(open_inputs):
        takes_the_rest = index == len(open_inputs) - 1 and each.field in (Field.TEXT, Field.GROUP, Field.LICENSE)
        size = len(others) if takes_the_rest else 1
        if others:
            taken.options[each.name] = " ".join(others[:size])
        others = others[size:]
    if others and looks_exact(others[0]):
        raise BadInput(f"One person at a time: `{action.command} {_quoted(first)}`, then the next.")
    if others:
        left = _quoted(" ".join(others))
        raise BadInput(f'It is not clear what “{left}” is for. If it is the reason, type `--reason "{left}"`.')
    return first


def _find_action(words: list[_Word], known: Mapping[str, Action]) -> tuple[Action, int]:
    """The action at the beginning of *words*, also with spaces for its dashes, and how many words that took."""
    for size in (4, 3, 2, 1):
        # Longest first, so that `block sign in` is not taken for something shorter with words left over.
        if size <= len(words) and not any(word.quoted for word in words[1:size]):
            name = _dashed("-".join(word.text for word in words[:size]))
            if name in known:
                return known[name], size
    typed = _dashed(words[0].text)
    near = get_close_matches(typed[:40], [*known, "help", "can", "undo"], n=3, cutoff=0.5)
    near += [name for name in known if len(typed) > 3 and typed in name and name not in near][:2]
    guess = f" Did you mean {_choices(f'/m365 {name}' for name in near[:3])}?" if near else ""
    raise BadInput(f"There is no action `{_quoted(words[0].text)}`.{guess} `/m365 help` lists what there is.")


def _dashed(name: str) -> str:
    return "".join("-" if char in _DASHES or char == "_" else char for char in name).casefold().strip("-/")


def _without_options(verb: str, words: list[_Word]) -> list[str]:
    taken = _Taken(verb, ())
    taken.read(words)
    return taken.words


def _refuse_option(of: str, option: str, known: Mapping[str, Input]) -> NoReturn:
    near = get_close_matches(option[2:40], [name[2:] for name in known], n=1)
    guess = f"Did you mean `--{near[0]}`?" if near else f"It has {', '.join(f'`{name}`' for name in known) or 'none'}."
    raise BadInput(f"`{of}` has no option `{_quoted(option)}`. {guess} Text that has dashes in it goes in quotes.")


def _note(name: str, options: Mapping[str, str]) -> str:
    value = options.get(name, "")
    if len(value) > LONGEST_NOTE:
        raise BadInput(f"`--{name}` is too long: at most {LONGEST_NOTE} characters.", field=name)
    return value


def _example(wanted: Input) -> str:
    return f"`{wanted.option} {_EXAMPLES.get(wanted.name, 'Sales')}`"


_EXAMPLES: Final = {
    "reason": '"locked out"',
    "verified": '"called back"',
    "ticket": "INC-1234",
    "since": "7d",
    "until": "2d",
    "action": "reset-password",
    "export": "csv",
    "preview": "yes",
    "app": "Exchange",
    "ip": "203.0.113.10",
    "country": "Ireland",
    "client": "browser",
    "platform": "windows",
    "flow": '"device code"',
    "device": "compliant",
    "risk": "high",
    "user_risk": "high",
}


# --- Targets --------------------------------------------------------------------------------------------------------

_LOCAL: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789'.-_!#^~")
_LABEL: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_HEX: Final = frozenset("0123456789abcdef")


def looks_exact(text: str) -> bool:
    """Whether *text* has the form of a user principal name or of an object id, and so can mean one account only."""
    return looks_like_id(text) or looks_like_upn(text)


def looks_like_id(text: str) -> bool:
    """Whether *text* has the form of an object id."""
    parts = text.lower().split("-", 5)
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and _HEX.issuperset("".join(parts))


def looks_like_upn(text: str) -> bool:
    """Whether *text* has the form of a user principal name.

    Letters, lengths and signs: Entra docs, *Self-service password reset policies*.
    """
    text = text.lower()
    local, at, domain = text.partition("@")
    labels = domain.split(".")
    return (
        bool(at)
        and 0 < len(local) <= 64
        and len(text) <= 113
        and _LOCAL.issuperset(local)
        and not local.startswith(".")
        and not local.endswith(".")
        and ".." not in local
        and len(labels) > 1
        and all(_is_label(label) for label in labels)
    )


def _is_label(label: str) -> bool:
    return 0 < len(label) <= 63 and _LABEL.issuperset(label) and label[0] != "-" and label[-1] != "-"


def refuse_lookalikes(typed: str) -> None:
    """Raises `BadInput` if *typed* is an address with signs that only look like those of addresses, naming each."""
    if "@" in typed or "＠" in typed:
        strange = {char: None for char in typed if not char.isascii()}
        if strange:
            named = ", ".join(f"“{char}” is U+{ord(char):04X} {_name(char)}" for char in list(strange)[:5])
            raise BadInput(
                f"`{_quoted(typed)}` has signs that sign-in names do not have: {named}. "
                f"Type the address by hand, such as `{PERSON}`.",
                field="target",
            )


def _name(char: str) -> str:
    return unicodedata.name(char, "without a name")


def _check_target(target: str) -> str:
    if len(target) > LONGEST_TARGET:
        raise BadInput(f"That name is too long. Type a sign-in name such as `{PERSON}`.", field="target")
    if target.startswith(("@", "#")):
        raise BadInput(
            f"`{_quoted(target)}` is a Slack name, which says nothing sure about an account. "
            f"Type the person's sign-in name, such as `{PERSON}`.",
            field="target",
        )
    refuse_lookalikes(target)
    return target


# --- Words ----------------------------------------------------------------------------------------------------------

_HYPHENS: Final = "-‐‑−－﹣"
_LONG_DASHES: Final = "‒–—―"
_DASHES: Final = _HYPHENS + _LONG_DASHES
_QUOTES: Final = {**dict.fromkeys('"“”„‟«»″＂〝〞', '"'), **dict.fromkeys("'‘’‚‛′＇", "'")}


@dataclass(frozen=True)
class _Word:
    """A word, or an option (`--reason`) with the value that was tied to it by `=`."""

    text: str
    quoted: bool = False
    option: str | None = None
    value: str | None = None

    def settled(self, known: Mapping[str, Input]) -> _Word:
        """An option after a single hyphen counts only if there is one of that name; else it is a word like others."""
        single = self.option is not None and self.text[0] in _HYPHENS and self.text[1] not in _DASHES
        return _Word(self.text) if single and self.option not in known else self


def _plain(text: str, *, ids: bool = False) -> str:
    """*text* without Slack's markup and what cannot be seen: what the person had in mind when typing.

    With *ids*, a mention of somebody is the id that Slack knows them by, after an @.
    """
    seen = "".join(_visible(char) for char in text)
    unwrapped = "".join(_unwrap(seen, ids=ids))
    return unwrapped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _visible(char: str) -> str:
    if char.isspace():
        return " "
    return char if char.isprintable() else ""


def _unwrap(text: str, *, ids: bool) -> Iterable[str]:
    """The parts of *text*, each `<...>` of Slack's as the words that stand in it (Slack docs: *Formatting text*)."""
    position = 0
    while (start := text.find("<", position)) >= 0 and (end := text.find(">", start)) >= 0:
        yield text[position:start]
        inner = text[start + 1 : end]
        yield inner.partition("|")[0] if ids and inner.startswith("@") else _inner(inner)
        position = end + 1
    yield text[position:]


def _inner(markup: str) -> str:
    link, _, label = markup.partition("|")
    if link.startswith("mailto:"):
        return link.removeprefix("mailto:").partition("?")[0]
    if link[:1] in {"@", "#", "!"}:
        return ("#" if link[0] == "#" else "@") + (label or link[1:]).lstrip("@#")
    return label or link


def _split(text: str) -> list[_Word]:
    words = []
    position, end = 0, len(text)
    while position < end:
        if text[position] == " ":
            position += 1
        elif text[position] in _QUOTES:
            value, position = _read_quoted(text, position)
            words.append(_Word(value, quoted=True))
        else:
            word, position = _read_word(text, position)
            words.append(word)
    return words


def _read_quoted(text: str, position: int) -> tuple[str, int]:
    """What stands in the quotes that open at *position*; without a closing one, everything to the end."""
    kind = _QUOTES[text[position]]
    start = position + 1
    for end in range(start, len(text)):
        if _QUOTES.get(text[end]) == kind and (kind == '"' or text[end + 1 : end + 2] in {"", " "}):
            # A single quote in the middle of a word is an apostrophe.
            return text[start:end], end + 1
    return text[start:], len(text)


def _read_word(text: str, position: int) -> tuple[_Word, int]:
    end = text.find(" ", position)
    end = len(text) if end < 0 else end
    word = text[position:end]
    name = word.lstrip(_DASHES)
    if name == word or not name[0:1].isalnum():
        return _Word(word), end
    key, tied, value = name.partition("=")
    option = "--" + _dashed(key.rstrip(":"))
    if not tied:
        return _Word(word, option=option), end
    if value[:1] and value[0] in _QUOTES:
        value, end = _read_quoted(text, end - len(value))
        return _Word(word, quoted=True, option=option, value=value), end
    return _Word(word, option=option, value=value), end


def _quoted(text: str) -> str:
    """What was typed, fit to stand between backticks in an answer."""
    text = text.replace("`", "'")
    return text if len(text) <= 60 else text[:59] + "…"


def _choices(names: Iterable[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)
