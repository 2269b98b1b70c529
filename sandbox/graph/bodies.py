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
GROUP = _object(
    {
        **dict.fromkeys(("description", "displayName", "mailNickname", "membershipRule", "visibility"), _TEXT),
        **dict.fromkeys(("isAssignableToRole", "mailEnabled", "securityEnabled"), _FLAG),
        **dict.fromkeys(("groupTypes", "members@odata.bind", "owners@odata.bind"), _TEXTS),
    }
)
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

_RISKS: Schema = {
    "type": "array",
    "items": {"enum": ["low", "medium", "high", "hidden", "none", "unknownFutureValue"]},
}


def _part(properties: Mapping[str, Schema], *, required: tuple[str, ...] = ()) -> Schema:
    """An object whose properties may have annotations (`state@odata.type`), as those have that Graph answers."""
    return {**_object(properties, required=required), "patternProperties": {r"@odata\.": {}}}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _enum(*values: str) -> Schema:
    return {"enum": [*values, "unknownFutureValue"]}


def _flags(*values: str) -> Schema:
    one = "|".join((*values, "unknownFutureValue"))
    return {"type": "string", "pattern": rf"^({one})(,({one}))*\Z"}


def _typed(*kinds: tuple[str, Schema]) -> Schema:
    """One of several types, told apart by `@odata.type`, which has to be there."""
    return {
        "oneOf": [
            {
                "allOf": [
                    {"required": ["@odata.type"], "properties": {"@odata.type": {"const": f"#microsoft.graph.{name}"}}},
                    schema,
                ]
            }
            for name, schema in kinds
        ]
    }


