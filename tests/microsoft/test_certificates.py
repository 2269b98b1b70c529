"""The application's certificate at the sandbox's Entra and Graph: made, registered beside the old one, withdrawn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from bot.errors import GraphProblem, GraphRefused, OutcomeUnknown, SignInFailed
from bot.guesses import what_it_says
from bot.microsoft.certificates import EntraCertificates, msal_form
from bot.microsoft.client import MicrosoftTenant
from bot.model import Secret
from bot.rotating_certificate import CertificateCredential
from bot.rotation import SignsIn
from sandbox.directory import KeyCredential
from sandbox.faults import Answer, Drop, Lag, Rule
from sandbox.tls import make_application_certificate
from tests.clock import ManualClock
from tests.microsoft.tenant import Contoso, no_trail, open_contoso

ADD_KEY, REMOVE_KEY = "/applications/*/addKey", "/applications/*/removeKey"

Failure = TypeVar("Failure", bound=Exception)


@dataclass
class Worker:
    """The application, its credential, and a clock of the bot's that goes as the world's does."""

    contoso: Contoso
    credential: CertificateCredential
    first: Secret

    @property
    def keys(self) -> tuple[KeyCredential, ...]:
        directory = self.contoso.servers.directory
        return directory.latest.keys(directory.applications["worker"])

    def pass_time(self, time: timedelta) -> None:
        self.contoso.servers.clock.advance(time.total_seconds())
        self.contoso.clock.advance(time.total_seconds())

    def sent(self, what: str) -> int:
        return sum(request.path.endswith(what) and request.applied for request in self.contoso.servers.graph.requests)

    async def says(self, value: Secret) -> SignsIn:
        try:
            await self.credential.sign_in(value)
        except SignInFailed as failure:
            return what_it_says(failure)
        return SignsIn.YES


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with open_contoso() as contoso:
        servers = contoso.servers
        contoso.clock = ManualClock(datetime.fromtimestamp(servers.clock.now(), UTC), hurries=True)
        credential = CertificateCredential(
            secret_name="latchkey-worker-certificate",
            account=servers.directory.applications["worker"].app_id,
            name="Latchkey worker",
            signing_in=contoso.sign_in(),
            tenant=MicrosoftTenant.at(f"{servers.url}/graph/v1.0", contoso.http, contoso.clock),
            certificates=EntraCertificates(contoso.clock),
        )
        yield Worker(contoso, credential, Secret(servers.directory.worker_certificate.pkcs12))


async def failed(kind: type[Failure], work: Awaitable[object]) -> Failure:
    with pytest.raises(kind) as failure:
        await work
    return failure.value


async def test_a_new_certificate_signs_in_once_the_application_has_registered_it_beside_the_old_one(
    worker: Worker,
) -> None:
    new = await worker.credential.make()
    before = await worker.says(new)

    await worker.credential.change(worker.first, new, no_trail)

    assert before is SignsIn.NO
    assert [await worker.says(value) for value in (worker.first, new)] == [SignsIn.YES, SignsIn.YES]
    audit = worker.contoso.servers.directory.audits[-1]
    assert (audit.caller_app.key, audit.caller_user, audit.modified) == ("worker", None, ("KeyDescription",))


async def test_a_certificate_is_tagged_with_what_it_is_and_when_it_ends(worker: Worker) -> None:
    made = worker.contoso.clock.now()
    tags = worker.credential.read_tag(await worker.credential.make())
    first = worker.credential.read_tag(worker.first)

    assert datetime.fromisoformat(tags["ends"]) == made.replace(microsecond=0) + timedelta(days=180)
    assert len(tags["thumbprint"]) == 64
    assert tags["thumbprint"] != first["thumbprint"]
    assert worker.credential.read_tag(Secret("no certificate")) == {}


async def test_what_was_registered_is_not_registered_again(worker: Worker) -> None:
    new = await worker.credential.make()
    for _ in range(2):
        await worker.credential.change(worker.first, new, no_trail)

    assert (len(worker.keys), worker.sent("addKey")) == (2, 1)


async def test_a_lost_answer_is_no_second_certificate(worker: Worker) -> None:
    new = await worker.credential.make()
    worker.contoso.servers.faults.add(Rule("graph", "POST", ADD_KEY, Drop("after"), times=1))

    await failed(OutcomeUnknown, worker.credential.change(worker.first, new, no_trail))
    await worker.credential.change(worker.first, new, no_trail)

    assert len(worker.keys) == 2
    assert await worker.says(new) is SignsIn.YES


async def test_a_reader_that_lags_makes_graph_refuse_the_second_registration_and_nothing_worse(worker: Worker) -> None:
    new = await worker.credential.make()
    await worker.credential.change(worker.first, new, no_trail)
    worker.contoso.servers.faults.add(Rule("graph", "GET", "/applications/*", Lag(60.0)))

    refused = await failed(GraphRefused, worker.credential.change(worker.first, new, no_trail))

    assert refused.answer is not None
    assert refused.answer.status == 400
    assert len(worker.keys) == 2


async def test_a_new_certificate_signs_in_only_when_entras_servers_have_heard_of_it(worker: Worker) -> None:
    worker.contoso.servers.entra.replication_lag = 90.0
    new = await worker.credential.make()
    await worker.credential.change(worker.first, new, no_trail)

    at_once = await worker.says(new)
    worker.pass_time(timedelta(seconds=91))

    assert (at_once, await worker.says(new)) == (SignsIn.NO, SignsIn.YES)


async def test_the_old_one_is_withdrawn_with_the_proof_of_the_new_one_and_others_stay(worker: Worker) -> None:
    directory = worker.contoso.servers.directory
    by_hand = directory.add_key(
        directory.applications["worker"], make_application_certificate("Somebody else's").certificate
    )
    new = await worker.credential.make()
    await worker.credential.change(worker.first, new, no_trail)

    for _ in range(2):  # what is gone already is fine
        await worker.credential.withdraw(worker.first, new, no_trail)

    assert [await worker.says(value) for value in (worker.first, new)] == [SignsIn.NO, SignsIn.YES]
    assert by_hand in worker.keys
    assert (len(worker.keys), worker.sent("removeKey")) == (2, 1)


async def test_a_lost_answer_to_a_withdrawal_is_found_out_at_the_next_try(worker: Worker) -> None:
    new = await worker.credential.make()
    await worker.credential.change(worker.first, new, no_trail)
    worker.contoso.servers.faults.add(Rule("graph", "POST", REMOVE_KEY, Drop("after"), times=1))

    await failed(OutcomeUnknown, worker.credential.withdraw(worker.first, new, no_trail))
    await worker.credential.withdraw(worker.first, new, no_trail)

    assert len(worker.keys) == 1


async def test_somebody_else_withdrew_it_first(worker: Worker) -> None:
    new = await worker.credential.make()
    await worker.credential.change(worker.first, new, no_trail)
    await worker.credential.withdraw(worker.first, new, no_trail)
    lag = worker.contoso.servers.faults.add(Rule("graph", "GET", "/applications/*", Lag(60.0), times=1))

    await worker.credential.withdraw(worker.first, new, no_trail)

    assert lag.times == 0
    assert len(worker.keys) == 1


async def test_the_certificate_in_force_is_never_withdrawn_even_if_it_is_stored_twice(worker: Worker) -> None:
    packed = worker.first
    pem = Secret(_as_pem(packed))

    await worker.credential.withdraw(packed, pem, no_trail)
    await worker.credential.withdraw(Secret("not a certificate"), packed, no_trail)

    assert await worker.says(packed) is SignsIn.YES
    assert worker.sent("removeKey") == 0


async def test_a_certificate_that_is_not_registered_changes_nothing(worker: Worker) -> None:
    stranger, new = await worker.credential.make(), await worker.credential.make()

    refused = await failed(SignInFailed, worker.credential.change(stranger, new, no_trail))

    assert (refused.code, what_it_says(refused)) == (700027, SignsIn.NO)
    assert len(worker.keys) == 1


async def test_a_certificate_that_has_ended_is_as_good_as_none(worker: Worker) -> None:
    new = await worker.credential.make()
    await worker.credential.change(worker.first, new, no_trail)
    worker.pass_time(timedelta(days=181))

    assert [await worker.says(value) for value in (worker.first, new)] == [SignsIn.YES, SignsIn.NO]
    assert worker.contoso.servers.entra.requests[-1].code == 700027


@pytest.mark.parametrize("wrong_by", [timedelta(hours=-1), timedelta(hours=1)])
async def test_a_clock_that_is_wrong_is_named_when_the_proof_is_refused(worker: Worker, wrong_by: timedelta) -> None:
    new = await worker.credential.make()
    worker.contoso.clock.advance(wrong_by.total_seconds())

    refused = await failed(GraphRefused, worker.credential.change(worker.first, new, no_trail))

    assert "this machine's clock" in str(refused)
    assert len(worker.keys) == 1


@pytest.mark.parametrize("allowed", [frozenset(), frozenset({"User.Read.All"})])
async def test_an_application_that_may_not_see_its_registration_is_told_which_permission_it_lacks(
    worker: Worker, allowed: frozenset[str]
) -> None:
    apps = worker.contoso.servers.directory.applications
    apps["worker"] = replace(apps["worker"], roles=allowed)

    refused = await failed(
        GraphRefused, worker.credential.change(worker.first, await worker.credential.make(), no_trail)
    )

    assert "Application.Read.All" in str(refused)
    assert refused.answer is not None
    assert refused.answer.status == 403


async def test_an_application_of_another_tenant_is_named(worker: Worker) -> None:
    apps = worker.contoso.servers.directory.applications
    apps["worker"] = replace(apps["worker"], object_id=None)

    refused = await failed(
        GraphRefused, worker.credential.change(worker.first, await worker.credential.make(), no_trail)
    )

    assert "no registration of the application" in str(refused)


@pytest.mark.parametrize("status", [429, 503])
async def test_what_graph_puts_off_is_tried_again_with_the_same_proof(worker: Worker, status: int) -> None:
    worker.contoso.servers.faults.add(Rule("graph", "POST", ADD_KEY, Answer(status, None), times=2))

    await worker.credential.change(worker.first, await worker.credential.make(), no_trail)

    assert len(worker.keys) == 2


async def test_a_certificate_in_the_name_of_anything_is_made(worker: Worker) -> None:
    certificates = EntraCertificates(worker.contoso.clock)
    for name in ("", "Ä" * 200, 'Contoso "Latchkey", O=Evil\n'):
        assert certificates.read(certificates.make(name)) is not None


async def test_graph_down_changes_nothing(worker: Worker) -> None:
    new = await worker.credential.make()
    worker.contoso.servers.faults.start("graph-down")

    await failed(GraphProblem, worker.credential.change(worker.first, new, no_trail))

    assert len(worker.keys) == 1


def _as_pem(packed: Secret) -> str:
    form = msal_form(packed.reveal())
    assert form is not None
    return form["private_key"] + form["public_certificate"]
