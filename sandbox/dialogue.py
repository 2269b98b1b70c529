"""The format of a dialogue: a story about people and the bot, in YAML, read into values that know their line.

    title: Olive resets a password
    world: {faults: [vault-down], policies: [mfa-for-admins.json]}
    steps:
      - {as: olive, in: "#helpdesk", type: "/m365 reset-password adele@contoso.com"}
      - {as: olive, submit: {Reason: "locked out"}}
      - {as: olive, click: "Reveal once", save: secret}
      - {expect: {in: thread, contains: "on until", within: 10s}}
      - {never: {in: history, contains: "$secret"}}

`in` is a channel (`"#helpdesk"`: its top-level messages), `thread` (the replies under the newest message since
somebody typed, there or in their direct conversation with the bot), `dm`, `ephemeral`, `modal`, `home`, `history`
(every text Slack was ever given to keep; modals are not), `files` (the content of files this person can open),
`browser` (the page on which the last sign-in ended), `log` (the bot's) or `database` (its files, byte by byte).
`as` is whose eyes or hands: without it, those of whoever acted last.

Each kind of step is a class below, with its keys in its docstring. `$name` stands for what an earlier step saved.
An unknown key, an unknown place or a variable nobody saved is a `DialogueError` naming file and line, found before
anything is played.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import yaml

from sandbox.bot_process import SetUp
from sandbox.conditional_access import is_shipped
from sandbox.faults import Faults

DEFAULT_WITHIN = 10.0
"""Seconds a step waits for the world to be so when it does not say `within`."""

VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
"""What stands for a saved text."""

_PLACES = ("thread", "modal", "home", "ephemeral", "dm", "files", "browser", "history", "log", "database")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


Value = str | tuple[str, ...]
"""What somebody puts into a field: one text or choice, or several."""


class DialogueError(Exception):
    """A dialogue that cannot be read. The message begins with `file:line:`."""


@dataclass(frozen=True)
class Type:
    """`{as, in, type}`: somebody types a line in a channel or a direct message (`in: dm`)."""

    person: str
    place: str
    text: str


@dataclass(frozen=True)
class Submit:
    """`{as, submit: {label: value}, within?}`: fill the open form and press its submit button."""

    person: str
    values: Mapping[str, Value]
    within: float


@dataclass(frozen=True)
class Click:
    """`{as, click: label, in?, beside?, save?, within?}`: press a button, or an item of a "⋯" menu.

    `beside` are words of the line it stands in; `save` keeps the secret its form then shows.
    """

    person: str
    label: str
    place: str | None
    beside: str
    save: str | None
    within: float


@dataclass(frozen=True)
class Choose:
    """`{as, choose: {label: option}, in?, within?}`: pick from menus, or fill fields in without sending the form."""

    person: str
    values: Mapping[str, Value]
    place: str | None
    within: float


@dataclass(frozen=True)
class OpenHome:
    """`{as, open: home}`: open the bot's App Home."""

    person: str


@dataclass(frozen=True)
class CloseModal:
    """`{as, close: modal}`: close the topmost form without submitting it."""

    person: str


@dataclass(frozen=True)
class SignIn:
    """`{as, sign_in: {account, with: code | link, mfa?, consent?, cancel?, within?}}`: sign in at Microsoft.

    Follows the newest link, or types the newest code, that was shown to this person alone.
    """

    person: str
    account: str
    with_code: bool
    mfa: bool
    consent: bool
    cancel: bool
    within: float


@dataclass(frozen=True)
class Expect:
    """`{expect: {in, as?, contains | not_contains | matches | count, within?}}`.

    All that is said must hold at once. With `count`, exactly so many messages of the place fit
    `contains` and `matches`.
    """

    place: str
    person: str | None
    contains: tuple[str, ...]
    not_contains: tuple[str, ...]
    matches: str | None
    count: int | None
    within: float


@dataclass(frozen=True)
class Never:
    """`{never: {in, as?, contains}}`: does not hold now, nor at the end of the dialogue."""

    place: str
    person: str | None
    contains: tuple[str, ...]


