"""The steps of a request, as a plan in the thread of its card."""

from __future__ import annotations

from collections.abc import Mapping

from bot.model import Request, Step, StepStatus
from handlers.views.blocks import Markup, Said, joined, markup, plan, said, task
from handlers.views.wording import Known

_MOST = 20
"""Slack documents no limit for the tasks of a plan; more than this nobody reads."""

_TASK_STATUS: Mapping[StepStatus, str] = {
    StepStatus.PENDING: "pending",
    StepStatus.IN_PROGRESS: "in_progress",
    StepStatus.DONE: "complete",
    StepStatus.FAILED: "error",
}
_WORD: Mapping[StepStatus, str] = {
    StepStatus.PENDING: "Waiting",
    StepStatus.IN_PROGRESS: "Now",
    StepStatus.DONE: "Done",
    StepStatus.FAILED: "Failed",
}


def build(request: Request, known: Known) -> Said:
    """The list, titled with how far it is; its text alone says the same, for a Slack that refuses the blocks."""
    steps = request.steps[-_MOST:]
    tasks = [task(step.key, step.title, _TASK_STATUS[step.status], step.detail) for step in steps]
    text = joined((_line(step) for step in steps), "\n") or Markup("No step has begun yet.")
    return said(text, [plan(_progress(request), tasks)] if tasks else [])


def _line(step: Step) -> Markup:
    return joined([markup("{}: {}", _WORD[step.status], step.title), step.detail], " – ")


def _progress(request: Request) -> str:
    done = sum(step.status is StepStatus.DONE for step in request.steps)
    failed = next((step for step in request.steps if step.status is StepStatus.FAILED), None)
    now = failed or next((step for step in request.steps if step.status is StepStatus.IN_PROGRESS), None)
    return f"{done} of {len(request.steps)}: {now.title}" if now else f"{done} of {len(request.steps)} steps done"
