"""The service identities: which stored version signs in, what is asked for that, and when nobody guesses any more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from bot.errors import NotAsked, Retry, SignInCategory, SignInFailed, VaultProblem
from bot.guesses import GuessBook, SignInGuesses, allowed_guesses, what_it_says
from bot.identities import Application, ServiceAccount, ServiceIdentity
from bot.microsoft.aadsts import explain
from bot.model import Secret
from bot.ports import SecretVersion, Token
from bot.rotation import SignsIn
from tests.clock import ManualClock

UPN = "latchkey@contoso.com"
WORKER = "11111111-0000-4000-8000-000000000000"


def refused(code: int) -> SignInFailed:
    return explain({"error": "invalid_grant", "error_codes": [code], "correlation_id": f"c-{code}"})


@dataclass
class Vault:
    """Holds versions, newest first; the value of each is its name. Counts what is asked of it."""

    held: list[SecretVersion] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    listings: int = 0
    read_ones: list[str] = field(default_factory=list)

    def put(self, version: str, state: str | None = None, account: str | None = None, *, enabled: bool = True) -> None:
        tags = {key: value for key, value in (("state", state), ("account", account)) if value}
        self.held.insert(0, SecretVersion("s", version, enabled, ManualClock().now(), tags=tags))

    async def versions(self, name: str) -> list[SecretVersion]:
        self.listings += 1
        return list(self.held)

    async def read(self, name: str, version: str | None = None) -> Secret:
        assert version is not None
        self.read_ones.append(version)
        if version in self.problems:
            raise VaultProblem("No.", reason=self.problems[version])
        return Secret(version)

    async def store(
        self, name: str, value: Secret, *, tags: Mapping[str, str], content_type: str = ""
    ) -> SecretVersion:
        raise NotImplementedError

    async def label(self, name: str, version: str, *, tags: Mapping[str, str], enabled: bool | None = True) -> None:
        raise NotImplementedError

    async def remove(self, name: str) -> None:
        raise NotImplementedError

    async def recover(self, name: str) -> None:
        raise NotImplementedError


@dataclass
class Entra:
    """Takes one value, and says of others, or of that one, what it is told to."""

    in_force: str
    says: dict[str, SignInFailed] = field(default_factory=dict)
    wrong: int = 50126
    tried: list[str] = field(default_factory=list)

    async def service_account(self, upn: str, password: Secret, *, claims: str | None = None) -> Token:
        self.tried.append(password.reveal())
        await asyncio.sleep(0)
        if failure := self.says.get(password.reveal()):
            raise failure
        if password.reveal() != self.in_force:
            raise refused(self.wrong)
        return Token(password, ManualClock().now() + timedelta(hours=1))

    async def application(self, certificate: Secret, *, claims: str | None = None) -> Token:
        return await self.service_account(WORKER, certificate, claims=claims)

    async def managed_identity(self) -> Token:
        raise NotImplementedError


@dataclass
class Scene:
    """What is in force is `new` unless it is said otherwise."""

    clock: ManualClock = field(default_factory=ManualClock)
    vault: Vault = field(default_factory=Vault)
    entra: Entra = field(default_factory=lambda: Entra("new"))
    repairs: int = 0

    def __post_init__(self) -> None:
        self.guesses = SignInGuesses(self.clock)

    def account(self) -> ServiceAccount:
        return ServiceAccount(self.vault, self.entra, "s", UPN, self.guesses, self.repair)

    def application(self) -> Application:
        self.entra.wrong = 700027
        return Application(self.vault, self.entra, "s", WORKER, self.repair)

    def repair(self) -> None:
        self.repairs += 1

    async def signs_in(self, identity: ServiceIdentity | None = None) -> str:
        return (await (identity or self.account()).sign_in(lambda key, title: None)).value.reveal()


@pytest.fixture
def scene() -> Scene:
    return Scene()


# --- which version ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["account", "application"])
@pytest.mark.parametrize(
    ("tags", "tried", "repairs"),
    [
        ({"old": "previous", "new": "current"}, ["new"], 0),
        ({"old": None, "new": None}, ["new"], 0),
        ({"new": None, "old": None}, ["old", "new"], 1),
        ({"old": "current", "new": "pending"}, ["old", "new"], 1),
        ({"new": "previous", "old": "current"}, ["old", "new"], 1),
        ({"oldest": "previous", "old": "current", "new": "pending"}, ["old", "new"], 1),
        ({"oldest": "previous", "old": "current", "new": "refused"}, ["old", "oldest", "new"], 1),
    ],
)
async def test_what_is_in_force_is_found_and_where_the_tags_say_another_they_are_put_right(
    scene: Scene, kind: str, tags: dict[str, str | None], tried: list[str], repairs: int
) -> None:
    for version, state in tags.items():
        scene.vault.put(version, state)
    identity: ServiceIdentity = scene.account() if kind == "account" else scene.application()
    assert await scene.signs_in(identity) == "new"

    assert (scene.entra.tried, scene.repairs) == (tried, repairs)
    assert (scene.vault.listings, scene.vault.read_ones) == (1, tried)


async def test_versions_of_another_account_are_left_alone(scene: Scene) -> None:
    scene.vault.put("new", "current", UPN.upper())
    scene.vault.put("theirs", "current", "old@contoso.com")
    assert await scene.signs_in() == "new"

    scene.vault.held = scene.vault.held[:1]
    with pytest.raises(VaultProblem, match="Store the service account's password"):
        await scene.signs_in()
    with pytest.raises(VaultProblem, match="Store the application's certificate"):
        await scene.signs_in(scene.application())
    assert scene.entra.tried == ["new"]


async def test_what_somebody_disabled_is_passed_over(scene: Scene) -> None:
    scene.vault.put("new", "previous")
    scene.vault.put("old", "current", enabled=False)
    scene.vault.put("older", "current")
    scene.vault.problems["older"] = "disabled"  # between the listing and the reading
    assert await scene.signs_in() == "new"
    assert (scene.entra.tried, scene.repairs) == (["new"], 1)

    scene.vault.problems["new"] = "disabled"
    with pytest.raises(VaultProblem) as problem:
        await scene.signs_in()
    assert problem.value.reason == "disabled"


async def test_a_vault_that_does_not_answer_says_nothing_about_the_next_version(scene: Scene) -> None:
    scene.vault.put("new", "previous")
    scene.vault.put("old", "current")
    scene.vault.problems["old"] = "unreachable"
    with pytest.raises(VaultProblem):
        await scene.signs_in()

    assert (scene.vault.read_ones, scene.entra.tried) == (["old"], [])


@pytest.mark.parametrize("code", [50053, 50057, 90033, 7000215])
async def test_neither_does_a_sign_in_that_says_nothing(scene: Scene, code: int) -> None:
    scene.vault.put("old", "current")
    scene.vault.put("new", "pending")
    scene.entra.says["old"] = refused(code)
    with pytest.raises(SignInFailed):
        await scene.signs_in()

    assert (scene.entra.tried, scene.repairs, scene.guesses.left) == (["old"], 0, 9)


async def test_what_a_policy_stops_is_in_force_all_the_same(scene: Scene) -> None:
    scene.vault.put("old", "current")
    scene.vault.put("new", "pending")
    scene.entra.says["new"] = refused(53003)
    with pytest.raises(SignInFailed, match="Conditional Access"):
        await scene.signs_in()

    assert scene.repairs == 1


async def test_what_is_no_certificate_is_passed_over_and_said_if_there_is_no_other(scene: Scene) -> None:
    scene.vault.put("new", "previous")
    scene.vault.put("nonsense", "current")
    scene.entra.says["nonsense"] = SignInFailed(
        "The certificate in Key Vault cannot be used.", category=SignInCategory.APP_CONFIG, retry=Retry.AFTER_FIX
    )
    assert await scene.signs_in(scene.application()) == "new"

    scene.entra.in_force = "another"
    with pytest.raises(SignInFailed, match="cannot be used"):
        await scene.signs_in(scene.application())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (50126, SignsIn.NO),
        (700027, SignsIn.NO),
        (50076, SignsIn.BLOCKED),
        (53003, SignsIn.BLOCKED),
        (530035, SignsIn.BLOCKED),
        (50034, SignsIn.GONE),
        (50055, SignsIn.GONE),
        (50057, SignsIn.GONE),
        (50053, SignsIn.UNKNOWN),
        (50196, SignsIn.UNKNOWN),
        (90033, SignsIn.UNKNOWN),
        (123456, SignsIn.UNKNOWN),
    ],
)
def test_what_a_refusal_says_about_the_credential(code: int, says: SignsIn) -> None:
    assert what_it_says(refused(code)) is says


# --- guesses ----------------------------------------------------------------------------------------------------------


async def test_when_no_stored_password_signs_in_nobody_guesses_again_for_a_while(scene: Scene) -> None:
    scene.entra.in_force = "what somebody chose"
    scene.vault.put("old", "previous")
    scene.vault.put("new", "current")
    with pytest.raises(SignInFailed, match=r"No password that Key Vault holds signs latchkey@contoso\.com in") as lost:
        await scene.signs_in()
    assert (lost.value.code, lost.value.correlation_id) == (50126, "c-50126")

    for minutes, words in ((0, "in 15 minutes"), (14, "in a minute")):
        scene.clock.advance(minutes * 60)
        with pytest.raises(NotAsked, match=words):
            await scene.signs_in()
    assert scene.entra.tried == ["new", "old"]
    scene.clock.advance(61)
    with pytest.raises(SignInFailed):
        await scene.signs_in()
    assert scene.entra.tried == ["new", "old"] * 2
    with pytest.raises(NotAsked, match="in 30 minutes"):
        await scene.signs_in()


@pytest.mark.parametrize("how", ["another version", "another tag", "a rotation found one"])
async def test_once_there_is_something_new_it_is_tried_at_once(scene: Scene, how: str) -> None:
    scene.entra.in_force = "right"
    scene.vault.put("wrong", "current")
    with pytest.raises(SignInFailed):
        await scene.signs_in()
    scene.entra.in_force = "wrong"
    match how:
        case "another version":
            scene.vault.put("x", "pending")
        case "another tag":
            scene.vault.held.clear()
            scene.vault.put("wrong", "pending")
        case "a rotation found one":
            await scene.guesses.make(lambda: scene.entra.service_account(UPN, Secret("wrong")))

    assert await scene.signs_in() == "wrong"


async def test_no_more_wrong_passwords_than_lock_no_account_and_a_right_one_makes_good(scene: Scene) -> None:
    async def guess(password: str) -> Token:
        return await scene.guesses.make(lambda: scene.entra.service_account(UPN, Secret(password)))

    for number in range(9):
        scene.clock.advance(60)
        with pytest.raises(SignInFailed):
            await guess(f"wrong {number}")
    with pytest.raises(NotAsked, match="for 52 minutes") as error:
        await scene.signs_in()
    assert (error.value.category, error.value.retry) == (SignInCategory.THROTTLING, Retry.WAIT)
    assert (len(scene.entra.tried), scene.vault.listings) == (9, 0)

    scene.clock.advance(52 * 60)
    assert scene.guesses.left == 1
    await guess("new")
    assert scene.guesses.left == 9


async def test_those_under_way_count_as_wrong_until_it_is_known(scene: Scene) -> None:
    async def guess(password: str) -> Token:
        return await scene.guesses.make(lambda: scene.entra.service_account(UPN, Secret(password)))

    failures = await asyncio.gather(*(guess(f"wrong {number}") for number in range(20)), return_exceptions=True)

    assert len(scene.entra.tried) == 9
    assert [isinstance(failure, NotAsked) for failure in failures].count(True) == 11


def test_each_account_has_guesses_of_its_own_in_whatever_letters_it_is_written() -> None:
    book = GuessBook(ManualClock(), 3)

    assert book.of(UPN) is book.of(UPN.upper())
    assert book.of(UPN) is not book.of("another@contoso.com")
    assert book.of(UPN).left == 3


@pytest.mark.parametrize(
    ("threshold", "government", "allowed"),
    [(None, False, 9), (None, True, 2), (5, True, 4), (50, False, 9), (1, False, 1)],
)
def test_how_many_are_safe(threshold: int | None, government: bool, allowed: int) -> None:
    assert allowed_guesses(threshold, us_government=government) == allowed
