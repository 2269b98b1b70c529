"""What auditors ask in Slack: who did what, on whom and when; who may do what today; the same as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import IO, Any, Final, Protocol
from zoneinfo import ZoneInfo

from bot.command import looks_like_id, read_span
from bot.directory import find_people
from bot.errors import BadInput, NotPossible
from bot.model import JSON, AuditRecord, Grant, GroupGrant, Operator, Request, SlackUser, Target
from bot.ports import AuditReading, AuditRow, AuditSelection, AuditTrail, Clock, Reader
from bot.sheet import Sheet

Reply = tuple[str, dict[str, JSON]]
"""A sentence, and the data its view shows."""

PAGE: Final = 15

MOST_EXPORTED: Final = 100_000
"""How many rows a file holds at most; `latchkey audit export` on the machine knows no limit."""

IN_WORDS: Final[Mapping[str, str]] = {
    "attempt.started": "about to be sent",
    "attempt.finished": "answered",
    "request.done": "done",
    "request.failed": "failed",
    "request.refused": "refused",
    "request.expired": "not confirmed in time",
    "request.withdrawn": "withdrawn",
    "request.unknown": "not confirmed yet",
    "request.resumed": "gone on with after a failure",
    "request.awaiting_confirmation": "asked to confirm",
    "request.awaiting_approval": "asked for an approval",
    "approval.asked": "somebody else asked to agree",
    "approval.given": "agreed to",
    "approval.denied": "not agreed to",
    "approval.refused": "may not agree to it",
    "approval.withdrawn": "no agreement wanted any more",
    "approval.unheard": "the approvals channel could not be asked",
    "approval.break_glass": "agreed to alone, in an emergency",
    "review.closed": "emergency reviewed",
    "reveal.shown": "secret shown to the requester",
    "press.refused": "somebody else pressed a button",
    "identity.refused": "somebody who may not ask was turned away",
    "blocked.tested": "tested whether sign-ins work again",
    "blocked.result": "found whether sign-ins work again",
    "request.again": "asked for again, now that sign-ins work again",
    "session.opened": "session opened",
    "session.ended": "session ended",
    "session.extended": "session extended",
    "session.renewed": "session went on with a new sign-in",
    "session.failed": "session could not be opened",
    "session.lost": "session ended: its account could not sign in any more",
    "signin.succeeded": "signed in at Microsoft",
    "signin.failed": "sign-in at Microsoft failed",
    "grant.created": "role granted",
    "grant.revoked": "role revoked",
    "grant.followed": "role granted through a group",
    "grant.unfollowed": "role ended with the group",
    "group_grant.created": "role made to follow a group",
    "group_grant.revoked": "role follows a group no more",
    "operator.bound": "account linked",
    "operator.left": "operator left",
    "operator.suspended": "operator suspended",
    "operator.restored": "operator restored",
    "scope.added": "scope added",
    "scope.changed": "scope changed",
    "role.defined": "role defined",
    "role.removed": "role removed",
    "settings.changed": "settings changed",
    "rotation.started": "rotation begun",
    "rotation.resumed": "rotation tried again",
    "rotation.done": "rotation done",
    "rotation.failed": "rotation could not go on",
    "rotation.given_up": "rotation given up",
    "rotation.drill.done": "drill of a rotation done",
    "rotation.drill.failed": "drill of a rotation failed",
    "alert.raised": "alert raised",
    "alert.acknowledged": "alert acknowledged",
    "alert.closed": "alert closed",
    "alert.refused": "may not act on an alert",
    "roles.shipped": "roles installed",
    "audit.checkpoint": "checkpoint",
    "audit.cut": "rows whose time was over taken away",
    "audit.exported": "audit trail exported",
    "audit.export_failed": "export could not be delivered",
}
"""What an audit row's kind is called in Slack; a kind without words is shown as it is."""

_COLUMNS: Final = (
    "row", "time", "what", "operator", "operator_id", "target", "target_id", "request_id", "client_request_id",
    "session", "facts", "seal",
)  # fmt: skip

_WHO_COLUMNS: Final = (
    "operator", "slack_user", "account", "account_id", "state", "role", "where", "until", "granted_by", "granted_at",
    "reason", "through",
)  # fmt: skip


class Holding(Protocol):
    """An operator with what was granted to them."""

    @property
    def operator(self) -> Operator: ...

    @property
    def grants(self) -> Sequence[Grant]: ...


