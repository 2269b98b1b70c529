"""What an administrator does from a shell: the first grants, taking them back, and adopting an identity to act with."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from bot.directory import find_group, find_people, means_exactly, quoted
from bot.errors import BadInput
from bot.model import (
    TENANT_ADMIN,
    Author,
    Grant,
    IdentityKind,
    Mode,
    Operator,
    Rights,
    Severity,
    SlackUser,
    TenantSettings,
    Trouble,
)
from bot.ports import Alarm, Clock, Reader
from bot.standing import AT_ONCE, Standing


class Granting(Protocol):
    """The part of the operators' store that a shell uses. Every change is audited in its own transaction."""

    async def bind(
        self, slack: SlackUser, *, account_id: str | None, upn: str | None, name: str | None, by: Author
    ) -> Operator: ...

    async def grant(
        self, slack: SlackUser, role: str, *, reason: str, expires_at: datetime | None, emergency: bool, by: Author
    ) -> Grant: ...

    async def revoke(self, slack: SlackUser, role: str, *, reason: str, by: Author) -> int: ...

    def rights(self, slack: SlackUser, command: str) -> Rights: ...

    async def admin_holders(self) -> Sequence[object]:
        """Who is tenant admin now."""

    async def suspend(self, slack: SlackUser, *, suspended: bool, reason: str, by: Author) -> Operator: ...


class Deciding(Protocol):
    """The part of the settings' store that a shell uses."""

    async def current(self) -> TenantSettings: ...

    async def change(self, settings: TenantSettings, *, reason: str, by: Author) -> TenantSettings: ...


