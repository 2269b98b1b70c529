"""What Graph v1.0 reads in the bodies the sandbox serves, after the metadata Microsoft publishes."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft7Validator

from sandbox.graph.call import bad_request

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": ["string", "null"]}
_GIVEN_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": ["boolean", "null"]}
_NUMBER: Schema = {"type": ["integer", "null"]}
_TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
_GUID: Schema = {"type": "string", "pattern": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z"}
_READ_ONLY_LIST: Schema = {"type": "array"}
_READ_ONLY: Schema = {"type": ["object", "null"]}


def _object(properties: Mapping[str, Schema], *, required: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {r"^@odata\.": {}},
        "additionalProperties": False,
        "required": list(required),
    }


USER_PROPERTIES: Mapping[str, Schema] = {
    **dict.fromkeys(
        (
            "ageGroup", "city", "companyName", "consentProvidedForMinor", "country", "createdDateTime",
            "creationType", "deletedDateTime", "department", "displayName", "employeeHireDate", "employeeId",
            "employeeLeaveDateTime", "employeeType", "externalUserState", "externalUserStateChangeDateTime",
            "faxNumber", "givenName", "id", "jobTitle", "lastPasswordChangeDateTime",
            "legalAgeGroupClassification", "mail", "mailNickname", "mobilePhone", "officeLocation",
            "onPremisesDistinguishedName", "onPremisesDomainName", "onPremisesImmutableId",
            "onPremisesLastSyncDateTime", "onPremisesSamAccountName", "onPremisesSecurityIdentifier",
            "onPremisesUserPrincipalName", "passwordPolicies", "postalCode", "preferredDataLocation",
            "preferredLanguage", "preferredName", "securityIdentifier", "signInSessionsValidFromDateTime",
            "state", "streetAddress", "surname", "usageLocation", "userPrincipalName", "userType",
        ),
        _TEXT,
    ),
    **dict.fromkeys(
        ("accountEnabled", "isManagementRestricted", "isResourceAccount", "onPremisesSyncEnabled", "showInAddressList"),
        _FLAG,
    ),
    **dict.fromkeys(("businessPhones", "imAddresses", "otherMails", "proxyAddresses"), _TEXTS),
    **dict.fromkeys(
        (
            "assignedLicenses", "assignedPlans", "identities", "licenseAssignmentStates",
            "onPremisesProvisioningErrors", "provisionedPlans", "serviceProvisioningErrors",
        ),
        _READ_ONLY_LIST,
    ),
    **dict.fromkeys(
        (
            "authorizationInfo", "customSecurityAttributes", "employeeOrgData", "onPremisesExtensionAttributes",
            "signInActivity",
        ),
        _READ_ONLY,
    ),
    "passwordProfile": _object(
        {
            "password": _TEXT,
            "forceChangePasswordNextSignIn": _FLAG,
            "forceChangePasswordNextSignInWithMfa": _FLAG,
        }
    ),
}  # fmt: skip

NOTHING = _object({})
USER = _object(USER_PROPERTIES)
RESET_PASSWORD = _object({"newPassword": _TEXT})
CHANGE_PASSWORD = _object({"currentPassword": _TEXT, "newPassword": _TEXT})
ACCESS_PASS = _object({"lifetimeInMinutes": _NUMBER, "isUsableOnce": _FLAG, "startDateTime": _TEXT})
PHONE = _object(
    {"phoneNumber": {"type": "string"}, "phoneType": {"enum": ["mobile", "alternateMobile", "office"]}},
    required=("phoneNumber", "phoneType"),
)
_KEY_CREDENTIAL = _object(
    {
        **dict.fromkeys(("customKeyIdentifier", "displayName", "endDateTime", "keyId", "startDateTime"), _TEXT),
        **dict.fromkeys(("type", "usage", "key"), _GIVEN_TEXT),
    },
    required=("type", "usage", "key"),
)
ADD_KEY = _object(
    {"keyCredential": _KEY_CREDENTIAL, "passwordCredential": _READ_ONLY, "proof": _GIVEN_TEXT},
    required=("keyCredential", "passwordCredential", "proof"),
)
REMOVE_KEY = _object({"keyId": _GUID, "proof": _GIVEN_TEXT}, required=("keyId", "proof"))
REFERENCE = _object({"@odata.id": {"type": "string"}}, required=("@odata.id",))
ASSIGN_LICENSE = _object(
    {
        "addLicenses": {
            "type": "array",
            "items": _object({"skuId": _GUID, "disabledPlans": {"type": "array", "items": _GUID}}, required=("skuId",)),
        },
        "removeLicenses": {"type": "array", "items": _GUID},
    },
    required=("addLicenses", "removeLicenses"),
)
GET_BY_IDS = _object(
    {"ids": {"type": "array", "items": {"type": "string"}, "maxItems": 1000}, "types": _TEXTS}, required=("ids",)
)
ROLE_ASSIGNMENT = _object(
    {
        **{name: {"type": "string"} for name in ("roleDefinitionId", "principalId", "directoryScopeId")},
        **dict.fromkeys(("id", "appScopeId", "condition"), _TEXT),
    },
    required=("roleDefinitionId", "principalId", "directoryScopeId"),
)
CHECK_MEMBER_GROUPS = _object(
    {"groupIds": {"type": "array", "items": {"type": "string"}, "maxItems": 20}}, required=("groupIds",)
)


def check_body(schema: Schema, body: Any) -> None:
    """Refuse a body with an unknown property, a wrong type or a missing parameter, naming it as Graph does."""
    error = next(Draft7Validator(schema).iter_errors(body), None)
    if error is None:
        return
    where = "/".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = min(name for name in error.instance if name not in known and not name.startswith("@odata."))
        raise bad_request(f"Invalid property '{unknown}'.")
    if error.validator == "required":
        raise bad_request(f"One or more required parameters are missing: {', '.join(error.validator_value)}.")
    raise bad_request(f"Invalid value specified for property '{where}' of resource.")
