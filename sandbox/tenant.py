"""Read the pretend tenant from its file."""

import secrets
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sandbox.clock import WorldClock
from sandbox.directory import (
    SERVICE_ACCOUNT,
    AccessPassPolicy,
    AdministrativeUnit,
    Application,
    AuthMethod,
    Directory,
    Group,
    GroupKind,
    License,
    RoleAssignment,
    RoleDefinition,
    Sku,
    Source,
    Stranger,
    Tenant,
    User,
)

_HOUR = 3600.0
_DAY = 24 * _HOUR
_SOURCES = {
    None: Source.CLOUD,
    True: Source.ON_PREMISES,
    "writeback": Source.ON_PREMISES_WITH_WRITEBACK,
}


def contoso(clock: WorldClock) -> Directory:
    """The tenant of `data/tenant.yaml`, with passwords and client secrets of its own."""
    return _build(clock, _tenant_file())


@cache
def _tenant_file() -> Mapping[str, Any]:
    # Kept: parsing takes longer than everything else a world does when it starts, and tests start hundreds.
    text = files("sandbox").joinpath("data", "tenant.yaml").read_text(encoding="utf-8")
    tenant: Mapping[str, Any] = yaml.safe_load(text)
    return tenant


def _build(clock: WorldClock, data: Mapping[str, Any]) -> Directory:
    domain = data["tenant"]["domains"][0]
    skus = {sku["part_number"]: sku for sku in data["skus"]}
    role_ids = {name: id_ for id_, name in (data["roles"] | data["custom_roles"]).items()}
    user_ids = {entry["upn"]: entry["id"] for entry in data["users"]}
    group_ids = {entry["name"]: entry["id"] for entry in data["groups"]}

    def licenses(entry: Mapping[str, Any]) -> tuple[License, ...]:
        return tuple(License(skus[part]["id"]) for part in entry.get("licenses", ()))

    def user(entry: Mapping[str, Any]) -> User:
        now = clock.now()
        upn = entry["upn"] if "@" in entry["upn"] else f"{entry['upn']}@{domain}"
        given, _, surname = entry["name"].partition(" ")
        hours = entry.get("last_sign_in")
        return User(
            id=entry["id"],
            upn=upn,
            name=entry["name"],
            kind=entry.get("kind", "Member"),
            source=_SOURCES[entry.get("synced")],
            usage_location=entry.get("usage_location", "GB"),
            manager_id=user_ids[entry["manager"]] if "manager" in entry else None,
            licenses=licenses(entry),
            attributes={
                "givenName": given,
                "surname": surname or None,
                "jobTitle": entry.get("title"),
                "department": entry.get("department"),
                "officeLocation": entry.get("office"),
                "mail": entry.get("mail", upn if upn.endswith(domain) else None),
                "mailNickname": upn.partition("@")[0],
                "mobilePhone": entry.get("phone"),
                "businessPhones": [],
                "preferredLanguage": None,
                "passwordPolicies": "DisablePasswordExpiration" if upn == SERVICE_ACCOUNT else None,
            },
            methods=tuple(_method(entry, kind, number) for number, kind in enumerate(entry.get("methods", ()))),
            created=now - 400 * _DAY,
            last_sign_in=None if hours is None else now - hours * _HOUR,
            password_changed=now - 40 * _DAY,
            sessions_valid_from=now - 40 * _DAY,
        )

    users = [user(entry) for entry in data["users"]]

    def members(entry: Mapping[str, Any]) -> tuple[str, ...]:
        if entry.get("members") == "everyone":
            return tuple(one.id for one in users if one.kind == "Member")
        people = (user_ids[name] for name in entry.get("members", ()))
        return (*people, *(group_ids[name] for name in entry.get("groups", ())))

    def group(entry: Mapping[str, Any]) -> Group:
        return Group(
            id=entry["id"],
            name=entry["name"],
            kind=GroupKind(entry.get("kind", "security")),
            description=entry.get("description"),
            mail=f"{entry['mail']}@{domain}" if "mail" in entry else None,
            members=members(entry),
            owners=tuple(user_ids[name] for name in entry.get("owners", ())),
            licenses=licenses(entry),
            membership_rule=entry.get("rule"),
            synced=entry.get("synced", False),
            role_assignable=entry.get("role_assignable", False),
            created=clock.now() - 400 * _DAY,
        )

    def assignments() -> list[RoleAssignment]:
        holders = [(entry["id"], entry) for entry in (*data["users"], *data["groups"])]
        holders += [(entry["principal_id"], entry) for entry in data["applications"].values()]
        found = []
        for holder, entry in holders:
            for field, eligible in (("directory_roles", False), ("eligible_roles", True)):
                for name in entry.get(field, ()):
                    id_ = f"{holder}-{role_ids[name]}"
                    found.append(RoleAssignment(id_, role_ids[name], holder, eligible=eligible))
        return found

    tenant = data["tenant"]
    return Directory(
        clock,
        Tenant(
            id=tenant["id"],
            name=tenant["name"],
            domains=tuple(tenant["domains"]),
            premium=frozenset(tenant["premium"]),
            security_defaults=tenant["security_defaults"],
            access_pass_policy=AccessPassPolicy(**tenant["temporary_access_pass"]),
            banned_words=frozenset(tenant["banned_words"]),
        ),
        users=users,
        groups=[group(entry) for entry in data["groups"]],
        units=[
            AdministrativeUnit(
                entry["id"],
                entry["name"],
                entry.get("restricted", False),
                tuple(user_ids[name] for name in entry["members"]),
            )
            for entry in data["administrative_units"]
        ],
        roles=[
            *(RoleDefinition(id_, name) for id_, name in data["roles"].items()),
            *(RoleDefinition(id_, name, built_in=False) for id_, name in data["custom_roles"].items()),
        ],
        assignments=assignments(),
        skus=[Sku(**entry) for entry in data["skus"]],
        applications=[
            Application(
                key=key,
                name=entry["name"],
                app_id=entry["app_id"],
                principal_id=entry["principal_id"],
                object_id=entry.get("object_id"),
                secret=secrets.token_urlsafe(30) if entry["credential"] == "secret" else None,
                uses_certificate=entry["credential"] == "certificate",
                managed=entry["credential"] == "managed",
                public=entry.get("public", False),
                redirect_uris=tuple(entry.get("redirect_uris", ())),
                consent=frozenset(entry.get("consent", ())),
                roles=frozenset(entry.get("roles", ())),
                vault_role=entry.get("vault_role"),
            )
            for key, entry in data["applications"].items()
        ],
        strangers=[Stranger(**entry) for entry in data["strangers"]],
        browser=[upn if "@" in upn else f"{upn}@{domain}" for upn in data["browser"]],
    )


def _method(entry: Mapping[str, Any], kind: str, number: int) -> AuthMethod:
    properties: dict[str, dict[str, Any]] = {
        "phone": {"phoneNumber": entry.get("phone"), "phoneType": "mobile", "smsSignInState": "notEnabled"},
        "microsoftAuthenticator": {"displayName": f"{entry['name']}'s phone", "phoneAppVersion": "6.8"},
        "fido2": {"displayName": "Security key", "model": "Pretend Key 5"},
    }
    # Graph's method ids are unique over the tenant; a user's own id with its last digits counted is that.
    return AuthMethod(f"{entry['id'][:-2]}{number:02x}", kind, properties[kind])