class People(Protocol):
    """The operators, all of them, and what their roles hold."""

    async def everyone(self) -> Sequence[Holding]: ...

    async def roles(self) -> Mapping[str, Sequence[str]]: ...

    async def followed_groups(self) -> Sequence[GroupGrant]: ...


class Targets(Protocol):
    """Requests, as far as they tell whom an auditor means."""

    async def find(self, request_id: str) -> Request | None: ...

    async def targets_called(self, text: str) -> Sequence[Target]:
        """Targets of earlier requests that had this sign-in name or name then, each once, with the name of the last."""


class Trail(AuditReading, AuditTrail, Protocol):
    """The trail to read and, for what is taken out of it, to write."""


class Files(Protocol):
    """Brings files to people."""

    async def send(self, to: SlackUser, name: str, title: str, content: IO[bytes], size: int) -> None:
        """Put a file into somebody's direct messages. Raises `NotPossible` if Slack does not take it."""


class Auditing:
    """Answers auditors. *directory* is asked for people that no request was about under the name that is typed."""

    def __init__(
        self,
        *,
        clock: Clock,
        operators: People,
        requests: Targets,
        trail: Trail,
        directory: Reader,
        files: Files,
        zone: ZoneInfo,
        most: int = MOST_EXPORTED,
    ) -> None:
        self._clock = clock
        self._operators = operators
        self._requests = requests
        self._trail = trail
        self._directory = directory
        self._files = files
        self._zone = zone
        self._most = most

    # --- the trail ---------------------------------------------------------------------------------------------------

    async def read(self, request: Request) -> Reply:
        """A page of the rows that were asked for, or all of them as a file."""
        about, words = await self._selection(request)
        title = ", ".join(["Audit trail", *words])
        names = {holding.operator.id: _called(holding.operator) for holding in await self._operators.everyone()}
        if form := request.inputs.get("export"):
            return await self._export(request, about, words, str(form), names)
        before = request.inputs.get("before")
        rows = await self._trail.query(about, before_seq=int(before) if before else None, limit=PAGE + 1)
        if not rows:
            return f"{title}: nothing found.", {"title": f"{title}: nothing found.", "rows": []}
        lines = [
            [
                row.seq,
                row.at.isoformat(),
                _who(row.record, names),
                IN_WORDS.get(row.record.kind, row.record.kind),
                _whom(row, names) or row.record.target_id or "",
                _summary(row.record.facts),
            ]
            for row in rows[:PAGE]
        ]
        more = lines[-1][0] if len(rows) > PAGE else None
        return title, {"title": title, "rows": lines, "next": more}

    async def _selection(self, request: Request) -> tuple[AuditSelection, list[str]]:
        """Which rows are asked for, and that in words."""
        wanted, words = await self._whose(request.typed.strip())
        now = self._clock.now()
        if action := request.inputs.get("action"):
            wanted["action"] = action
            words.append(f"`{action}`")
        for key, phrase in (("since", "the last {}"), ("until", "up to {} ago")):
            if text := request.inputs.get(key):
                wanted[key] = now - read_span(str(text), key)
                words.append(phrase.format(_span(str(text))))
        for key, phrase in (("refused", "refusals"), ("break_glass", "break-glass"), ("leavers", "leavers")):
            if request.inputs.get(key):
                wanted[key] = True
                words.append(phrase)
        return AuditSelection(**wanted), words

    async def _whose(self, about: str) -> tuple[dict[str, Any], list[str]]:
        """Everybody's rows, a request's, those of an operator and on their account, or those about a target."""
        if not about:
            return {}, []
        if await self._requests.find(about):
            return {"request": about}, [f"request {about}"]
        if operator := await self._operator(about):
            wanted = {"operator": operator.id, **({"target": operator.account_id} if operator.account_id else {})}
            return wanted, [_called(operator)]
        if looks_like_id(about):
            return {"target": about.lower()}, [about.lower()]
        known = await self._requests.targets_called(about)
        if len(known) == 1:
            return {"target": known[0].id}, [known[0].name]
        people = await find_people(self._directory, about)
        if len(people) != 1:
            raise BadInput(_which(about, [person.upn for person in people]))
        return {"target": people[0].id}, [people[0].name]

    async def _operator(self, about: str) -> Operator | None:
        named, mentioned = about.removeprefix("@").casefold(), about.startswith("@")
        found = [
            operator
            for operator in (holding.operator for holding in await self._operators.everyone())
            if named in _names(operator, short=mentioned)
        ]
        if len(found) > 1:
            raise BadInput(_which(about, [operator.upn or operator.slack.user for operator in found]))
        if mentioned and not found:
            raise BadInput(f"`{about}` is no operator of Latchkey. For an account, type its whole sign-in name.")
        return found[0] if found else None

    async def _export(
        self, request: Request, about: AuditSelection, words: Sequence[str], form: str, names: Mapping[str, str]
    ) -> Reply:
        sheet = Sheet(form, _COLUMNS)

        def take(row: AuditRow) -> None:
            """In a thread, row by row."""
            if form == "jsonl":
                sheet.write_line(row.sealed)
                return
            record = row.record
            sheet.add(
                row.seq, row.at.isoformat(), record.kind, _who(record, names), record.operator_id, _whom(row, names),
                record.target_id, record.request_id, record.attempt_id, record.session_generation,
                json.dumps(dict(record.facts), ensure_ascii=False) if record.facts else "", _seal_of(row.sealed),
            )  # fmt: skip

        with sheet:
            count, left_out = await self._trail.each(about, take, limit=self._most)
            if not count:
                title = f"{', '.join(['Audit trail', *words])}: nothing found, so there is no file."
                return title, {"title": title}
            chosen = {name: _plain(value) for name, value in asdict(about).items() if value}
            await self._hand_over(request, sheet, "latchkey-audit", chosen, count, left_out=left_out)
        title = f"{_rows(count)} of the audit trail are in your direct messages as a file."
        if count == 1:
            title = "1 row of the audit trail is in your direct messages as a file."
        notes = ["The audit trail says that you took it, with the file's SHA-256."]
        if left_out:
            notes.insert(
                0,
                f"There are more: a file holds the newest {self._most:,} rows. Narrow it down with `--since` and "
                "`--until`, or have `latchkey audit export` run on the machine.",
            )
        return title, {"title": title, "facts": [["Selection", ", ".join(words) or "everything"]], "notes": notes}

    async def _hand_over(
        self,
        request: Request,
        sheet: Sheet,
        name: str,
        chosen: Mapping[str, JSON],
        count: int,
        *,
        left_out: bool = False,
    ) -> None:
        """Audited first: nothing leaves of which the trail does not tell."""
        local = self._clock.now().astimezone(self._zone)
        file = f"{name}-{local:%Y-%m-%d-%H%M}.{sheet.form}"
        size, sha256 = sheet.finished()
        facts = {
            "selection": chosen,
            "file": file,
            "rows": count,
            "older_left_out": left_out,
            "sha256": sha256,
            "bytes": size,
        }
        record = AuditRecord("audit.exported", operator_id=request.operator_id, request_id=request.id, facts=facts)
        await self._trail.append(record)
        try:
            await self._files.send(request.slack, file, f"{file} ({_rows(count)})", sheet.content, size)
        except NotPossible as problem:
            await self._trail.append(replace(record, kind="audit.export_failed", facts={**facts, "why": str(problem)}))
            raise

    # --- who may do what ---------------------------------------------------------------------------------------------

    async def who(self, request: Request) -> Reply:
        """Who may do what at this moment, granted by whom, until when and where; of one command if one is named, or of
        the one person or role that is."""
        command, about = str(request.inputs.get("command") or ""), request.typed.strip()
        now = self._clock.now()
        everyone, roles = await self._operators.everyone(), await self._operators.roles()
        role = about.casefold() if about.casefold() in roles else ""
        person = await self._operator(about) if about and not role else None
        if about and not role and person is None:
            raise BadInput(
                f"“{about}” is neither an operator nor a role. `/m365-roles list` shows the roles; `/m365-audit who` "
                "and a command shows who may use that."
            )
        names = {holding.operator.id: _called(holding.operator) for holding in everyone}
        followed = await self._operators.followed_groups()
        groups = {each.id: each.group.name for each in followed}
        holdings = [
            (holding.operator, grant)
            for holding in everyone
            for grant in holding.grants
            if (grant.expires_at is None or grant.expires_at > now)
            and (not command or any(_holds(pattern, command) for pattern in roles.get(grant.role, ())))
            and (person is None or holding.operator.id == person.id)
            and role in {"", grant.role}
        ]
        what = f"may use `{command}`" if command else "may do something"
        if role:
            what = f"has the role {role}" if len(holdings) == 1 else f"have the role {role}"
        people = len({operator.id for operator, _ in holdings})
        title = f"{people} {'person' if people == 1 else 'people'} {what} today."
        if person is not None:
            title = f"{_called(person)} has {len(holdings)} role{'' if len(holdings) == 1 else 's'} today."
        follow = [
            f"Members of the group {each.group.name} have the role {each.role}."
            for each in followed
            if person is None and not command and role in {"", each.role}
        ]
        if not holdings:
            nobody = title if person else f"Nobody {what.replace('have ', 'has ')} today."
            return nobody, {"title": nobody, "notes": follow}
        lines = [
            [
                _called(operator),
                operator.slack.user,
                operator.upn or "",
                operator.account_id or "",
                _state(operator),
                grant.role,
                grant.scope.name if grant.scope else "",
                grant.expires_at.isoformat() if grant.expires_at else "",
                names.get(grant.granted_by or "", "the command line" if grant.granted_by is None else "somebody gone"),
                grant.granted_at.isoformat() if grant.granted_at else "",
                grant.reason,
                groups.get(grant.via or "", ""),
            ]
            for operator, grant in holdings
        ]
        if form := request.inputs.get("export"):
            return await self._export_who(request, str(form), command, lines, title)
        shown = [[line[0], *line[4:10], line[11]] for line in lines]
        notes = ["`/m365-audit` with `--action` and a name shows what was done with it."] if command else follow
        return title, {"title": title, "holdings": shown, "notes": notes}

    async def _export_who(
        self, request: Request, form: str, command: str, lines: Sequence[Sequence[str]], title: str
    ) -> Reply:
        chosen = {"who": command or "everything"}
        with Sheet(form, _WHO_COLUMNS) as sheet:
            for line in lines:
                sheet.add(*line)
            await self._hand_over(request, sheet, "latchkey-who-may", chosen, len(lines))
        note = "Who holds what is in your direct messages as a file. The audit trail says that you took it."
        return title, {"title": title, "notes": [note]}


