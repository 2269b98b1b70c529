"""The command line: `latchkey run`, and what an administrator does from a shell.

Everything heavy is imported where it is used, so that `--help` and the offline commands answer at once.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bot.errors import ConfigurationError, LatchkeyError

if TYPE_CHECKING:
    from bot.administration import Administration

PROJECT = Path(__file__).resolve().parent.parent

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 well, 1 not well (a sentence says why), 2 wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["sandbox"]:
        # The pretend world must not share code with what it checks, so it is a program with options of its own.
        os.execv(sys.executable, [sys.executable, "-m", "sandbox", *given[1:]])  # noqa: S606 - our own, no shell
    parsed = _parser().parse_args(given)
    command: Command = parsed.command
    try:
        return command(parsed)
    except LatchkeyError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latchkey", description="A Slack bot for delegated Microsoft 365 administration."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Command, help_text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
        added.set_defaults(command=command)
        return added

    add("run", _run, "run the bot")

    commands.add_parser("sandbox", help="try the bot against a pretend Slack and a pretend Microsoft 365")
    add("doctor", _doctor, "try everything this installation needs, and say what to put right")
    add("actions", _actions, "list the actions, with the Graph permissions and directory roles each needs")
    add("manifest", _manifest, "print the Slack app's manifest as JSON")

    grant = add("grant", _grant, "give a Slack user a role")
    grant.add_argument("user", help="the Slack user id, such as U0123ABCD")
    grant.add_argument("role", help="viewer, helpdesk, operator, approver, auditor or tenant-admin")
    grant.add_argument(
        "--account", metavar="UPN", help="the person's own Entra account; without one they may only look"
    )
    grant.add_argument("--team", help="the Slack team id the person belongs to, if not this bot's own")
    grant.add_argument("--until", metavar="DATE", type=_a_moment, help="when the grant ends, such as 2027-01-31")
    _add_emergency(grant)

    revoke = add("revoke", _revoke, "take a role away; it counts from the very next decision on")
    revoke.add_argument("user")
    revoke.add_argument("role")
    revoke.add_argument("--team")
    revoke.add_argument("--reason", default="", help="why; audited")

    restore = add("restore", _restore, "give back what somebody lost who was suspended, as far as it has not ended")
    restore.add_argument("user", help="the Slack user id, such as U0123ABCD")
    restore.add_argument("--team", help="the Slack team id the person belongs to, if not this bot's own")
    restore.add_argument("--reason", required=True, help="why; audited")

    adopt = add("adopt", _adopt, "choose whose account acts: the bot's (Advanced mode), or each operator's own")
    kinds = adopt.add_subparsers(required=True, dest="kind", metavar="kind")
    account = kinds.add_parser("service-account", help="a user whose password is in Key Vault")
    account.add_argument("upn", help="its user name, such as svc-latchkey@contoso.onmicrosoft.com")
    kinds.add_parser("application", help="the application LATCHKEY_WORKER_CLIENT_ID, with its certificate in Key Vault")
    kinds.add_parser("own-accounts", help="everybody signs in with an account of their own (Default mode)")
    for kind in kinds.choices.values():
        _add_emergency(kind)

    protect = add("protect", _protect, "name the groups whose members are protected")
    protect.add_argument("how", choices=["never-touch", "ask-first"])
    protect.add_argument("group", help="the group's name or object id")
    _add_emergency(protect)

    what_if = add(
        "whatif", _what_if, "judge sign-ins by Conditional Access policies kept in a file, without any tenant"
    )
    what_if.add_argument("--policies", required=True, metavar="FILE", help="policies and named locations, as JSON")
    what_if.add_argument(
        "--sign-ins", required=True, metavar="FILE", help="one sign-in a line, as JSON; - reads them in"
    )
    what_if.add_argument("--fail-on", choices=["block"], help="end with 1 if any sign-in is decided so")
    what_if.add_argument(
        "--strict-unknown", action="store_true", help="what a sign-in leaves out is unknown, not as Graph takes it"
    )

    audit = add("audit", _audit, "check or export the audit trail")
    audits = audit.add_subparsers(required=True, dest="what", metavar="what")
    verify = audits.add_parser("verify", help="walk the whole chain and say whether anything was changed")
    verify.add_argument("--head", help="a head that was posted or kept elsewhere: SEQ:MAC")
    audits.add_parser("export", help="write the audit trail as JSON Lines to standard output")
    return parser


def _add_emergency(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--emergency", action="store_true", help="change what tenant admins decide, once there are two of them"
    )
    parser.add_argument("--reason", default="", help="why; needed with --emergency, and audited")


def _a_moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2027-01-31") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _run(arguments: argparse.Namespace) -> int:
    import asyncio

    gc.disable()  # what is imported stays: to look for garbage in it meanwhile takes a tenth of the start
    from bot.config import read_config
    from bot.wiring import run

    gc.enable()
    return asyncio.run(run(read_config()))


def _actions(arguments: argparse.Namespace) -> int:
    from bot.actions import delegated
    from bot.directory import PERMISSIONS
    from bot.directory_roles import names_of

    for action in delegated().values():
        print(f"{action.command}\n    {action.title}")
        print(f"    Graph permissions: {', '.join(action.permissions)}")
        if action.roles:
            print(f"    Directory role, one of: {', '.join(names_of(action.roles))}")
        if action.application_roles:
            print(f"    For an application, one of: {', '.join(names_of(action.application_roles))}")
    print(f"Every action also looks its target up, with: {', '.join(PERMISSIONS)}")
    return 0


def _what_if(arguments: argparse.Namespace) -> int:
    from bot.whatif.offline import judge, read_policy_file

    if arguments.policies == arguments.sign_ins == "-":
        print("Only one of --policies and --sign-ins can be read from standard input (-).", file=sys.stderr)
        return 2
    failed = False
    try:
        with _opened(arguments.policies) as file:
            policies = read_policy_file(file.read())
        with _opened(arguments.sign_ins) as lines:
            for line, decision in judge(policies, lines, strict=arguments.strict_unknown):
                failed = failed or decision == arguments.fail_on
                if not _printed(json.dumps(line)) and arguments.fail_on is None:
                    break
        _printed("", end="", flush=True)
    except OSError as error:
        print(f"Cannot read {error.filename or 'or write'}: {error.strerror}.", file=sys.stderr)
        return 2
    except LatchkeyError as error:
        _printed("", end="", flush=True)
        print(error, file=sys.stderr)
        return 2
    return 1 if failed else 0


def _opened(name: str) -> BinaryIO:
    """The file *name*, or standard input for `-`."""
    return open(0 if name == "-" else name, "rb", closefd=name != "-")


def _printed(text: str, *, end: str = "\n", flush: bool = False) -> bool:
    """Whether there is still somebody who reads. If not, what comes after is printed to nobody."""
    try:
        print(text, end=end, flush=flush)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _manifest(arguments: argparse.Namespace) -> int:
    import yaml

    print(json.dumps(yaml.safe_load((PROJECT / "manifest.yml").read_text()), indent=2))
    return 0


# --- what changes or reads the database ------------------------------------------------------------------------------


def _grant(arguments: argparse.Namespace) -> int:
    return _administer(
        lambda administration: administration.grant(
            arguments.user,
            arguments.role,
            account=arguments.account,
            team=arguments.team,
            until=arguments.until,
            emergency=arguments.emergency,
            reason=arguments.reason,
        )
    )


def _revoke(arguments: argparse.Namespace) -> int:
    return _administer(
        lambda administration: administration.revoke(
            arguments.user, arguments.role, team=arguments.team, reason=arguments.reason
        )
    )


def _restore(arguments: argparse.Namespace) -> int:
    return _administer(
        lambda administration: administration.restore(arguments.user, team=arguments.team, reason=arguments.reason)
    )


def _adopt(arguments: argparse.Namespace) -> int:
    how = {"reason": arguments.reason, "emergency": arguments.emergency}
    if arguments.kind == "own-accounts":
        return _administer(lambda administration: administration.adopt_own_accounts(**how))
    if arguments.kind == "application":
        return _administer(lambda administration: administration.adopt_application(**how))
    return _administer(lambda administration: administration.adopt_service_account(arguments.upn, **how))


def _protect(arguments: argparse.Namespace) -> int:
    return _administer(
        lambda administration: administration.protect(
            arguments.how, arguments.group, reason=arguments.reason, emergency=arguments.emergency
        )
    )


def _administer(work: Callable[[Administration], Awaitable[str]]) -> int:
    import asyncio

    from bot.config import read_config
    from bot.wiring import administration

    async def carry_out() -> str:
        async with administration(read_config()) as desk:
            return await work(desk)

    print(asyncio.run(carry_out()))
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    import asyncio

    from bot.audit_commands import export_audit, verify_audit
    from bot.config import read_config

    if arguments.what == "export":
        return asyncio.run(export_audit(read_config(), sys.stdout))
    return asyncio.run(verify_audit(read_config(), arguments.head, sys.stdout))


def _doctor(arguments: argparse.Namespace) -> int:
    import asyncio

    from bot.config import read_config
    from bot.wiring import examine

    async def print_lines() -> int:
        well = True
        async for line in examine(read_config(), _wanted_scopes()):
            well = well and line.well
            print(f"{'ok ' if line.well else '!! '} {line.what}: {line.found}")
            if line.remedy:
                print(f"     {line.remedy}")
        return 0 if well else 1

    return asyncio.run(print_lines())


def _wanted_scopes() -> Sequence[str]:
    import yaml

    scopes: list[str] = yaml.safe_load((PROJECT / "manifest.yml").read_text())["oauth_config"]["scopes"]["bot"]
    return scopes