_GUEST_TYPES = _flags(
    "none", "internalGuest", "b2bCollaborationGuest", "b2bCollaborationMember", "b2bDirectConnectUser",
    "otherExternalUser", "serviceProvider",
)  # fmt: skip
_MEMBERSHIP = _or_null(_enum("all", "enumerated"))
_GUESTS = _or_null(
    _part(
        {
            "guestOrExternalUserTypes": _GUEST_TYPES,
            "externalTenants": _or_null(
                _typed(
                    ("conditionalAccessAllExternalTenants", _part({"membershipKind": _MEMBERSHIP})),
                    (
                        "conditionalAccessEnumeratedExternalTenants",
                        _part({"membershipKind": _MEMBERSHIP, "members": _TEXTS}),
                    ),
                )
            ),
        }
    )
)
_FILTER = _or_null(_part({"mode": {"enum": ["include", "exclude"]}, "rule": _GIVEN_TEXT}))
_CLIENT_APP = _enum("all", "browser", "mobileAppsAndDesktopClients", "exchangeActiveSync", "easSupported", "other")
_PLATFORM = _enum("android", "iOS", "windows", "windowsPhone", "macOS", "all", "linux")
_PLATFORMS: Schema = {"type": "array", "items": _PLATFORM}
_TRANSFER = _flags("none", "deviceCodeFlow", "authenticationTransfer")
_CONDITIONS = _part(
    {
        "users": _or_null(
            _part(
                {
                    **dict.fromkeys(
                        (
                            "includeUsers", "excludeUsers", "includeGroups", "excludeGroups", "includeRoles",
                            "excludeRoles",
                        ),
                        _TEXTS,
                    ),
                    **dict.fromkeys(("includeGuestsOrExternalUsers", "excludeGuestsOrExternalUsers"), _GUESTS),
                }
            )
        ),
        "applications": _or_null(
            _part(
                {
                    **dict.fromkeys(
                        (
                            "includeApplications", "excludeApplications", "includeUserActions",
                            "includeAuthenticationContextClassReferences",
                        ),
                        _TEXTS,
                    ),
                    "applicationFilter": _FILTER,
                }
            )
        ),
        "clientApplications": _or_null(
            _part(
                {
                    "includeServicePrincipals": _TEXTS,
                    "excludeServicePrincipals": _TEXTS,
                    "servicePrincipalFilter": _FILTER,
                }
            )
        ),
        "clientAppTypes": {"type": "array", "items": _CLIENT_APP},
        "platforms": _or_null(_part({"includePlatforms": _PLATFORMS, "excludePlatforms": _PLATFORMS})),
        "locations": _or_null(_part({"includeLocations": _TEXTS, "excludeLocations": _TEXTS})),
        "devices": _or_null(_part({"deviceFilter": _FILTER})),
        **dict.fromkeys(("signInRiskLevels", "userRiskLevels", "servicePrincipalRiskLevels"), _RISKS),
        "insiderRiskLevels": _or_null(_flags("minor", "moderate", "elevated")),
        "authenticationFlows": _or_null(_part({"transferMethods": _TRANSFER})),
    }
)  # fmt: skip
_SWITCH = _or_null(_part({"isEnabled": _FLAG}))
CONDITIONAL_ACCESS_POLICY = _part(
    {
        **dict.fromkeys(
            ("id", "templateId", "description", "createdDateTime", "modifiedDateTime", "deletedDateTime"), _TEXT
        ),
        "displayName": _GIVEN_TEXT,
        "state": {"enum": ["enabled", "disabled", "enabledForReportingButNotEnforced"]},
        "conditions": _CONDITIONS,
        "grantControls": _or_null(
            _part(
                {
                    "operator": _or_null({"enum": ["AND", "OR"]}),
                    "builtInControls": {
                        "type": "array",
                        "items": _enum(
                            "block", "mfa", "compliantDevice", "domainJoinedDevice", "approvedApplication",
                            "compliantApplication", "passwordChange", "riskRemediation",
                        ),
                    },
                    "customAuthenticationFactors": _TEXTS,
                    "termsOfUse": _TEXTS,
                    "authenticationStrength": _or_null(
                        {"type": "object", "required": ["id"], "properties": {"id": _GUID}}
                    ),
                }
            )
        ),
        "sessionControls": _or_null(
            _part(
                {
                    **dict.fromkeys(("applicationEnforcedRestrictions", "secureSignInSession"), _SWITCH),
                    "disableResilienceDefaults": _FLAG,
                    "cloudAppSecurity": _or_null(
                        _part(
                            {
                                "isEnabled": _FLAG,
                                "cloudAppSecurityType": _or_null(
                                    _enum("mcasConfigured", "monitorOnly", "blockDownloads")
                                ),
                            }
                        )
                    ),
                    "persistentBrowser": _or_null(
                        _part({"isEnabled": _FLAG, "mode": _or_null({"enum": ["always", "never"]})})
                    ),
                    "signInFrequency": _or_null(
                        _part(
                            {
                                "isEnabled": _FLAG,
                                "value": _NUMBER,
                                "type": _or_null({"enum": ["days", "hours"]}),
                                "frequencyInterval": _or_null(_enum("timeBased", "everyTime")),
                                "authenticationType": _or_null(
                                    _enum("primaryAndSecondaryAuthentication", "secondaryAuthentication")
                                ),
                            }
                        )
                    ),
                }
            )
        ),
    }
)  # fmt: skip
_CIDR = _part({"cidrAddress": _GIVEN_TEXT}, required=("cidrAddress",))
_LOCATION_PROPERTIES: Mapping[str, Schema] = {
    **dict.fromkeys(("id", "createdDateTime", "modifiedDateTime", "deletedDateTime"), _TEXT),
    "displayName": _GIVEN_TEXT,
}
NAMED_LOCATION = _typed(
    (
        "ipNamedLocation",
        _part(
            {
                **_LOCATION_PROPERTIES,
                "isTrusted": {"type": "boolean"},
                "ipRanges": {"type": "array", "items": _typed(("iPv4CidrRange", _CIDR), ("iPv6CidrRange", _CIDR))},
            }
        ),
    ),
    (
        "countryNamedLocation",
        _part(
            {
                **_LOCATION_PROPERTIES,
                "countriesAndRegions": {"type": "array", "items": {"type": "string", "pattern": r"^[A-Z]{2}\Z"}},
                "countryLookupMethod": _or_null(_enum("clientIpAddress", "authenticatorAppGps")),
                "includeUnknownCountriesAndRegions": {"type": "boolean"},
            }
        ),
    ),
)
_RISK = _or_null(_RISKS["items"])
EVALUATE: Schema = {
    **_part(
        {
            "signInIdentity": _typed(
                ("userSignIn", _part({"userId": _TEXT, "externalTenantId": _TEXT, "externalUserType": _GUEST_TYPES})),
                ("servicePrincipalSignIn", _part({"servicePrincipalId": _TEXT})),
            ),
            "signInContext": _typed(
                ("applicationContext", _part({"includeApplications": _TEXTS})),
                (
                    "userActionContext",
                    _part({"userAction": _or_null(_enum("registerSecurityInformation", "registerOrJoinDevices"))}),
                ),
                ("authContext", _part({"authenticationContextValue": _TEXT})),
            ),
            "signInConditions": _part(
                {
                    **dict.fromkeys(("ipAddress", "country"), _TEXT),
                    "clientAppType": _or_null(_CLIENT_APP),
                    "devicePlatform": _or_null(_PLATFORM),
                    **dict.fromkeys(("signInRiskLevel", "userRiskLevel", "servicePrincipalRiskLevel"), _RISK),
                    "insiderRiskLevel": _or_null(_enum("none", "minor", "moderate", "elevated")),
                    "authenticationFlow": _or_null(_part({"transferMethod": _or_null(_TRANSFER)})),
                    "deviceInfo": _or_null(
                        _part(
                            {
                                **dict.fromkeys(
                                    (
                                        "deviceId", "displayName", "enrollmentProfileName", "manufacturer", "mdmAppId",
                                        "model", "operatingSystem", "operatingSystemVersion", "ownership",
                                        "profileType", "trustType",
                                        *(f"extensionAttribute{number}" for number in range(1, 16)),
                                    ),
                                    _TEXT,
                                ),
                                "isCompliant": _FLAG,
                                "physicalIds": _TEXTS,
                                "systemLabels": _TEXTS,
                            }
                        )
                    ),
                }
            ),
            "appliedPoliciesOnly": _FLAG,
        },
        required=("signInIdentity", "signInContext", "signInConditions"),
    ),
    "patternProperties": {},
}  # fmt: skip
SECURITY_DEFAULTS = _object({"isEnabled": {"type": "boolean"}}, required=("isEnabled",))
REQUIREMENTS = _object(
    {"perUserMfaState": {"enum": ["disabled", "enabled", "enforced"]}}, required=("perUserMfaState",)
)


def check_body(schema: Schema, body: Any) -> None:
    """Refuse a body with an unknown property, a wrong type or a missing parameter, naming it as Graph does."""
    error = next(Draft7Validator(schema).iter_errors(body), None)
    if error is None:
        return
    if schema is CONDITIONAL_ACCESS_POLICY:
        raise bad_request(
            "1007: Incoming ConditionalAccessPolicy object is null or does not match the schema of "
            "ConditionalAccessPolicy type. For examples, please see API documentation at "
            "https://docs.microsoft.com/en-us/graph/api/conditionalaccessroot-post-policies?view=graph-rest-1.0.",
            "BadRequest",
        )
    where = "/".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = min(name for name in error.instance if name not in known and not name.startswith("@odata."))
        raise bad_request(f"Invalid property '{unknown}'.")
    if error.validator == "required":
        raise bad_request(f"One or more required parameters are missing: {', '.join(error.validator_value)}.")
    raise bad_request(f"Invalid value specified for property '{where}' of resource.")