@dataclass(frozen=True)
class ExpectTenant:
    """`{expect_tenant: {...}}`: how the tenant has to be.

    `user` names whom `password` (a sign-in with it succeeds), `accountEnabled`, `member_of`, `not_member_of`
    and `licenses` are about; `writes` counts requests Microsoft applied since the dialogue began, as
    `{PATCH /users: 1}`. `policies` are states of Conditional Access policies by name (`none`: there is no such
    policy); `policies_unchanged`: policies and named locations are what they were when the dialogue began.
    """

    user: str | None
    password: str | None
    account_enabled: bool | None
    member_of: tuple[str, ...]
    not_member_of: tuple[str, ...]
    licenses: tuple[str, ...] | None
    writes: Mapping[str, int]
    within: float
    policies: Mapping[str, str] = field(default_factory=dict)
    policies_unchanged: bool = False


@dataclass(frozen=True)
class ExpectVault:
    """`{expect_vault: {states?, signs_in?, within?}}`: which passwords of the service account Key Vault holds.

    `states` are the tags `state` of the enabled versions, newest first; `signs_in` is that of the one that is in force,
    or `none`.
    """

    states: tuple[str, ...] | None
    signs_in: str | None
    within: float


@dataclass(frozen=True)
class ChangeTenant:
    """`{tenant: {change: of what}}`: somebody else changes the tenant.

    `kind` is `disable`, `enable`, `delete` (an account), `add_to_group`, `remove_from_group`, `give_role`,
    `take_role` (an account and a name) or `edit` (an account, a property and its value).
    """

    kind: str
    account: str
    what: tuple[str, ...]


@dataclass(frozen=True)
class ChangePolicies:
    """`{tenant: {change: of what}}`: an administrator changes Conditional Access, without Latchkey.

    `kind` is `add_policy` (a shipped file, `mfa-for-admins.json`, or one beside the dialogue), `remove_policy` (a file
    or a display name), `policy_state` (that, and `enabled`, `disabled` or `report-only`), `exclude_from_policy`,
    `include_in_policy` (that, and an account), `security_defaults` (`on` or `off`), `per_user_mfa` (an account and
    `disabled`, `enabled` or `enforced`), `egress` (the bot's machine gets another address, in a country) or
    `password_sign_ins` (as which kind of client they count: `mobileAppsAndDesktopClients`, `browser` or `other`).
    """

    kind: str
    what: tuple[str, ...]


@dataclass(frozen=True)
class ChangeSlack:
    """`{slack: {deactivate | reactivate: person}}`: a workspace admin closes somebody's account or opens it again."""

    person: str
    is_active: bool


@dataclass(frozen=True)
class CommandLine:
    """`{cli: line, contains?, not_contains?, fails?}`: run `latchkey` with this line in the bot's environment."""

    words: tuple[str, ...]
    contains: tuple[str, ...]
    not_contains: tuple[str, ...]
    fails: bool


@dataclass(frozen=True)
class StartFault:
    """`{fault: name}`: let a fault of the catalogue happen from now on."""

    name: str


@dataclass(frozen=True)
class ClearFault:
    """`{clear: name}`: end a fault."""

    name: str


@dataclass(frozen=True)
class Advance:
    """`{advance: 8h}`: move the world's clock, and with it the bot's."""

    seconds: float


@dataclass(frozen=True)
class KillBot:
    """`{kill: bot}`: SIGKILL."""


@dataclass(frozen=True)
class StartBot:
    """`{start: bot}`: start it again and wait until it is connected."""


@dataclass(frozen=True)
class RedeliverLast:
    """`{redeliver: last}`: Slack delivers once more what the last person did."""


@dataclass(frozen=True)
class AuditVerifies:
    """`{audit: ok}`: `python -m bot audit verify` finds the audit trail whole."""


Deed = (
    Type
    | Submit
    | Click
    | Choose
    | OpenHome
    | CloseModal
    | SignIn
    | Expect
    | Never
    | ExpectTenant
    | ExpectVault
    | ChangeTenant
    | ChangePolicies
    | ChangeSlack
    | CommandLine
    | StartFault
    | ClearFault
    | Advance
    | KillBot
    | StartBot
    | RedeliverLast
    | AuditVerifies
)


@dataclass(frozen=True)
class Step:
    """One entry of `steps`: what is done, where it stands, and how it is written there."""

    number: int
    line: int
    source: str
    does: Deed


