"""What somebody else does to the service account and its password: it really happens, and it can be put right."""

from collections.abc import AsyncIterator, Callable

import pytest

from sandbox.directory import SERVICE_ACCOUNT, make_password
from sandbox.vault import SERVICE_ACCOUNT_SECRET
from sandbox.world import World
from tests.sandbox.test_play import Stage

ADMINISTRATOR = "Authentication Administrator"

Sees = Callable[[World], object]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def sign_in(world: World) -> int:
    """What the account meets with the password that Key Vault gives, 0 for a success."""
    [*_, newest] = world.vault.versions(SERVICE_ACCOUNT_SECRET)
    try:
        return world.entra.try_password(SERVICE_ACCOUNT, newest.value)
    except KeyError:
        return 50034


def roles(world: World) -> int:
    return len(world.directory.latest.active_roles(world.directory.user(SERVICE_ACCOUNT).id))


def enabled(world: World) -> list[bool]:
    return [version.enabled for version in world.vault.versions(SERVICE_ACCOUNT_SECRET)]


CHANGES: list[tuple[str, Sees, object]] = [
    ("password-changed", sign_in, 50126),
    ("account-disabled", sign_in, 50057),
    ("account-deleted", sign_in, 50034),
    ("roles-taken-away", roles, 0),
    ("slow-replication", lambda world: world.entra.replication_lag, 600.0),
    ("vault-emptied", lambda world: world.vault.is_deleted(SERVICE_ACCOUNT_SECRET), True),
    ("version-disabled", enabled, [False]),
    ("mfa-for-admins", lambda world: len(world.access.policies()), 1),
    ("country-block", lambda world: len(world.access.policies()), 1),
    ("security-defaults-on", lambda world: world.access.security_defaults(), True),
]


@pytest.mark.parametrize(("name", "sees", "then"), CHANGES, ids=[name for name, *_ in CHANGES])
async def test_what_somebody_did_is_so_until_it_is_put_right(world: World, name: str, sees: Sees, then: object) -> None:
    before = sees(world)

    world.faults.start(name)
    assert (sees(world), world.faults.active()) == (then, [name])
    world.faults.start(name)  # pressed twice
    world.faults.stop(name)

    assert (sees(world), world.faults.active()) == (before, [])
    world.faults.start(name)
    world.faults.stop_all()
    assert (sees(world), world.faults.active()) == (before, [])


async def test_a_fault_that_somebody_else_puts_right_is_over(world: World) -> None:
    directory, faults = world.directory, world.faults
    for name, right in (
        ("password-changed", lambda: directory.set_password(SERVICE_ACCOUNT, make_password())),
        ("account-disabled", lambda: directory.update_user(SERVICE_ACCOUNT, enabled=True)),
        ("vault-emptied", lambda: world.vault.recover(SERVICE_ACCOUNT_SECRET)),
    ):
        faults.start(name)
        right()
        assert faults.active() == []
    given = directory.password_of(SERVICE_ACCOUNT)
    faults.stop("password-changed")

    assert directory.password_of(SERVICE_ACCOUNT) == given


async def test_a_dialogue_sees_which_stored_password_signs_in(world: World) -> None:
    stage = Stage(world)
    world.vault.put(SERVICE_ACCOUNT_SECRET, make_password(), tags={"state": "pending"})
    await stage.play(
        "{expect_vault: {states: [pending, current], signs_in: current}}",
        "{fault: version-disabled}",
        "{expect_vault: {states: [pending], signs_in: none}}",
        "{clear: version-disabled}",
        "{fault: vault-emptied}",
        "{expect_vault: {states: [], signs_in: none}}",
    )
