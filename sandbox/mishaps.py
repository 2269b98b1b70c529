"""What somebody else can do to the service account and its password, and take back: faults that change the world."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from sandbox.conditional_access import ConditionalAccess, read_policies
from sandbox.directory import Directory, RoleAssignment, User, make_password
from sandbox.entra import Entra
from sandbox.faults import SERVICE_ACCOUNTS, Mishap
from sandbox.vault import SERVICE_ACCOUNT_SECRET, Vault

SLOW: Final = 600.0
"""Seconds after which a change of a password has reached every server of Entra, if that takes its time."""


def mishaps(directory: Directory, entra: Entra, vault: Vault) -> Mapping[str, Mishap]:
    """What happens, by the name of the fault."""
    return {
        "password-changed": _PasswordChanged(directory),
        "account-disabled": _AccountDisabled(directory),
        "account-deleted": _AccountDeleted(directory),
        "roles-taken-away": _RolesTakenAway(directory),
        "slow-replication": _SlowReplication(entra),
        "vault-emptied": _VaultEmptied(vault),
        "version-disabled": _VersionDisabled(directory, vault),
        "mfa-for-admins": _PolicyAdded(entra.access, "mfa-for-admins.json"),
        "country-block": _PolicyAdded(entra.access, "country-block.json"),
        "security-defaults-on": _SecurityDefaultsOn(entra.access),
    }


def service_accounts(directory: Directory) -> Iterator[User]:
    """Every account that Latchkey may be working with."""
    return (user for user in directory.latest.users() if fnmatchcase(user.upn.lower(), SERVICE_ACCOUNTS))


def in_force(directory: Directory) -> frozenset[str]:
    """The passwords with which those sign in."""
    return frozenset(directory.password_of(user.id) for user in service_accounts(directory))


@dataclass
class _PasswordChanged:
    directory: Directory
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By account: the password before, and the one that nobody was told."""

    def happen(self) -> None:
        for user in service_accounts(self.directory):
            before, after = self.directory.password_of(user.id), make_password()
            self.changed[user.id] = before, after
            self.directory.set_password(user.id, after)

    def undo(self) -> None:
        for user_id in self._still():
            self.directory.set_password(user_id, self.changed[user_id][0])

    @property
    def lasts(self) -> bool:
        return bool(self._still())

    def _still(self) -> list[str]:
        view = self.directory.latest
        return [
            user_id
            for user_id, (_, after) in self.changed.items()
            if view.user(user_id) and self.directory.password_of(user_id) == after
        ]


@dataclass
class _AccountDisabled:
    directory: Directory
    disabled: set[str] = field(default_factory=set)

    def happen(self) -> None:
        for user in tuple(service_accounts(self.directory)):
            self.directory.update_user(user.id, enabled=False)
            self.disabled.add(user.id)

    def undo(self) -> None:
        for user_id in self._still():
            self.directory.update_user(user_id, enabled=True)

    @property
    def lasts(self) -> bool:
        return bool(self._still())

    def _still(self) -> list[str]:
        found = (self.directory.latest.user(user_id) for user_id in self.disabled)
        return [user.id for user in found if user is not None and not user.enabled]


@dataclass
class _AccountDeleted:
    directory: Directory
    deleted: set[str] = field(default_factory=set)

    def happen(self) -> None:
        for user in tuple(service_accounts(self.directory)):
            self.directory.delete_user(user.id)
            self.deleted.add(user.id)

    def undo(self) -> None:
        for user_id in self.deleted & self.directory.deleted.keys():
            self.directory.restore_user(user_id)

    @property
    def lasts(self) -> bool:
        return bool(self.deleted & self.directory.deleted.keys())


@dataclass
class _RolesTakenAway:
    directory: Directory
    taken: tuple[RoleAssignment, ...] = ()

    def happen(self) -> None:
        accounts = {user.id for user in service_accounts(self.directory)}
        held = [one for one in self.directory.latest.assignments() if one.principal_id in accounts]
        for assignment in held:
            self.directory.remove_assignment(assignment.id)
        self.taken = (*self.taken, *held)

    def undo(self) -> None:
        for assignment in self._still():
            self.directory.add_assignment(assignment)
        self.taken = ()

    @property
    def lasts(self) -> bool:
        return bool(self._still())

    def _still(self) -> list[RoleAssignment]:
        """Those that nobody gave back meanwhile."""
        held = {(one.principal_id, one.role_id) for one in self.directory.latest.assignments()}
        return [one for one in self.taken if (one.principal_id, one.role_id) not in held]


@dataclass
class _SlowReplication:
    entra: Entra

    def happen(self) -> None:
        self.entra.replication_lag = SLOW

    def undo(self) -> None:
        self.entra.replication_lag = 0.0

    @property
    def lasts(self) -> bool:
        return self.entra.replication_lag == SLOW


@dataclass
class _PolicyAdded:
    """Over when somebody deletes the policy or switches it off."""

    access: ConditionalAccess
    file: str
    added: bool = False

    def happen(self) -> None:
        if not self.lasts:
            self.access.add_from_file(self.file)
        self.added = True

    def undo(self) -> None:
        if self.lasts:
            self.access.remove(self.file)
        self.added = False

    @property
    def lasts(self) -> bool:
        ids = {policy["id"] for policy in read_policies(self.file)["policies"]}
        return self.added and any(
            policy["id"] in ids and policy["state"] == "enabled" for policy in self.access.policies()
        )


@dataclass
class _SecurityDefaultsOn:
    access: ConditionalAccess
    switched: bool = False

    def happen(self) -> None:
        self.access.switch_security_defaults(True)
        self.switched = True

    def undo(self) -> None:
        if self.lasts:
            self.access.switch_security_defaults(False)
        self.switched = False

    @property
    def lasts(self) -> bool:
        return self.switched and self.access.security_defaults()


@dataclass
class _VaultEmptied:
    vault: Vault

    def happen(self) -> None:
        self.vault.delete(SERVICE_ACCOUNT_SECRET)

    def undo(self) -> None:
        self.vault.recover(SERVICE_ACCOUNT_SECRET)

    @property
    def lasts(self) -> bool:
        return self.vault.is_deleted(SERVICE_ACCOUNT_SECRET)


@dataclass
class _VersionDisabled:
    """Of the stored password that signs in, or of the newest if none does."""

    directory: Directory
    vault: Vault
    disabled: set[str] = field(default_factory=set)

    def happen(self) -> None:
        enabled = [version for version in self.vault.versions(SERVICE_ACCOUNT_SECRET) if version.enabled]
        for version in [one for one in enabled if one.value in in_force(self.directory)] or enabled[-1:]:
            version.enabled = False
            self.disabled.add(version.id)

    def undo(self) -> None:
        for version in self.vault.versions(SERVICE_ACCOUNT_SECRET):
            if version.id in self.disabled:
                version.enabled = True
        self.disabled.clear()

    @property
    def lasts(self) -> bool:
        return any(one.id in self.disabled and not one.enabled for one in self.vault.versions(SERVICE_ACCOUNT_SECRET))
