"""An operator's acts, in two steps: a page that repeats the amount in words, then the act itself.

The acts are those of the command line (`worker.people`), which keeps each with name and reason.
"""

import re
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct
from yarl import URL

from worker import telemetry
from worker.domain.money import EXPONENTS, MAX_MINOR
from worker.domain.objection import changed_since
from worker.kafka.sink import Sink
from worker.ops.query import parse_letter_id, parse_number, subject_page
from worker.ops.site import Site
from worker.people import commands, dead_letters, discarding, replaying
from worker.people.acting import Action, Actor, Refused
from worker.people.commands import EarlierDecision
from worker.people.needs import find_needs
from worker.people.wording import OPERATIONS, describe_done
from worker.postgres.connecting import Connection, connected
from worker.settings import Settings

# A form has few and short fields.
FORM_BYTES_MAX = 16 * 1024
# Python's own numbers may also be 1_000, 1e3, +5, and in the digits of every script.
_AMOUNT = re.compile(r"([0-9]{1,16})(?:\.([0-9]+))?")


class Proposal(Struct, kw_only=True):
    """An act that a person is about to confirm."""

    action: Action
    about: str
    """The command, amount or dead letter that it is done to, in words."""
    value: int | None
    """In minor units."""
    currency: str | None
    order_id: str | None
    fields: dict[str, str]
    """The hidden fields of the form."""
    effect: str = ""
    """What the act does, in a sentence."""
    needs_result: bool = False
    """Whether the person must first say what the connector did."""
    asked_value: int | None = None
    """What the command asked for."""

    @property
    def back(self) -> str:
        """The address of the page to return to."""
        return subject_page({"action": self.action, **self.fields}) or "/"


async def act_page(site: Site, request: web.Request) -> web.Response:
    """The first step: shows the act, to be confirmed."""
    async with site.reader.snapshot() as connection:
        proposal = await _proposal(site, connection, request.query.get("action", ""), dict(request.query))
    return site.show(request, "act.html", proposal=proposal, by=request.cookies.get("settlement_name", ""))


async def act(site: Site, request: web.Request) -> web.StreamResponse:
    """The second step: carries out the act, under a name and for a reason."""
    form = {name: str(value) for name, value in (await request.post()).items()}
    actor = Actor(form.get("by", "").strip(), form.get("reason", "").strip(), "ops view")
    async with site.reader.snapshot() as connection:
        proposal = await _proposal(site, connection, form.get("action", ""), form)
    if proposal.needs_result:
        raise Refused("say first what the connector did")
    async with connected(site.settings.database, name="settlement-ops-act") as connection:
        before = await _carry_out(site.settings, connection, actor, proposal)
    telemetry.log.info("act", action=proposal.action, by=actor.name, about=proposal.about, order=proposal.order_id)
    noted = proposal.action if before is None else "before"
    answer = web.HTTPSeeOther(URL(proposal.back, encoded=True).update_query(noted=noted))
    answer.set_cookie("settlement_name", _cookie_text(actor.name), httponly=True, samesite="Strict", path="/act")
    raise answer


async def _proposal(site: Site, connection: Connection, action: str, given: dict[str, str]) -> Proposal:
    """Makes the proposal from the given fields and the tables; raises `Refused` if the act is not possible."""
    match action:
        case "retry" | "abandon" | "resolve" if given.get("id"):
            return await _on_command(connection, action, given)
        case "abandon" if given.get("order"):
            return await _on_amount(connection, given)
        case "replay" | "discard":
            return await _on_letter(site, connection, action, given)
        case _:
            raise Refused("there is no such act")


async def _on_command(connection: Connection, action: Action, given: dict[str, str]) -> Proposal:
    page = await commands.read_page(connection, given["id"])
    command = page.command
    seen = _changes_seen(given)
    if refusal := changed_since(seen, command["changes"], command["state"]):
        raise Refused(refusal)
    if seen is None:  # not for a form: sent twice, its act answers that
        _refuse_needless(page, action)
    about = (f"the {OPERATIONS[command['operation']]} on payment {command['payment_id']} "
             f"of order {command['order_id']} by {command['connector']}")  # fmt: skip
    proposal = Proposal(
        action=action, about=about, value=command["value"], currency=command["currency"], order_id=command["order_id"],
        asked_value=command["value"], fields={"id": given["id"], "changes": str(command["changes"])},
    )  # fmt: skip
    if action == "resolve":
        proposal = _with_result(proposal, given)
        if operation_id := proposal.fields.get("operation"):
            order_id, value = command["order_id"], proposal.value or 0
            if refusal := await commands.why_not_bookable(connection, order_id, given["id"], value, operation_id):
                raise Refused(refusal)
        return proposal
    open_part = command["value"] - (command["done"] or 0)
    if command["state"] in ("declined", "succeeded", "resolved"):
        proposal.value = open_part
        retried = "It becomes a new command, with a request id of its own."
    else:
        retried = "The same request id is sent again: what the connector has done already is not done twice."
    proposal.effect = retried if action == "retry" else "The amount stays where it is, and no longer holds the order."
    return proposal


def _refuse_needless(page: commands.CommandPage, action: Action) -> None:
    """Refuses what cannot be done with the command, or what somebody has decided a moment ago."""
    if (pending := page.pending) is not None:
        raise Refused(f"{pending['decided_by']} has decided about it already, and the delivery worker applies that")
    if action not in page.acts:
        decided = f", and {page.decisions[-1]['decided_by']} has decided about it" if page.decisions else ""
        raise Refused(f"the command is {page.command['state']}{decided}: that cannot be done with it now")