@dataclass(frozen=True, kw_only=True)
class Administration:
    """Each method returns the sentence to print. Raises `BadInput` or `NotPossible`; then nothing was changed.

    `directory` and `own_team` are asked only when needed, so that what needs neither Microsoft nor Slack works without.
    """

    clock: Clock
    operators: Granting
    settings: Deciding
    author: Author
    alarm: Alarm
    directory: Callable[[], Awaitable[Reader]]
    own_team: Callable[[], Awaitable[str]]
    worker_client_id: str

    async def grant(
        self,
        user: str,
        role: str,
        *,
        account: str | None,
        team: str | None,
        until: datetime | None,
        emergency: bool,
        reason: str,
    ) -> str:
        """Grant *role* to a Slack user, binding them to the Entra account with that user name if one is given."""
        slack = await self._slack_user(user, team)
        name = user
        bound = ""
        if account:
            person = await self._account(account)
            name = person["displayName"] or account
            await self.operators.bind(
                slack, account_id=person["id"], upn=person["userPrincipalName"], name=name, by=self.author
            )
            bound = f" with the account {person['userPrincipalName']}"
        await self.operators.grant(slack, role, reason=reason, expires_at=until, emergency=emergency, by=self.author)
        ends = f" until {until:%Y-%m-%d %H:%M %Z}" if until else ""
        sentence = f"{name} ({slack.user} of {slack.team}){bound} is now {role}{ends}."
        if emergency:
            await self._alert(sentence, reason)
        return sentence if account else f"{sentence} Without an account they may look things up, not change them."

    async def revoke(self, user: str, role: str, *, team: str | None, reason: str) -> str:
        """Take *role* away, whatever scopes it was granted for."""
        slack = await self._slack_user(user, team)
        await self.operators.revoke(slack, role, reason=reason, by=self.author)
        sentence = f"{slack.user} is no longer {role}. This counts from the very next decision on."
        if role == TENANT_ADMIN and len(await self.operators.admin_holders()) == 1:
            return f"{sentence} Only one tenant admin remains, whose requests nobody could approve: name another one."
        return sentence

    async def restore(self, user: str, *, team: str | None, reason: str) -> str:
        """Let an operator who was suspended go on, with the grants that have not ended meanwhile."""
        slack = await self._slack_user(user, team)
        operator = self.operators.rights(slack, "").operator
        if operator is None or not operator.suspended:
            raise BadInput(f"{user} is not suspended, so there is nothing to restore.")
        if not reason.strip():
            raise BadInput("Restoring somebody needs its reason: add `--reason`.")
        # Whoever is still gone would be suspended again at the next look.
        await Standing(clock=self.clock, directory=await self.directory(), slack=None).check(operator, fresh=AT_ONCE)
        await self.operators.suspend(slack, suspended=False, reason=reason, by=self.author)
        return f"{operator.name or user} ({slack.user} of {slack.team}) has back what was granted and has not ended."

    async def adopt_service_account(self, upn: str, *, reason: str, emergency: bool) -> str:
        """Let the bot act with an existing user whose password is in Key Vault."""
        person = await self._account(upn)
        return await self._adopt(
            IdentityKind.SERVICE_ACCOUNT, person["id"], person["userPrincipalName"], reason=reason, emergency=emergency
        )

    async def adopt_application(self, *, reason: str, emergency: bool) -> str:
        """Let the bot act with the application `LATCHKEY_WORKER_CLIENT_ID`, whose certificate is in Key Vault."""
        if not self.worker_client_id:
            raise BadInput("LATCHKEY_WORKER_CLIENT_ID is not set. Set it to the application's client id.")
        directory = await self.directory()
        query = {"$filter": f"appId eq {quoted(self.worker_client_id)}", "$select": "id,displayName"}
        found = await directory.collect("servicePrincipals", query=query)
        if not found:
            raise BadInput(f"The tenant has no application {self.worker_client_id}. Register it there first.")
        return await self._adopt(
            IdentityKind.APPLICATION, found[0]["id"], found[0]["displayName"], reason=reason, emergency=emergency
        )

    async def adopt_own_accounts(self, *, reason: str, emergency: bool) -> str:
        """Let every operator sign in with an administrator account of their own (Default mode)."""
        before = await self.settings.current()
        if before.mode is not Mode.NONE and not (emergency and reason):
            raise BadInput("Latchkey is set up already. Another mode takes --emergency and --reason.")
        after = replace(before, mode=Mode.DEFAULT)
        sentence = "From now on everybody signs in with their own administrator account (Default mode)."
        return await self._change(after, sentence, reason, emergency=emergency)

    async def protect(self, how: str, group: str, *, reason: str, emergency: bool) -> str:
        """Name the group whose members are never touched (*how*: `never-touch`) or need asking first (`ask-first`)."""
        before = await self.settings.current()
        found = await find_group(await self.directory(), group)
        if how == "never-touch":
            named, after = before.never_touch_group, replace(before, never_touch_group=found.id)
            meaning = "are never touched"
        else:
            named, after = before.ask_first_group, replace(before, ask_first_group=found.id)
            meaning = "are changed only after asking"
        if named not in (None, found.id) and not (emergency and reason):
            raise BadInput(
                "Another group is named already. Naming a different one from a shell takes --emergency and --reason."
            )
        return await self._change(after, f"Members of {found.name} {meaning}.", reason, emergency=emergency)

    async def _adopt(self, kind: IdentityKind, id_: str, name: str, *, reason: str, emergency: bool) -> str:
        before = await self.settings.current()
        if before.mode is not Mode.NONE and not (emergency and reason):
            raise BadInput(
                f"Latchkey acts with {before.identity_name} already. Another identity takes --emergency and --reason."
            )
        after = replace(
            before, mode=Mode.ADVANCED, auto_enable=True, identity_kind=kind, identity_id=id_, identity_name=name
        )
        sentence = f"Latchkey now acts with {name}. The management session opens by itself when an action needs it."
        return await self._change(after, sentence, reason, emergency=emergency)

    async def _change(self, after: TenantSettings, sentence: str, reason: str, *, emergency: bool) -> str:
        await self.settings.change(after, reason=reason or "first set-up from a shell", by=self.author)
        if emergency:
            await self._alert(sentence, reason)
        return sentence

    async def _alert(self, done: str, reason: str) -> None:
        """Tell everybody in Slack what was done past them."""
        await self.alarm.raise_(
            Trouble(
                "emergency",
                uuid.uuid4().hex,
                Severity.ATTENTION,
                f"Changed from the command line, in an emergency: {done}",
                f"Reason given: {reason or 'none'}",
                facts=(
                    ("Who", f"{self.author.login}, logged in on the machine Latchkey runs on"),
                    ("What to do", "Make sure that this was meant, then press Acknowledge. If not, take it back."),
                ),
            )
        )

    async def _slack_user(self, user: str, team: str | None) -> SlackUser:
        if not (user[:1] in ("U", "W") and user.isalnum() and user.isupper()):
            raise BadInput(
                f"{user} is not a Slack user id such as U0123ABCD. Slack shows it under the person's profile."
            )
        return SlackUser(team or await self.own_team(), user)

    async def _account(self, typed: str) -> dict[str, Any]:
        directory = await self.directory()
        found = await find_people(directory, typed)
        if len(found) != 1 or not means_exactly(typed, found[0]):
            raise BadInput(f"The tenant has no user {typed}. Give the whole user name, such as olive@contoso.com.")
        return {"id": found[0].id, "userPrincipalName": found[0].upn, "displayName": found[0].name}