@dataclass(frozen=True)
class Dialogue:
    """A whole story. `faults` are in force before the bot starts; with `callback` people come back to its own page.

    `policies`, `security_defaults`, `egress` and `tell_egress` are those of `World`.
    """

    file: Path
    title: str
    faults: tuple[str, ...]
    steps: tuple[Step, ...]
    set_up: SetUp = "advanced"
    callback: bool = False
    policies: tuple[str, ...] = ()
    security_defaults: bool = False
    egress: str | None = None
    tell_egress: bool = False


_T = TypeVar("_T")


class _Reader:
    """A YAML mapping from which keys are taken one by one; what is left over is an error."""

    def __init__(self, node: yaml.Node, file: Path, what: str, saved: set[str]) -> None:
        self._node, self._file, self._what, self._saved = node, file, what, saved
        if not isinstance(node, yaml.MappingNode):
            raise self.error(f"{what} is a mapping, as in {{key: value}}", node)
        self._nodes: dict[str, yaml.Node] = {}
        self._asked: set[str] = set()
        for key, value in node.value:
            name = self.text(key)
            if name in self._nodes:
                raise self.error(f"{name!r} stands twice in {what}", key)
            self._nodes[name] = value

    def error(self, sentence: str, node: yaml.Node | None = None) -> DialogueError:
        """An error at `node`, or at the beginning of the mapping."""
        return DialogueError(f"{self._file}:{(node or self._node).start_mark.line + 1}: {sentence}")

    @property
    def names(self) -> tuple[str, ...]:
        """All keys, in the order of the file."""
        return tuple(self._nodes)

    def need(self, key: str, read: Callable[[yaml.Node], _T]) -> _T:
        """The value of a key that must be there."""
        self._asked.add(key)
        if key not in self._nodes:
            raise self.error(f"{self._what} needs {key!r}")
        return read(self._nodes[key])

    def may(self, key: str, read: Callable[[yaml.Node], _T], otherwise: _T) -> _T:
        """The value of a key that may be missing."""
        self._asked.add(key)
        return read(self._nodes[key]) if key in self._nodes else otherwise

    def done(self) -> None:
        """Refuse the keys nobody asked for."""
        for key, node in self._nodes.items():
            if key not in self._asked:
                known = ", ".join(sorted(self._asked))
                raise self.error(f"unknown key {key!r} in {self._what}; it may have: {known}", node)

    def within(self) -> float:
        """How long to wait until it is so."""
        return self.may("within", self.seconds, DEFAULT_WITHIN)

    def said(self, key: str, word: str, deed: _T) -> _T:
        """`deed`, once the key's value is the one word it can be."""
        self.need(key, self.one_of(word))
        return deed

    def inside(self, key: str, what: str) -> "_Reader":
        """The mapping under a key that must be there."""
        return self.need(key, lambda node: _Reader(node, self._file, what, self._saved))

    # What a value may be.

    def text(self, node: yaml.Node) -> str:
        """Any scalar, as it is written; its variables must have been saved by an earlier step."""
        if not isinstance(node, yaml.ScalarNode):
            raise self.error("a text is expected here", node)
        for name in VARIABLE.findall(node.value):
            if name not in self._saved:
                raise self.error(f"no earlier step saves ${name}", node)
        return str(node.value)

    def texts(self, node: yaml.Node) -> tuple[str, ...]:
        """One text, or a list of them."""
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.text(item) for item in node.value)
        return (self.text(node),)

    def one_of(self, *words: str) -> Callable[[yaml.Node], str]:
        """A reader for one of a few words."""

        def read(node: yaml.Node) -> str:
            text = self.text(node)
            if text not in words:
                raise self.error(f"{text!r} is not one of: {', '.join(words)}", node)
            return text

        return read

    def place(self, node: yaml.Node) -> str:
        """A channel as `#name`, or one of the other places."""
        text = self.text(node)
        if not text.startswith("#") and text not in _PLACES:
            raise self.error(f"{text!r} is no place: a channel as '#name', or {', '.join(_PLACES)}", node)
        return text

    def pattern(self, node: yaml.Node) -> str:
        """A regular expression."""
        text = self.text(node)
        try:
            re.compile(VARIABLE.sub("x", text))
        except re.error as error:
            raise self.error(f"{text!r} is no regular expression: {error}", node) from error
        return text

    def fault(self, node: yaml.Node) -> str:
        """The name of a fault of the catalogue."""
        return self.one_of(*(kind.name for kind in Faults().catalogue()))(node)

    def faults(self, node: yaml.Node) -> tuple[str, ...]:
        """Names of faults."""
        return tuple(map(self.fault, node.value)) if isinstance(node, yaml.SequenceNode) else (self.fault(node),)

    def policies(self, node: yaml.Node) -> str:
        """A file of policies: a shipped one by its name, or one beside the dialogue, of which the path is answered."""
        name = self.text(node)
        own = self._file.parent / name
        found = name if is_shipped(name) else str(own.resolve()) if own.is_file() else None
        if found is None:
            raise self.error(f"there is no file of policies called {name!r}", node)
        return found

    def files_of_policies(self, node: yaml.Node) -> tuple[str, ...]:
        """Files of policies."""
        return tuple(map(self.policies, node.value)) if isinstance(node, yaml.SequenceNode) else (self.policies(node),)

    def seconds(self, node: yaml.Node) -> float:
        """A duration with its unit, as `10s`, `5m`, `8h` or `1d`."""
        text = self.text(node)
        found = _DURATION.fullmatch(text)
        if found is None:
            raise self.error(f"{text!r} is no duration; write 500ms, 10s, 5m, 8h or 1d", node)
        return float(found[1]) * _SECONDS[found[2]]

    def number(self, node: yaml.Node) -> int:
        """A whole number, zero or more."""
        text = self.text(node)
        if not text.isdecimal():
            raise self.error(f"{text!r} is no whole number", node)
        return int(text)

    def truth(self, node: yaml.Node) -> bool:
        """`true` or `false`, `yes` or `no`."""
        return self.one_of("true", "false", "yes", "no")(node) in ("true", "yes")

    def value(self, node: yaml.Node) -> Value:
        """What goes into a field: one text, or a list of choices."""
        return self.texts(node) if isinstance(node, yaml.SequenceNode) else self.text(node)

    def exactly(self, *what: str) -> Callable[[yaml.Node], tuple[str, ...]]:
        """A reader for as many texts as there are words for them."""

        def read(node: yaml.Node) -> tuple[str, ...]:
            texts = self.texts(node)
            if len(texts) != len(what):
                raise self.error(f"{' and '.join(what)} are expected here, as [{', '.join(what)}]", node)
            return texts

        return read

    def words(self, node: yaml.Node) -> tuple[str, ...]:
        """A command line, split as a shell does."""
        try:
            return tuple(shlex.split(self.text(node)))
        except ValueError as error:
            raise self.error(f"a command line is expected here: {error}", node) from error

    def mapping_of(self, read: Callable[[yaml.Node], _T]) -> Callable[[yaml.Node], Mapping[str, _T]]:
        """A reader for a mapping from any texts to values of one kind."""

        def read_all(node: yaml.Node) -> Mapping[str, _T]:
            inner = _Reader(node, self._file, "this mapping", self._saved)
            return {key: inner.need(key, read) for key in inner.names}

        return read_all


