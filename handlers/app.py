"""The Bolt app: which listener hears what. The manifest lists the same commands and events."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.response import BoltResponse
from slack_sdk.web.async_client import AsyncWebClient

from handlers.alerting import Alerting
from handlers.approving import Approving
from handlers.at_home import AtHome
from handlers.buttons import Buttons
from handlers.commands import COMMANDS, Commands
from handlers.filling import Filling
from handlers.gestures import Gesture, Kind, read
from handlers.guard import Guard, Listener
from handlers.home import Home
from handlers.identity import READS, REVEALS, WRITES, People
from handlers.management import Managing
from handlers.options import Options
from handlers.places import Places
from handlers.ports import Leavers
from handlers.signing_in import SignIns
from handlers.slack import Installed
from handlers.unblocking import Unblocking
from handlers.views import alert, approval, blocked, form, management, offers, picker, signing_in, whatif
from handlers.views.home import DO_SOMETHING, EXTEND, TURN_OFF, TURN_ON
from handlers.voice import Voice
from handlers.whatif import WhatIfForms

log = logging.getLogger(__name__)

EVENTS: Final = ("app_home_opened", "user_change", "channel_shared", "channel_unshared")
"""The events that are registered; the manifest lists the same."""

_UNKNOWN: Final = "This belongs to another version of Latchkey, so nothing was done. Type the command again."


@dataclass(frozen=True)
class Listeners:
    """Everything that hears something."""

    guard: Guard
    commands: Commands
    filling: Filling
    buttons: Buttons
    options: Options
    approving: Approving
    alerting: Alerting
    unblocking: Unblocking
    sign_ins: SignIns
    what_if: WhatIfForms
    home: Home
    at_home: AtHome
    managing: Managing
    people: People
    leavers: Leavers
    places: Places
    voice: Voice

    async def person_changed(self, gesture: Gesture) -> None:
        """Slack knows something new about somebody."""
        self.people.forget(gesture.user)
        await self.leavers.look_at(gesture.actor)

    async def channel_changed(self, gesture: Gesture) -> None:
        """A channel was shared with another company, or is no longer."""
        self.places.forget(str(gesture.event.get("channel", "")))


def bolt_app(installed: Installed, heard_by: Listeners) -> AsyncApp:
    """The app to dispatch to. It verifies nothing (the front door has) and calls Slack by itself for nothing."""

    async def authorize() -> AuthorizeResult:
        return AuthorizeResult(
            enterprise_id=installed.enterprise, team_id=installed.team, bot_user_id=installed.bot_user
        )

    app = AsyncApp(
        name="latchkey",  # else Bolt walks the stack for one, through all source files there are
        # Without a token: listeners speak through `Slack`, and Bolt would ask auth.test at the first request.
        client=AsyncWebClient(),
        authorize=authorize,
        # The front door has acknowledged by now, or waits for the answer; Bolt's other way waits 10 ms at a time.
        process_before_response=True,
        raise_error_for_unhandled_request=True,
        request_verification_enabled=False,
        ssl_check_enabled=False,
        url_verification_enabled=False,
        attaching_function_token_enabled=False,
        attaching_conversation_kwargs_enabled=False,
    )
    guard, filling = heard_by.guard, heard_by.filling
    for command in COMMANDS:
        app.command(command)(guard(heard_by.commands.typed, WRITES, harmless=heard_by.commands.only_asks_for_help))
    app.view_submission(form.CALLBACK)(guard(filling.submitted, WRITES))
    app.view_closed(form.CALLBACK)(guard(filling.closed, WRITES))
    for callback_id, answered in _of_what_if(heard_by.what_if).items():
        app.view_submission(callback_id)(guard(answered, READS))
        app.view_closed(callback_id)(guard(filling.closed, READS))
    for callback_id, answered in _answers(heard_by.approving).items():
        app.view_submission(callback_id)(guard(answered, REVEALS))
    for action_id, listener in _presses(heard_by.buttons, filling).items():
        app.action(action_id)(guard(listener, REVEALS if action_id == offers.REVEAL else WRITES))
    for action_id, listener in _at_home(heard_by.at_home, heard_by.managing).items():
        app.action(action_id)(guard(listener, WRITES))
    for action_id, listener in _to_microsoft(heard_by.sign_ins).items():
        app.action(action_id)(guard(listener, WRITES))
    for action_id, listener in _decisions(heard_by.approving).items():
        app.action(action_id)(guard(listener, REVEALS))
    for action_id, listener in _on_alerts(heard_by.alerting).items():
        app.action(action_id)(guard(listener, REVEALS))
    for action_id, listener in _on_blocked(heard_by.unblocking).items():
        app.action(action_id)(guard(listener, REVEALS))
    for action_id in (form.FIND_PERSON, form.FIND_GROUP, form.FIND_LICENSE):
        app.options(action_id)(guard(heard_by.options.searched, READS))
    for event, listener in _news(heard_by).items():
        app.event(event)(guard(listener, None))
    app.error(_unheard(heard_by.voice))
    return app


def _presses(buttons: Buttons, filling: Filling) -> Mapping[str, Listener]:
    return {
        offers.REVEAL: buttons.show_secret,
        offers.UNDO: buttons.undo,
        offers.TRY_AGAIN: buttons.try_again,
        offers.RETRY_STEP: buttons.retry_step,
        offers.RESET_AGAIN: buttons.reset_again,
        offers.CONTINUE: buttons.go_on,
        offers.DO_ANYWAY: buttons.do_anyway,
        offers.OPEN_SESSION: buttons.open_session,
        offers.LEAVE: buttons.leave,
        offers.CHOOSE: buttons.choose,
        offers.SHARE: buttons.share,
        offers.OLDER: buttons.older,
        whatif.CHANGE: buttons.change_inputs,
        form.RUN: filling.run,
        form.FIND_PERSON: filling.chosen,
        form.CHOOSE_PERSON: filling.chosen,
        form.STEER: filling.steered,
    }


def _at_home(at_home: AtHome, managing: Managing) -> Mapping[str, Listener]:
    return {
        TURN_ON: at_home.switch,
        TURN_OFF: at_home.switch,
        EXTEND: at_home.switch,
        DO_SOMETHING: at_home.do_something,
        picker.CHOOSE: at_home.chosen,
        management.SAVE: managing.save,
        **dict.fromkeys(management.ASKS_FOR, managing.ask),
    }


def _to_microsoft(sign_ins: SignIns) -> Mapping[str, Listener]:
    return {offers.SIGN_IN: sign_ins.go_on, signing_in.CANCEL: sign_ins.cancel, signing_in.OPEN_PAGE: sign_ins.opened}


def _decisions(approving: Approving) -> Mapping[str, Listener]:
    return {
        approval.APPROVE: approving.approve,
        approval.DENY: approving.deny,
        approval.ALONE: approving.alone,
        approval.WITHDRAW: approving.withdraw,
        approval.REVIEW: approving.review,
    }


def _on_alerts(alerting: Alerting) -> Mapping[str, Listener]:
    return {
        alert.ACKNOWLEDGE: alerting.acknowledge,
        alert.RETRY: alerting.retry,
        alert.ROLL_BACK: alerting.roll_back,
        alert.RESET: alerting.reset,
    }


def _on_blocked(unblocking: Unblocking) -> Mapping[str, Listener]:
    return {
        blocked.TEST: unblocking.test,
        blocked.ALLOWED_IPS: unblocking.allowed_ips,
        blocked.APPLICATION: unblocking.application,
        blocked.DETAILS: unblocking.details,
    }


def _answers(approving: Approving) -> Mapping[str, Listener]:
    return {
        approval.DENY_WINDOW: approving.denied,
        approval.ALONE_WINDOW: approving.went_alone,
        approval.REVIEW_WINDOW: approving.reviewed,
    }


def _of_what_if(what_if: WhatIfForms) -> Mapping[str, Listener]:
    return {whatif.CALLBACK: what_if.submitted, whatif.DRAFT_CALLBACK: what_if.drafted}


def _news(heard_by: Listeners) -> Mapping[str, Listener]:
    listeners: tuple[Listener, ...] = (
        heard_by.home.opened,
        heard_by.person_changed,
        heard_by.channel_changed,
        heard_by.channel_changed,
    )
    return dict(zip(EVENTS, listeners, strict=True))


def _unheard(voice: Voice) -> Callable[[Exception, Mapping[str, Any]], Awaitable[BoltResponse]]:
    """Answers what nobody listens to: a button or form of another version, or a fault in Bolt itself."""

    async def unheard(error: Exception, body: Mapping[str, Any]) -> BoltResponse:
        gesture = read(body)
        if isinstance(error, BoltUnhandledRequestError):
            log.warning("nobody listens to this", extra={"kind": gesture.kind.value, "did": gesture.name})
        else:
            log.error("bolt stumbled", exc_info=error)
        if gesture.kind is Kind.SUBMISSION:
            answer = {"response_action": "update", "view": form.told("Latchkey", _UNKNOWN)}
            return BoltResponse(status=200, body=json.dumps(answer))
        if gesture.kind in {Kind.COMMAND, Kind.PRESS}:
            await voice.answer(gesture, _UNKNOWN)
        return BoltResponse(status=200, body="")

    return unheard
