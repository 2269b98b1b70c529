"""Plays a dialogue against a world and its bot, and says at which step it did not come true."""

import asyncio
import html
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from aiohttp import ClientError

from sandbox.bot_process import BotCommandError, BotProcess, SetUp
from sandbox.dialogue import (
    VARIABLE,
    Advance,
    AuditVerifies,
    ChangePolicies,
    ChangeSlack,
    ChangeTenant,
    Choose,
    ClearFault,
    Click,
    CloseModal,
    CommandLine,
    Dialogue,
    DialogueError,
    Expect,
    ExpectTenant,
    ExpectVault,
    KillBot,
    Never,
    OpenHome,
    RedeliverLast,
    SignIn,
    StartBot,
    StartFault,
    Step,
    Submit,
    Type,
    Value,
    load,
)
from sandbox.directory import User
from sandbox.mishaps import in_force
from sandbox.slack.controls import controls, find_control, in_line
from sandbox.slack.invitations import Invitation, invitation_in
from sandbox.slack.limits import RateLimits
from sandbox.slack.model import Channel, Delivery, Json, Message, NotOnScreen, View
from sandbox.vault import SERVICE_ACCOUNT_SECRET
from sandbox.world import Transport, World

_LOG_LINES = 12  # of the bot's log, told when a dialogue did not come true
_PATIENCE = 3
_OFTEN = 0.25  # seconds between two looks at what has not changed
_CODE = re.compile(r"```(.+?)```|`([^`]+)`", re.DOTALL)
_T = TypeVar("_T")


class NotTrue(Exception):
    """A step of a dialogue did not come true.

    The message names file, line and step, what was expected and what is there.
    """


class _NotYet(Exception):
    """The world is not as expected; the message says how it is instead."""