def _seal_of(sealed: str) -> str:
    return str(json.loads(sealed)["mac"]) if sealed else ""


def _plain(value: JSON) -> JSON:
    return value.astimezone(UTC).isoformat(timespec="seconds") if isinstance(value, datetime) else value


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _span(text: str) -> str:
    """`7d` in words."""
    number, unit = int(text[:-1]), {"m": "minute", "h": "hour", "d": "day", "w": "week"}[text[-1].casefold()]
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _who(record: AuditRecord, names: Mapping[str, str]) -> str:
    """Whose doing a row is."""
    if record.operator_id:
        return names.get(record.operator_id, record.operator_id)
    return "the command line" if record.facts.get("from") == "command line" else "Latchkey"


def _whom(row: AuditRow, names: Mapping[str, str]) -> str:
    """What a row is about: a target as it was called then, or the operator or group that was decided about."""
    facts = row.record.facts
    return row.target_name or names.get(str(facts.get("operator"))) or str(facts.get("group_name") or "")


def _called(operator: Operator) -> str:
    return operator.name or operator.slack.user


def _names(operator: Operator, *, short: bool) -> set[str]:
    """What an operator is called when typed; after an @ also by the part of the address before its @."""
    known = {operator.slack.user, operator.upn, operator.name}
    if short and operator.upn:
        known.add(operator.upn.partition("@")[0])
    return {name.casefold() for name in known if name}