# What may stand for each thing that is one of a few words.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "state": ("enabled", "disabled", "report-only"),
    "on or off": ("on", "off"),
    "mfa state": ("disabled", "enabled", "enforced"),
    "kind of client": ("mobileAppsAndDesktopClients", "browser", "other"),
}


def _expect(step: _Reader) -> Expect:
    inner = step.inside("expect", "an expectation")
    expect = Expect(
        place=inner.need("in", inner.place),
        person=inner.may("as", inner.text, None),
        contains=inner.may("contains", inner.texts, ()),
        not_contains=inner.may("not_contains", inner.texts, ()),
        matches=inner.may("matches", inner.pattern, None),
        count=inner.may("count", inner.number, None),
        within=inner.within(),
    )
    inner.done()
    if not (expect.contains or expect.not_contains or expect.matches or expect.count is not None):
        raise inner.error("an expectation says what it expects: contains, not_contains, matches or count")
    return expect


def _never(step: _Reader) -> Never:
    inner = step.inside("never", "a 'never'")
    never = Never(inner.need("in", inner.place), inner.may("as", inner.text, None), inner.need("contains", inner.texts))
    inner.done()
    return never


def _expect_tenant(step: _Reader) -> ExpectTenant:
    inner = step.inside("expect_tenant", "an expectation about the tenant")
    expect = ExpectTenant(
        user=inner.may("user", inner.text, None),
        password=inner.may("password", inner.text, None),
        account_enabled=inner.may("accountEnabled", inner.truth, None),
        member_of=inner.may("member_of", inner.texts, ()),
        not_member_of=inner.may("not_member_of", inner.texts, ()),
        licenses=inner.may("licenses", inner.texts, None),
        writes=inner.may("writes", inner.mapping_of(inner.number), {}),
        policies=inner.may("policies", inner.mapping_of(inner.one_of(*_CHOICES["state"], "none")), {}),
        policies_unchanged=inner.may("policies_unchanged", inner.truth, False),
        within=inner.within(),
    )
    inner.done()
    about_a_user = (
        expect.password is not None
        or expect.account_enabled is not None
        or expect.member_of
        or expect.not_member_of
        or expect.licenses is not None
    )
    if about_a_user and expect.user is None:
        raise inner.error("an expectation about an account says whose, with 'user'")
    if not (about_a_user or expect.writes or expect.policies or expect.policies_unchanged):
        raise inner.error("an expectation says what it expects")
    return expect