class Player:
    """Plays dialogues with the people of one world and its bot, which must be running and connected."""

    def __init__(self, world: World, bot: BotProcess) -> None:
        self._world = world
        self._slack = world.slack
        self._bot = bot
        self._saved: dict[str, str] = {}
        self._person = ""
        self._channel = ""
        self._typed_at = ""
        self._page = ""  # where the last sign-in at Microsoft ended
        self._last: Delivery | None = None
        self._nevers: list[Step] = []
        self._policies_before: list[Json] = []

    async def play(self, dialogue: Dialogue) -> None:
        """Play every step in order; `NotTrue` tells about the first that fails."""
        self._policies_before = self._policies()
        for step in dialogue.steps:
            await self._play(dialogue, step)
        for step in self._nevers:  # once more: what must never be seen must not come late either
            await self._play(dialogue, step)

    async def _play(self, dialogue: Dialogue, step: Step) -> None:
        try:
            await self._do(step)
        except (_NotYet, NotOnScreen, BotCommandError) as error:
            raise NotTrue(
                f"{dialogue.file}:{step.line}: step {step.number} did not come true: {step.source}\n{error}"
            ) from error

    async def _do(self, step: Step) -> None:
        match step.does:
            case Type() as line:
                await self._type(line)
            case Submit(person, values, within):
                self._person = person
                await self._until(lambda: self._offers(person, values), within)
                self._last = await self._slack.submit(person, self._filled(values))
            case Click() as click:
                await self._click(click)
            case Choose(person, values, place, within):
                self._person = person
                for label, value in self._filled(values).items():
                    where = await self._until(partial(self._find, person, label, place, loosely=True), within)
                    self._last = await self._slack.choose(person, where, label, value) or self._last
            case OpenHome(person):
                self._person = person
                await self._slack.open_home(person)
            case CloseModal(person):
                self._person = person
                await self._slack.close(person)
            case SignIn() as signing_in:
                await self._sign_in(signing_in)
            case Expect() as expect:
                await self._until(lambda: self._look(expect), expect.within)
            case Never() as never:
                self._check_never(never)
                if step not in self._nevers:
                    self._nevers.append(step)
            case ExpectTenant() as tenant:
                await self._until(lambda: self._look_at_tenant(tenant), tenant.within)
            case ExpectVault() as vault:
                await self._until(lambda: self._look_at_vault(vault), vault.within)
            case ChangeTenant() as change:
                self._change_tenant(change)
            case ChangePolicies() as policies:
                self._change_policies(policies)
            case ChangeSlack(person, is_active):
                await (self._slack.reactivate(person) if is_active else self._slack.deactivate(person))
            case CommandLine() as line:
                await self._run(line)
            case StartFault(name):
                self._world.faults.start(name)
            case ClearFault(name):
                self._world.faults.stop(name)
            case Advance(seconds):
                await self._world.passes(seconds)
            case KillBot():
                await self._bot.kill()
            case StartBot():
                await self._world.start_bot()
            case RedeliverLast():
                if self._last is None:
                    raise _NotYet("nobody has done anything yet that could be delivered again")
                await self._slack.redeliver(self._last)
            case AuditVerifies():
                finished = await self._bot.command("audit", "verify")
                if finished.exit_code != 0:
                    raise _NotYet(f"audit verify ended with {finished.exit_code}:\n{_quoted(finished.output)}")

    # What people do.

    async def _type(self, line: Type) -> None:
        self._person = line.person
        channel = self._channel_of(line.place, line.person)
        self._channel = channel.id
        messages = self._slack.messages(channel)
        self._typed_at = messages[-1].ts if messages else ""
        text = self._with_saved(line.text)
        if text.startswith("/"):
            self._last = await self._slack.command(line.person, channel, text)
        else:
            self._slack.say(line.person, channel, text)

    async def _click(self, click: Click) -> None:
        self._person = click.person
        label = self._with_saved(click.label)
        beside = self._with_saved(click.beside)
        look = partial(self._find, click.person, label, click.place, loosely=False, beside=beside)
        where = await self._until(look, click.within)
        self._last = await self._slack.click(click.person, where, label, beside=beside)
        if click.save is not None:
            self._saved[click.save] = await self._until(lambda: self._secret(click.person), click.within)

    async def _sign_in(self, step: SignIn) -> None:
        self._person = step.person
        shown = await self._until(lambda: self._invitation(step.person, with_code=step.with_code), step.within)
        wishes = {"mfa": step.mfa, "consent": step.consent, "cancel": step.cancel, "code": shown.code}
        try:
            landed = await self._world.sign_in(shown.url, step.account, **wishes)
        except ClientError as error:
            raise _NotYet(f"a page on the way could not be opened: {error}") from error
        self._page = f"{landed.url}\n{landed.text}"

    def _filled(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return {
            label: self._with_saved(value) if isinstance(value, str) else tuple(map(self._with_saved, value))
            for label, value in values.items()
        }

    def _with_saved(self, text: str) -> str:
        return VARIABLE.sub(lambda found: self._saved[found[1]], text)

    # What happens elsewhere.

    def _change_tenant(self, change: ChangeTenant) -> None:
        directory = self._world.directory
        try:
            user = directory.user(change.account)
            match change.kind, change.what:
                case ("disable" | "enable") as kind, ():
                    directory.update_user(user.id, enabled=kind == "enable")
                case "delete", ():
                    directory.delete_user(user.id)
                case "add_to_group", (group,):
                    directory.add_member(group, user.id)
                case "remove_from_group", (group,):
                    directory.remove_member(group, user.id)
                case "give_role", (role,):
                    directory.assign_role(user.id, role)
                case "take_role", (role,):
                    directory.unassign_role(user.id, role)
                case "edit", (name, value):
                    directory.update_user(user.id, **_edited(user, name, value))
        except KeyError as error:
            raise _NotYet(f"the tenant has no {error}") from error
        self._world.changes.tell()

    def _change_policies(self, change: ChangePolicies) -> None:
        access = self._world.access
        try:
            match change.kind, change.what:
                case "add_policy", (file,):
                    access.add_from_file(file)
                case "remove_policy", (policy,):
                    access.remove(policy)
                case "policy_state", (policy, state):
                    access.edit(policy, state=_STATES.get(state, state))
                case ("exclude_from_policy" | "include_in_policy") as kind, (policy, account):
                    access.exclude(policy, account, excluded=kind == "exclude_from_policy")
                case "security_defaults", (whether,):
                    access.switch_security_defaults(whether == "on")
                case "per_user_mfa", (account, state):
                    access.set_per_user_mfa(account, state)
                case "egress", (address, country):
                    access.move(address, country)
                case "password_sign_ins", (kind,):
                    access.password_client = kind
        except KeyError as error:
            raise _NotYet(f"the tenant has no {error}") from error
        self._world.changes.tell()

    async def _run(self, line: CommandLine) -> None:
        finished = await self._bot.command(*map(self._with_saved, line.words))
        told = f"it ended with {finished.exit_code} and said:\n{_quoted(finished.output)}"
        if (finished.exit_code != 0) is not line.fails:
            raise _NotYet(told)
        if missing := [text for text in line.contains if self._with_saved(text) not in finished.output]:
            raise _NotYet(f"it does not say {', '.join(map(repr, missing))}; {told}")
        if unwanted := [text for text in line.not_contains if self._with_saved(text) in finished.output]:
            raise _NotYet(f"it says {', '.join(map(repr, unwanted))}; {told}")

    # Where things are.

    def _channel_of(self, place: str, person: str) -> Channel:
        return self._slack.direct(person) if place == "dm" else self._slack.channel(place)

    def _thread(self, person: str) -> list[Message]:
        """The newest story: the replies under the newest message since somebody typed, there or in a direct message."""
        stories: list[Message] = []
        for channel in (self._slack.channel(self._channel), self._slack.direct(person)):
            messages = self._slack.messages(channel)
            stories += [message for message in messages if message.ts > self._typed_at] or messages[-1:]
        return self._slack.thread(max(stories, key=lambda message: message.ts)) if stories else []

    def _modal(self, person: str) -> View:
        view = self._slack.modal(person)
        if view is None:
            raise _NotYet(f"{person} has no form open")
        return view

    def _surfaces(self, person: str, place: str | None) -> Iterator[Message | View]:
        """What a person could use, what they look at first coming first."""
        view = self._slack.modal(person)
        if place in (None, "modal") and view is not None:
            yield view
        if place in (None, "ephemeral"):
            yield from reversed(self._slack.ephemerals(person))
        if place in (None, "thread") and self._channel:
            yield from reversed(self._thread(person))
        if place is None and self._channel:
            yield from reversed(self._slack.messages(self._channel))
        if place is not None and place.startswith("#"):
            yield from reversed(self._slack.messages(self._slack.channel(place)))
        if place in (None, "dm"):
            direct = self._slack.direct(person)
            for message in reversed(self._slack.messages(direct)):
                yield from reversed(self._slack.thread(message))
                yield message
        home = self._slack.home(person)
        if place in (None, "home") and home is not None:
            yield home

    def _find(self, person: str, label: str, place: str | None, *, loosely: bool, beside: str = "") -> Message | View:
        """The nearest thing with a control of this label that the person can see."""
        there = []
        for surface in self._surfaces(person, place):
            blocks = in_line(surface.blocks, beside, surface.reader) if beside else surface.blocks
            there += [name for control in controls(blocks) for name in control.names]
            try:
                find_control(blocks, label, loosely=loosely)
            except NotOnScreen:
                continue
            return surface
        raise _NotYet(f"there is no {label!r} to use; there is: {', '.join(map(repr, there)) or 'nothing'}")

    def _offers(self, person: str, labels: Iterable[str]) -> View:
        """The open form, once it has a submit button and all these fields."""
        view = self._modal(person)
        for label in labels:
            try:
                find_control(view.blocks, label, loosely=True)
            except NotOnScreen as error:
                raise _NotYet(f"{error}\n{_quoted(view.visible_text)}") from error
        return view

    def _secret(self, person: str) -> str:
        """What stands as code in the open form: that is how a form shows a secret."""
        view = self._modal(person)
        for block in view.blocks:
            for text in _code_in(block):
                return text
        raise _NotYet(f"the form shows no secret:\n{_quoted(view.visible_text)}")

    def _invitation(self, person: str, *, with_code: bool) -> Invitation:
        """The newest way to sign in that was shown to this person alone: in a form, a private answer, a DM, on Home."""
        direct = self._slack.messages(self._slack.direct(person))
        replies = [reply for message in direct for reply in self._slack.thread(message)]
        said = sorted(
            (*self._slack.ephemerals(person), *direct, *replies), key=lambda message: message.ts, reverse=True
        )
        for surface in (self._slack.modal(person), *said, self._slack.home(person)):
            found = invitation_in(surface.blocks, with_code=with_code) if surface is not None else None
            if found is not None:
                return found
        raise _NotYet(f"no {'code' if with_code else 'link'} to sign in with was shown to {person} alone")

    def _texts(self, place: str, person: str) -> list[str]:
        """What a reader finds in a place, one text for each message, or for each line of the log."""
        match place:
            case "thread":
                return [message.visible_text for message in self._thread(person)] if self._channel else []
            case "modal":
                view = self._slack.modal(person)
                return [] if view is None else [view.visible_text]
            case "home":
                home = self._slack.home(person)
                return [] if home is None else [home.visible_text]
            case "ephemeral":
                return [message.visible_text for message in self._slack.ephemerals(person)]
            case "dm":
                stories = self._slack.messages(self._slack.direct(person))
                return [m.visible_text for story in stories for m in (story, *self._slack.thread(story))]
            case "files":
                return [file.text for file in self._slack.files(person)]
            case "browser":
                return [self._page]
            case "history":
                return [self._slack.history_text()]
            case "log":
                return self._bot.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
            case "database":
                return [
                    file.read_text(encoding="utf-8", errors="replace") for file in self._world.database.parent.iterdir()
                ]
            case channel:
                return [message.visible_text for message in self._slack.messages(self._slack.channel(channel))]

    # What is checked.

    def _look(self, expect: Expect) -> None:
        texts = self._texts(expect.place, expect.person or self._person)
        wanted = [self._with_saved(text) for text in expect.contains]
        pattern = None
        if expect.matches is not None:
            pattern = re.compile(VARIABLE.sub(lambda found: re.escape(self._saved[found[1]]), expect.matches))

        def fits(text: str) -> bool:
            return all(part in text for part in wanted) and (pattern is None or pattern.search(text) is not None)

        everything = "\n".join(texts)
        if expect.count is not None:
            found = sum(map(fits, texts))
            if found != expect.count:
                raise _NotYet(f"expected {expect.count} that fit, there are {found}, in:\n{_quoted(everything)}")
        elif not fits(everything):
            missing = [repr(part) for part in wanted if part not in everything] or [f"a match of {expect.matches!r}"]
            raise _NotYet(f"not in {expect.place}: {', '.join(missing)}; there is:\n{_quoted(everything)}")
        for unwanted in expect.not_contains:
            if self._with_saved(unwanted) in everything:
                raise _NotYet(f"{unwanted!r} is in {expect.place}:\n{_quoted(everything)}")

    def _check_never(self, never: Never) -> None:
        for text in self._texts(never.place, never.person or self._person):
            for part in never.contains:
                if self._with_saved(part) in text:
                    # Not quoted: what must never be seen should not be printed either.
                    raise _NotYet(f"{part!r} is in {never.place}")

    def _look_at_tenant(self, expect: ExpectTenant) -> None:
        if expect.user is not None:
            try:
                user = self._world.directory.user(expect.user)
            except KeyError as error:
                raise _NotYet(f"the tenant has no user {expect.user}") from error
            self._look_at_user(user, expect)
        for write, times in expect.writes.items():
            method, _, path = write.partition(" ")
            seen = self._world.writes(method, path)
            if seen != times:
                raise _NotYet(f"Microsoft applied {write} {seen} times, not {times}")

        for name, wanted in expect.policies.items():
            try:
                state = str(self._world.access.policy(name)["state"])
            except KeyError:
                state = "none"
            if state != _STATES.get(wanted, wanted):
                raise _NotYet(f"the policy {name} is {state}")
        if expect.policies_unchanged and self._policies() != self._policies_before:
            raise _NotYet(
                f"the policies are not what they were, but:\n{_quoted(json.dumps(self._policies(), indent=1))}"
            )

    def _policies(self) -> list[Json]:
        """Policies and named locations, but for when they were last changed."""
        access = self._world.access
        return [{**one, "modifiedDateTime": None} for one in (*access.policies(), *access.locations())]

    def _look_at_user(self, user: User, expect: ExpectTenant) -> None:
        directory = self._world.directory
        groups = {group.name for group in directory.latest.groups_of(user.id, transitive=False)}
        skus = {directory.skus[license_.sku_id].part_number for license_, _ in directory.latest.licenses_of(user)}
        if expect.password is not None and not directory.signs_in(user.id, self._with_saved(expect.password)):
            raise _NotYet(f"{user.name} cannot sign in with that password")
        if expect.account_enabled not in (None, user.enabled):
            raise _NotYet(f"{user.name}'s account is {'enabled' if user.enabled else 'disabled'}")
        if missing := set(expect.member_of) - groups:
            raise _NotYet(f"{user.name} is not in {', '.join(missing)}, but in {', '.join(groups) or 'no group'}")
        if unwanted := set(expect.not_member_of) & groups:
            raise _NotYet(f"{user.name} is in {', '.join(unwanted)}")
        if expect.licenses is not None and set(expect.licenses) != skus:
            raise _NotYet(f"{user.name} has the licences {', '.join(skus) or 'none'}")

    def _look_at_vault(self, expect: ExpectVault) -> None:
        vault, passwords = self._world.vault, in_force(self._world.directory)
        held = [] if vault.is_deleted(SERVICE_ACCOUNT_SECRET) else vault.versions(SERVICE_ACCOUNT_SECRET)
        enabled = [version for version in reversed(held) if version.enabled]
        states = [version.tags.get("state", "none") for version in enabled]
        if expect.states is not None and states != list(expect.states):
            raise _NotYet(f"Key Vault holds passwords that are {', '.join(states) or 'not there'}")
        signs_in = [state for state, version in zip(states, enabled, strict=True) if version.value in passwords]
        if expect.signs_in is not None and expect.signs_in not in (signs_in or ["none"]):
            raise _NotYet(f"the stored password that signs in is {' and '.join(signs_in) or 'none'}")

    async def _until(self, look: Callable[[], _T], within: float) -> _T:
        """What `look` returns once it no longer raises `_NotYet`; its last complaint after `within` seconds, or three
        times that: a machine may be slow, or busy with others."""
        deadline = asyncio.get_running_loop().time() + within * _PATIENCE
        while True:
            change = self._world.changes.next()
            try:
                return look()
            except _NotYet:
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    raise
            with suppress(TimeoutError):  # the last look comes after the last moment; files change unsaid
                await asyncio.wait_for(change.wait(), min(left, _OFTEN))


def _code_in(block: Json) -> Iterator[str]:
    if block["type"] == "rich_text":
        for part in block["elements"]:
            if part["type"] == "rich_text_preformatted":
                yield "".join(span.get("text", "") for span in part["elements"])
    elif block["type"] == "section" and block.get("text", {}).get("type") == "mrkdwn":
        for fenced, ticked in _CODE.findall(block["text"]["text"]):
            yield html.unescape(fenced or ticked).strip()


def _last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-_LOG_LINES:])