def _state(operator: Operator) -> str:
    if operator.suspended:
        return "suspended: nothing is done for them"
    return "" if operator.account_id else "no account linked: may read only"


def _holds(pattern: str, command: str) -> bool:
    return pattern == command or (pattern.endswith("*") and command.startswith(pattern[:-1]))


def _summary(facts: Mapping[str, Any]) -> str:
    """The few facts of an audit row that a reader of a list wants, in one line."""
    wanted = (
        "command", "action", "outcome", "sentence", "reason", "verified", "microsoft_request_id", "role", "why", "file",
    )  # fmt: skip
    return " · ".join(_WHY.get(str(facts[key]), str(facts[key])) for key in wanted if facts.get(key))


_WHY: Final[Mapping[str, str]] = {
    "account": "no Microsoft account is linked",
    "command": "no role of theirs includes it",
    "expired": "the role had ended",
    "operator": "no operator",
    "own_request": "it is their own request",
    "suspended": "suspended",
    "unlimited": "their role covers some people only",
}
"""What a refusal's short reason means; others are words already."""


def _which(typed: str, found: Sequence[str]) -> str:
    if not found:
        return (
            f"Neither an operator nor anybody in the directory is called “{typed}”. Type the whole sign-in name, such "
            "as adele@contoso.com, or a request's id."
        )
    return f"“{typed}” could be {', '.join(found)}. Type the whole sign-in name."