def _changes_seen(given: dict[str, str]) -> int | None:
    """How often the command had changed when the person saw its page; None: the page is made only now."""
    return parse_number(given["changes"], -1) if "changes" in given else None


def _with_result(proposal: Proposal, given: dict[str, str]) -> Proposal:
    """Adds to a proposal to resolve a command what the connector did; without it, the page asks for it."""
    match given.get("result"):
        case "done":
            value = to_minor(given.get("value", ""), proposal.currency or "")
            operation = given.get("operation", "").strip()
            if not operation:
                raise Refused("what was done has an id at the connector: its settle, refund or cancellation id")
            proposal.value = value
            proposal.fields |= {"result": "done", "value": given["value"].strip(), "operation": operation}
            done = describe_done(value, proposal.asked_value or 0, proposal.currency or "")
            proposal.effect = f"It is booked as done by the connector, under its id {operation}: {done}."
        case "not done":
            proposal.fields |= {"result": "not done"}
            proposal.effect = (
                "It is booked as not done, as if the connector had declined it. "
                "It is failed then: asking again or giving up comes next."
            )
        case _:
            proposal.needs_result = True
    return proposal


async def _on_amount(connection: Connection, given: dict[str, str]) -> Proposal:
    order_id, invoice, settle_id = given["order"], given.get("invoice"), given.get("settle")
    for need in (await find_needs(connection, order_id=order_id)).latest:
        named = need.command_id, need.invoice_number, need.settle_id
        if need.acts and named == (None, invoice or None, settle_id or None):
            amount = f"the lapsed amount of invoice {invoice}" if invoice else f"the automatic settlement {settle_id}"
            return Proposal(
                action="abandon", about=f"{amount} of order {order_id}", value=need.amount, currency=need.currency,
                order_id=order_id,
                fields={name: given[name] for name in ("order", "invoice", "settle") if given.get(name)},
                effect="The amount no longer holds the order.",
            )  # fmt: skip
    raise Refused("nothing in this order is waiting for that decision any more")


async def _on_letter(site: Site, connection: Connection, action: Action, given: dict[str, str]) -> Proposal:
    number = parse_letter_id(given.get("id", ""))
    [letter] = await dead_letters.read(connection, [number])
    if letter.status != "open":
        raise Refused(f"dead letter {number} was {letter.status} by {letter.decided_by} already")
    if action == "replay":
        replaying.refuse_replay(letter)
        effect = "The record goes to its original topic unchanged, and the ledger judges it again, once."
    else:
        await discarding.refuse_discard(connection, letter)
        effect = "The record stays readable here, and nobody is reminded of it any more."
    value, currency = _amount_in(letter.record.value)
    row = site.view.row(letter.order_id) if letter.order_id else None
    if currency is None and row is not None and row.state is not None:
        currency = row.state.currency  # an invoice need not name it
    return Proposal(
        action=action, about=f"dead letter {number}, {letter.reason}, from {letter.record.topic}", value=value,
        currency=currency, order_id=letter.order_id, fields={"id": str(number)}, effect=effect,
    )  # fmt: skip


async def _carry_out(
    settings: Settings, connection: Connection, actor: Actor, proposal: Proposal
) -> EarlierDecision | None:
    """Does what was proposed; if the same was decided before, returns what came of it."""
    given = proposal.fields
    match proposal.action:
        case "retry":
            return await commands.retry(connection, actor, given["id"], changes=int(given["changes"]))
        case "resolve":
            done = proposal.value if "operation" in given else None
            return await commands.resolve(
                connection, actor, given["id"], done=done, operation_id=given.get("operation"),
                changes=int(given["changes"]),
            )  # fmt: skip
        case "abandon" if "id" in given:
            return await commands.abandon(connection, actor, given["id"], changes=int(given["changes"]))
        case "abandon":
            return await commands.abandon_amount(
                connection, actor, given["order"], invoice=given.get("invoice"), settle_id=given.get("settle")
            )
        case "replay":
            async with Sink(settings) as sink:
                await replaying.replay(connection, sink, actor, [int(given["id"])])
        case "discard":
            await discarding.discard(connection, actor, [int(given["id"])])
    return None


def to_minor(text: str, currency: str) -> int:
    """Returns `60.00` BRL in minor units, exactly; raises `Refused` for anything that is not such an amount above 0."""
    exponent = EXPONENTS.get(currency, 0)
    if (match := _AMOUNT.fullmatch(text.strip())) is None:
        raise Refused(f"the value must be an amount such as {'60.00' if exponent else '60'}, in {currency}")
    whole, fraction = match[1], (match[2] or "").rstrip("0")
    if len(fraction) <= exponent and 0 < (minor := int(whole + fraction.ljust(exponent, "0"))) <= MAX_MINOR:
        return minor
    raise Refused(f"the value must be above 0 and have at most {exponent} decimals")


def _amount_in(value: bytes | None) -> tuple[int | None, str | None]:
    """Returns the amount, in minor units, and the currency in a record's value; None for what cannot be read."""
    try:
        data: Any = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None
    data = data.get("data", data) if isinstance(data, dict) else {}
    if not isinstance(data, dict):
        return None, None
    minor = data.get("invoiceValue", data.get("value"))
    if isinstance(minor, str) and minor.isascii() and minor.isdigit() and len(minor) < 17:
        minor = int(minor)
    currency = data.get("currency")
    is_amount = isinstance(minor, int) and not isinstance(minor, bool) and 0 <= minor <= MAX_MINOR
    return minor if is_amount else None, currency if currency in EXPONENTS else None


def _cookie_text(name: str) -> str:
    """Returns a name that a cookie can hold, for the next form to be filled in with, else nothing."""
    return name if name.isascii() and name.isprintable() and not set(name) & set(';,"\\') else ""