def _quoted(text: str) -> str:
    return "\n".join(f"    | {line}" for line in text.splitlines()) or "    | (nothing)"


_STATES = {"report-only": "enabledForReportingButNotEnforced"}
_FIELDS = {"displayName": "name", "userPrincipalName": "upn", "usageLocation": "usage_location"}
"""Properties a user has by themselves; all others are attributes."""


def _edited(user: User, name: str, value: str) -> dict[str, object]:
    if name in _FIELDS:
        return {_FIELDS[name]: value}
    return {"attributes": {**user.attributes, name: value}}


async def prepare(folder: Path, set_up: SetUp = "advanced") -> None:
    """Make a first installation in an empty `folder`, to copy for each dialogue: it takes several seconds."""
    async with World(state=folder) as world:
        await BotProcess(world.environment(), folder).prepare(set_up)


async def _prepared_for(dialogue: Dialogue, prepared: Path) -> Path:
    """The installation a dialogue begins with: `prepared`, or another beside it, made when the first asks for it."""
    if dialogue.set_up == "advanced":
        return prepared
    other = prepared.with_name(f"{prepared.name}-{dialogue.set_up}")
    if not other.exists():
        with tempfile.TemporaryDirectory(prefix=f"{other.name}-", dir=other.parent) as scratch:
            await prepare(Path(scratch) / "state", dialogue.set_up)
            (Path(scratch) / "state").rename(other)  # only a whole one is found there
    return other