def _expect_vault(step: _Reader) -> ExpectVault:
    inner = step.inside("expect_vault", "an expectation about Key Vault")
    expect = ExpectVault(
        inner.may("states", inner.texts, None), inner.may("signs_in", inner.text, None), inner.within()
    )
    inner.done()
    if expect.states is None and expect.signs_in is None:
        raise inner.error("an expectation says what it expects: states or signs_in")
    return expect


def _sign_in(step: _Reader) -> SignIn:
    inner = step.inside("sign_in", "a sign-in")
    signing_in = SignIn(
        person=step.need("as", step.text),
        account=inner.need("account", inner.text),
        with_code=inner.need("with", inner.one_of("code", "link")) == "code",
        mfa=inner.may("mfa", inner.truth, True),
        consent=inner.may("consent", inner.truth, True),
        cancel=inner.may("cancel", inner.truth, False),
        within=inner.within(),
    )
    inner.done()
    return signing_in


_TENANT_CHANGES: Mapping[str, tuple[str, ...]] = {
    "disable": ("account",),
    "enable": ("account",),
    "delete": ("account",),
    "add_to_group": ("account", "group"),
    "remove_from_group": ("account", "group"),
    "give_role": ("account", "role"),
    "take_role": ("account", "role"),
    "edit": ("account", "property", "value"),
}


def _one_change(step: _Reader, key: str, kinds: Mapping[str, tuple[str, ...]]) -> tuple[str, tuple[str, ...]]:
    """The one change a mapping under `key` tells of, and to what."""
    inner = step.inside(key, "a change")
    told = {kind: inner.may(kind, inner.exactly(*what), None) for kind, what in kinds.items()}
    inner.done()
    changes = [(kind, of) for kind, of in told.items() if of is not None]
    if len(changes) != 1:
        raise inner.error(f"a change is exactly one of: {', '.join(kinds)}")
    return changes[0]


_POLICY_CHANGES: Mapping[str, tuple[str, ...]] = {
    "add_policy": ("file",),
    "remove_policy": ("policy",),
    "policy_state": ("policy", "state"),
    "exclude_from_policy": ("policy", "account"),
    "include_in_policy": ("policy", "account"),
    "security_defaults": ("on or off",),
    "per_user_mfa": ("account", "mfa state"),
    "egress": ("address", "country"),
    "password_sign_ins": ("kind of client",),
}


def _change_tenant(step: _Reader) -> ChangeTenant | ChangePolicies:
    kind, what = _one_change(step, "tenant", {**_TENANT_CHANGES, **_POLICY_CHANGES})
    if kind in _TENANT_CHANGES:
        account, *rest = what
        return ChangeTenant(kind, account, tuple(rest))
    inner = step.inside("tenant", "a change")
    if kind == "add_policy":
        what = (inner.need(kind, inner.policies),)
    for name, value in zip(_POLICY_CHANGES[kind], what, strict=True):
        if value not in _CHOICES.get(name, (value,)):
            raise inner.error(f"{value!r} is not one of: {', '.join(_CHOICES[name])}")
    return ChangePolicies(kind, what)


def _change_slack(step: _Reader) -> ChangeSlack:
    kind, (person,) = _one_change(step, "slack", {"deactivate": ("person",), "reactivate": ("person",)})
    return ChangeSlack(person, kind == "reactivate")


