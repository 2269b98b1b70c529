"""Looks at a rotation from outside: at the directory, at the vault and at what Entra was asked, never at Latchkey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sandbox.directory import SERVICE_ACCOUNT
from sandbox.vault import SERVICE_ACCOUNT_SECRET, Version
from sandbox.world import World

MOST_WRONG: Final = 9
"""How many sign-ins of one rotation may go wrong."""

WRONG_PASSWORD: Final = 50126


class Observer:
    """Looks whenever anything changed in the world, which is after each request that it served and each move of its
    clock, and keeps what it found wrong. `looks` counts how often."""

    def __init__(self, world: World, account: str = SERVICE_ACCOUNT, secret: str = SERVICE_ACCOUNT_SECRET) -> None:
        self._world = world
        self._account = account
        self._secret = secret
        self._id = world.directory.user(account).id
        self._began = 0
        self._left_alone: frozenset[str] | None = None
        self.looks = 0
        self.violations: list[str] = []
        self.started()

    def started(self) -> None:
        """A new rotation begins: its wrong sign-ins are counted from here."""
        self._began = len(self._world.entra.requests)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at each change."""
        end = self._world.changes.subscribe(self.look)
        try:
            self.look()
            yield
            self.look()
        finally:
            end()

    def somebody_meddled(self) -> None:
        """Somebody else just did what no rotation can make up for. From now on only this is asked of it: that the two
        newest versions are left alone, and that no more is tried than may be. `all_is_well_again` ends that."""
        newest = self._world.vault.versions(self._secret)[-2:]
        self._left_alone = frozenset(version.id for version in newest if version.enabled)

    def all_is_well_again(self) -> None:
        self._left_alone = None

    # --- at any instant -----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Check what has to hold at every instant."""
        self.looks += 1
        if self.wrong > MOST_WRONG:
            self._found(f"{self.wrong} sign-ins of one rotation went wrong")
        stored = self.enabled()
        directory, now = self._world.directory, self._world.clock.now()
        values = {version.value for version in stored}
        in_force = directory.password_at(self._id, float("inf"))
        if self._left_alone is not None:
            if in_force not in values and not self._left_alone <= {version.id for version in stored}:
                self._found("a version was disabled after somebody else had changed something")
            return
        if in_force not in values:
            self._found("the password in force is not stored, or is disabled")
        if directory.password_at(self._id, now - self._world.entra.replication_lag) not in values:
            self._found("no stored password signs in")

    @property
    def wrong(self) -> int:
        """How many sign-ins of this rotation Entra refused as wrong; it counts those too whose answer got lost."""
        account = self._account.casefold()
        return sum(
            request.code == WRONG_PASSWORD and request.subject.casefold() == account
            for request in self._world.entra.requests[self._began :]
        )

    def _found(self, violation: str) -> None:
        if violation not in self.violations:
            self.violations.append(violation)

    def enabled(self) -> list[Version]:
        """The stored versions that can be read, oldest first."""
        return [version for version in self._world.vault.versions(self._secret) if version.enabled]

    def count(self) -> int:
        """How many versions there are, enabled or not."""
        return len(self._world.vault.versions(self._secret))

    # --- at the end ---------------------------------------------------------------------------------------------------

    def signs_in(self) -> list[Version]:
        """The stored versions that sign in, each found by doing it; the account is left as if nobody had tried."""
        entra, right = self._world.entra, []
        in_order = sorted(
            self.enabled(), key=lambda each: each.value == self._world.directory.password_of(self._account)
        )
        for version in in_order:  # the right one last: it has the wrong ones forgotten
            if entra.try_password(self._account, version.value) == 0:
                right.append(version)
        return right

    def states(self) -> list[str]:
        """The tags of the versions that can be read, oldest first."""
        return [version.tags.get("state", "") for version in self.enabled()]

    def check_settled(self) -> None:
        """Check that the rotation left everything as it should be: one version is current, and that alone signs in; the
        one before it is kept; nothing waits; what is older is disabled."""
        self.look()
        assert not self.violations, self.violations
        signing_in = self.signs_in()
        assert [version.tags.get("state") for version in signing_in] == ["current"], self.states()
        states = self.states()
        assert states.count("current") == 1, states
        assert states.count("previous") == 1, states
        assert "pending" not in states, states