async def perform(
    dialogue: Dialogue, prepared: Path, transport: Transport = "socket", limits: RateLimits | None = None
) -> None:
    """Play a dialogue in a world of its own, with a bot of its own on a copy of a prepared folder.

    A dialogue whose world was set up otherwise gets a copy of another folder, kept beside that one. *limits* are
    what Slack allows, where that is to be more than it is.
    """
    with tempfile.TemporaryDirectory(prefix="latchkey-play-") as scratch:
        folder = Path(scratch) / "state"
        shutil.copytree(await _prepared_for(dialogue, prepared), folder)
        async with World(
            transport=transport,
            state=folder,
            limits=limits,
            callback=dialogue.callback,
            policies=dialogue.policies,
            security_defaults=dialogue.security_defaults,
            egress=dialogue.egress,
            tell_egress=dialogue.tell_egress,
        ) as world:
            bot = BotProcess(world.environment(), folder)
            world.adopt(bot)
            for fault in dialogue.faults:
                world.faults.start(fault)
            try:
                await world.start_bot()
                await Player(world, bot).play(dialogue)
            except NotTrue as error:
                error.add_note(f"The bot's log ends:\n{_quoted(_last_lines(bot.log()))}")
                raise
            finally:
                await bot.stop()


async def play_files(files: Sequence[Path], transport: Transport) -> bool:
    """Play dialogues one after the other, printing how each went; whether all came true."""
    try:
        dialogues = [load(file) for file in files]
    except (DialogueError, OSError) as error:
        print(error, file=sys.stderr)
        return False
    came_true = True
    with tempfile.TemporaryDirectory(prefix="latchkey-play-") as scratch:
        prepared = Path(scratch) / "prepared"
        prepared.mkdir(mode=0o700)
        try:
            await prepare(prepared)
        except BotCommandError as error:
            print(error, file=sys.stderr)
            return False
        for dialogue in dialogues:
            began = time.monotonic()
            try:
                await perform(dialogue, prepared, transport)
            except (NotTrue, BotCommandError) as error:
                came_true = False
                told = "\n".join((str(error), *getattr(error, "__notes__", ())))
                print(f"NOT TRUE  {dialogue.title}\n{told}", file=sys.stderr)
            else:
                print(f"came true  {dialogue.title} ({time.monotonic() - began:.1f} s)")
    return came_true