# The key that makes a step what it is, and how the step is read.
_STEPS: Mapping[str, Callable[[_Reader], Deed]] = {
    "type": lambda s: Type(s.need("as", s.text), s.need("in", s.place), s.need("type", s.text)),
    "submit": lambda s: Submit(s.need("as", s.text), s.need("submit", s.mapping_of(s.value)), s.within()),
    "click": lambda s: Click(
        s.need("as", s.text),
        s.need("click", s.text),
        s.may("in", s.place, None),
        s.may("beside", s.text, ""),
        s.may("save", s.text, None),
        s.within(),
    ),
    "choose": lambda s: Choose(
        s.need("as", s.text), s.need("choose", s.mapping_of(s.value)), s.may("in", s.place, None), s.within()
    ),
    "open": lambda s: s.said("open", "home", OpenHome(s.need("as", s.text))),
    "close": lambda s: s.said("close", "modal", CloseModal(s.need("as", s.text))),
    "sign_in": _sign_in,
    "expect": _expect,
    "never": _never,
    "expect_tenant": _expect_tenant,
    "expect_vault": _expect_vault,
    "tenant": _change_tenant,
    "slack": _change_slack,
    "cli": lambda s: CommandLine(
        s.need("cli", s.words),
        s.may("contains", s.texts, ()),
        s.may("not_contains", s.texts, ()),
        s.may("fails", s.truth, False),
    ),
    "fault": lambda s: StartFault(s.need("fault", s.fault)),
    "clear": lambda s: ClearFault(s.need("clear", s.fault)),
    "advance": lambda s: Advance(s.need("advance", s.seconds)),
    "kill": lambda s: s.said("kill", "bot", KillBot()),
    "start": lambda s: s.said("start", "bot", StartBot()),
    "redeliver": lambda s: s.said("redeliver", "last", RedeliverLast()),
    "audit": lambda s: s.said("audit", "ok", AuditVerifies()),
}


def parse(text: str, file: Path) -> Dialogue:
    """Read a dialogue; `file` is its name in errors. DialogueError says what is wrong and where."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise DialogueError(f"{file}:{line}: {error.problem}") from error
    if root is None:
        raise DialogueError(f"{file}:1: the dialogue is empty")
    saved: set[str] = set()
    story = _Reader(root, file, "a dialogue", saved)
    title = story.need("title", story.text)
    faults: tuple[str, ...] = ()
    set_up, callback = "advanced", False
    no_policies: tuple[str, ...] = ()
    access: dict[str, Any] = {}
    if "world" in story.names:
        world = story.inside("world", "the world")
        faults = world.may("faults", world.faults, ())
        set_up = world.may("set_up", world.one_of(*get_args(SetUp)), set_up)
        callback = world.may("callback", world.truth, callback)
        access = {
            "policies": world.may("policies", world.files_of_policies, no_policies),
            "security_defaults": world.may("security_defaults", world.truth, False),
            "egress": world.may("egress", world.text, None),
            "tell_egress": world.may("tell_egress", world.truth, False),
        }
        world.done()
    nodes = story.need("steps", lambda node: node)
    story.done()
    if not isinstance(nodes, yaml.SequenceNode) or not nodes.value:
        raise story.error("'steps' is a list of steps", nodes)
    steps = []
    for number, node in enumerate(nodes.value, start=1):
        steps.append(_step(number, node, text, file, saved))
    return Dialogue(file, title, faults, tuple(steps), cast(SetUp, set_up), callback, **access)


def _step(number: int, node: yaml.Node, text: str, file: Path, saved: set[str]) -> Step:
    reader = _Reader(node, file, "a step", saved)
    kinds = [key for key in reader.names if key in _STEPS]
    if len(kinds) != 1:
        said = f"this one says {' and '.join(kinds)}" if kinds else f"this one has {', '.join(reader.names)}"
        raise reader.error(f"a step says exactly one of: {', '.join(_STEPS)}; {said}")
    does = _STEPS[kinds[0]](reader)
    reader.done()
    if isinstance(does, Click) and does.save is not None:
        saved.add(does.save)
    source = " ".join(text[node.start_mark.index : node.end_mark.index].split())
    return Step(number, node.start_mark.line + 1, source, does)


def load(path: Path) -> Dialogue:
    """Read a dialogue from a file; OSError if it cannot be read, DialogueError if it makes no sense."""
    return parse(path.read_text(encoding="utf-8"), path)
