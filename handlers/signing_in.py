"""Sends people to Microsoft: shows the link or the code to whoever asked, and how it ended."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Final

from bot.errors import BadInput, LatchkeyError
from bot.model import Request, RequestState
from bot.ports import Requests
from bot.signing_in import Purpose, SigningIn, Told
from handlers.desk import Desk
from handlers.gestures import Gesture
from handlers.identity import People
from handlers.slack import Slack, SlackProblem
from handlers.views import signing_in as views
from handlers.views.blocks import said, section
from handlers.views.form import told as telling
from handlers.voice import Voice
from handlers.wishes import Wishes

log = logging.getLogger(__name__)

_WINDOW_TITLE: Final = "Sign in at Microsoft"


@dataclass(frozen=True)
class SignIns:
    """Hears who wants to sign in. What comes of it is decided in `bot/signing_in.py`."""

    slack: Slack
    voice: Voice
    desk: Desk
    people: People
    wishes: Wishes
    requests: Requests
    signing_in: SigningIn

    async def link(self, gesture: Gesture) -> None:
        """`/m365 link`."""
        await self.begin(gesture, Purpose.LINK)

    async def go_on(self, gesture: Gesture) -> None:
        """*Sign in and go on*, on what waits for that."""
        request = await self.desk.find(gesture.value)
        purpose = request.answer.get("sign_in")
        if request.state not in {RequestState.AWAITING_CONFIRMATION, RequestState.FAILED} or not purpose:
            raise BadInput("This has gone on already, or has ended.")
        if purpose == Purpose.SESSION:
            await self.desk.own(request.id, gesture)
        elif not await self.wishes.may(replace(request, slack=gesture.actor)):
            raise BadInput(f"You may not use `{request.command}`, so signing in for it is not for you.")
        await self.begin(gesture, Purpose(str(purpose)), request.id)

    async def begin(self, gesture: Gesture, purpose: Purpose, about: str = "") -> None:
        """Show the actor how to sign in, in the window that is open or in one of its own."""
        window = gesture.modal or await self._window(gesture)
        try:
            invitation = await self.signing_in.invite(
                gesture.actor,
                purpose,
                about,
                name=await self.people.name(gesture.user),
                told=self._teller(gesture, window, about),
            )
        except LatchkeyError as error:
            await self._say(gesture, window, str(error))
            return
        if window is None:
            words = views.message(invitation, purpose)
            await self.voice.privately(gesture.user, words, gesture.channel, gesture.reply_url)
        else:
            waits = await self.requests.find(about) if about else None
            form_of = about if waits is not None and waits.form == window else ""
            await self.slack.update_view(window, views.window(invitation, purpose, form_of))

    async def cancel(self, gesture: Gesture) -> None:
        """*Cancel*: the link or code is worth nothing any more."""
        try:
            purpose = Purpose(gesture.value)
        except ValueError as error:
            raise BadInput("This belongs to another version of Latchkey, so nothing was done.") from error
        there = self.signing_in.cancel(gesture.actor, purpose)
        words = "Cancelled: nobody signed in." if there else "This sign-in has ended already."
        await self._say(gesture, gesture.modal, words)

    async def opened(self, gesture: Gesture) -> None:
        """They follow the link; Slack tells of it, and there is nothing to do."""

    async def _window(self, gesture: Gesture) -> str | None:
        try:
            return await self.slack.open_view(gesture.trigger, views.loading())
        except SlackProblem as problem:
            log.info("no window for a sign-in", extra={"problem": str(problem)})
            return None

    def _teller(self, gesture: Gesture, window: str | None, about: str) -> Told:
        async def tell(sentence: str) -> None:
            request = await self.requests.find(about) if about else None
            if request is None or not _has_taken_over(request, window):
                await self._say(gesture, window, sentence)
            if request is not None and not request.answer.get("sign_in"):
                await self._put_away(gesture, sentence)

        return tell

    async def _put_away(self, gesture: Gesture, sentence: str) -> None:
        """What nobody waits for any more offers no sign-in either. A row's own message is rewritten without this."""
        if gesture.ephemeral and gesture.reply_url:
            try:
                await self.slack.reply(gesture.reply_url, said(sentence, [section(sentence)]), replace=True)
            except SlackProblem as problem:
                log.info("a private message stays as it was", extra={"problem": str(problem)})

    async def _say(self, gesture: Gesture, window: str | None, sentence: str) -> None:
        """In the window if it is still open, else in their direct messages: nobody else is to read it."""
        try:
            if window is not None:
                try:
                    await self.slack.update_view(window, telling(_WINDOW_TITLE, sentence))
                    return
                except SlackProblem as problem:
                    log.info("the window is gone", extra={"problem": str(problem)})
            await self.voice.privately(gesture.user, said(sentence, [section(sentence)]), "", None)
        except SlackProblem as problem:
            log.warning("could not tell somebody", extra={"user": gesture.user, "problem": str(problem)})


def _has_taken_over(request: Request, window: str | None) -> bool:
    """Whether the window is the form of a request that goes on: then that is what it shows."""
    return window is not None and request.form == window and not request.answer.get("sign_in")
