"""Administrative units in Graph."""

from typing import Any

from sandbox.directory import AdministrativeUnit, View
from sandbox.graph import authority
from sandbox.graph.call import Call, Reply, not_found
from sandbox.graph.odata import Entity, page, single


def _value(_: View, unit: AdministrativeUnit, name: str) -> Any:
    values = {
        "id": unit.id,
        "displayName": unit.name,
        "description": None,
        "visibility": None,
        "isMemberManagementRestricted": unit.restricted,
    }
    return values[name]


_PROPERTIES = ("id", "displayName", "description", "visibility", "isMemberManagementRestricted")

UNIT = Entity[AdministrativeUnit](
    "administrativeUnit",
    _value,
    frozenset(_PROPERTIES),
    _PROPERTIES,
    filterable=frozenset({"id", "displayName"}),
    searchable=frozenset({"displayName"}),
)


def list_units(call: Call) -> Reply:
    """`GET /directory/administrativeUnits`"""
    authority.require(call.caller, authority.READ_UNITS)
    return Reply(body=page(call, call.view.units(), lambda _: UNIT, "directory/administrativeUnits", checked=UNIT))


def get_unit(call: Call) -> Reply:
    """`GET /directory/administrativeUnits/{id}`"""
    authority.require(call.caller, authority.READ_UNITS)
    for unit in call.view.units():
        if unit.id == call.args[0].lower():
            return Reply(body=single(call, UNIT, unit, "directory/administrativeUnits"))
    raise not_found(call.args[0])
