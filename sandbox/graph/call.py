"""One call to Graph: what a handler is given, and what it gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from sandbox.clock import WorldClock
from sandbox.conditional_access import ConditionalAccess
from sandbox.directory import Application, Audit, Directory, Group, PolicyChange, User, View
from sandbox.entra import Token
from sandbox.graph.odata import Options


class GraphError(Exception):
    """An answer other than success, in Graph's form ("Microsoft Graph error responses and resource types")."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        details: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}
        self.details = tuple(details)


def bad_request(message: str, code: str = "Request_BadRequest") -> GraphError:
    return GraphError(400, code, message)


def conflict(name: str) -> GraphError:
    """Another object has this property's value already."""
    message = f"Another object with the same value for property {name} already exists."
    details = [{"code": "ObjectConflict", "target": name, "message": message}]
    return GraphError(400, "Request_BadRequest", message, details=details)


def denied(message: str = "Insufficient privileges to complete the operation.") -> GraphError:
    return GraphError(403, "Authorization_RequestDenied", message)


def not_found(key: str) -> GraphError:
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{key}' does not exist or one of its queried reference-property objects are not present.",
    )


@dataclass(frozen=True)
class Reply:
    """A successful answer; `applied` says that the directory was changed."""

    status: int = 200
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    applied: bool = False


@dataclass(frozen=True)
class Caller:
    """Who calls: the token, its user (None for an application), and the directory roles in force."""

    token: Token
    user: User | None
    principal_id: str
    roles: frozenset[str]  # role ids held in the whole tenant
    unit_roles: Mapping[str, frozenset[str]]  # administrative unit id: role ids held over it alone

    @property
    def delegated(self) -> bool:
        return self.user is not None


@dataclass(frozen=True)
class Call:
    """One call. `view` is what reads see, `index` what searches and filters see; both may be behind."""

    method: str
    args: tuple[str, ...]  # the variable parts of the path, decoded once
    options: Options
    body: Mapping[str, Any]
    caller: Caller
    directory: Directory
    view: View
    index: View
    base: str  # https://host/graph/v1.0
    path: str
    query: str
    request_id: str
    client_request_id: str | None
    access: ConditionalAccess
    access_at: float | None  # the time as of which policies are read; None: now
    prefers: frozenset[str] = frozenset()

    @property
    def clock(self) -> WorldClock:
        return self.directory.clock

    def user(self, key: str) -> User:
        """A user by id or user principal name; 404 if there is none."""
        user = self.view.user(key)
        if user is None:
            raise not_found(key)
        return user

    def group(self, key: str) -> Group:
        """A group by id; 404 if there is none."""
        group = self.view.group(key)
        if group is None:
            raise not_found(key)
        return group

    def audit(
        self, category: str, activity: str, target: User | Group | Application | PolicyChange, *modified: str
    ) -> None:
        """Write the directory audit log."""
        self.directory.audits.append(
            Audit(
                time=self.clock.now(),
                id=f"Directory_{self.request_id}_{uuid4().hex[:6].upper()}",
                request_id=self.request_id,
                client_request_id=self.client_request_id,
                category=category,
                activity=activity,
                caller_app=self.caller.token.client,
                caller_user=self.caller.user,
                target=target,
                modified=modified,
            )
        )
