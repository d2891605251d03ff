"""What an operator decides, in two steps: a page that repeats the amount in words, then the act itself.

The acts are those of the command line (`worker.people`); each is written down there with name and reason.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct
from yarl import URL

from worker import telemetry
from worker.domain.money import EXPONENTS, MAX_MINOR
from worker.domain.objection import changed_since
from worker.kafka.sink import Sink
from worker.ops import orders, words
from worker.ops.needing import letter_id
from worker.ops.site import Site
from worker.people import commands, dead_letters, replaying
from worker.people.acting import Action, Actor, Refused
from worker.people.commands import EarlierDecision
from worker.people.needs import needs
from worker.postgres.connecting import Connection, connected
from worker.settings import Settings

# A form has a handful of short fields.
FORM_BYTES_MAX = 16 * 1024
# Digits alone: Python's own numbers may be 1_000, 1e3, +5, and in the digits of every script.
_AMOUNT = re.compile(r"([0-9]{1,16})(?:\.([0-9]+))?")


class Proposal(Struct, kw_only=True):
    """What is about to be done, and to which amount; `value` in minor units."""

    action: Action
    about: str
    """What it is done to, in words."""
    value: int | None
    currency: str | None
    order_id: str | None
    back: str
    """The page to come back to."""
    fields: dict[str, str]
    """What the form carries from the first step to the second."""
    says: str = ""
    """What happens then."""
    asks_for_result: bool = False
    """Whether the person has still to say what the connector did."""
    asked_value: int | None = None


async def act_page(site: Site, request: web.Request) -> web.Response:
    """The first step: look at what you are about to do."""
    async with site.reader.snapshot() as connection:
        proposal = await _proposal(site, connection, request.query.get("action", ""), dict(request.query))
    return site.show(request, "act.html", one=proposal, by=request.cookies.get("settlement_name", ""))


async def act(site: Site, request: web.Request) -> web.StreamResponse:
    """The second step: it is done, under a name and for a reason."""
    form = {name: str(value) for name, value in (await request.post()).items()}
    actor = Actor(form.get("by", "").strip(), form.get("reason", "").strip(), "ops view")
    async with site.reader.snapshot() as connection:
        proposal = await _proposal(site, connection, form.get("action", ""), form)
    if proposal.asks_for_result:
        raise Refused("say first what the connector did")
    async with connected(site.settings.database, name="settlement-ops-act") as connection:
        before = await _ACTS[proposal.action](site.settings, connection, actor, form)
    telemetry.log.info("act", action=proposal.action, by=actor.name, about=proposal.about, order=proposal.order_id)
    noted = proposal.action if before is None else "before"
    answer = web.HTTPSeeOther(URL(proposal.back, encoded=True).update_query(noted=noted))
    answer.set_cookie("settlement_name", _cookie_text(actor.name), httponly=True, samesite="Strict", path="/act")
    raise answer


async def _proposal(site: Site, connection: Connection, action: str, given: dict[str, str]) -> Proposal:
    """What the fields mean, read afresh from the tables; `Refused` with a sentence where it cannot be done."""
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
    one = page.command
    if refusal := changed_since(_seen(given), one["changes"], one["state"]):
        raise Refused(refusal)
    if _seen(given) is None and action not in page.acts:  # a form may be sent twice: its act tells
        raise Refused(f"the command is {one['state']}: that cannot be done with it now")
    about = (f"the {words.OPERATIONS[one['operation']]} on payment {one['payment_id']} of order {one['order_id']} "
             f"by {one['connector']}")  # fmt: skip
    proposal = Proposal(
        action=action, about=about, value=one["value"], currency=one["currency"], order_id=one["order_id"],
        back=str(URL("/command").with_query(id=given["id"])), asked_value=one["value"],
        fields={"id": given["id"], "changes": str(one["changes"])},
    )  # fmt: skip
    if action == "resolve":
        proposal = _with_result(proposal, given)
        operation = proposal.fields.get("operation")
        if operation and (
            refusal := await commands.why_not_bookable(
                connection, one["order_id"], given["id"], proposal.value or 0, operation
            )
        ):
            raise Refused(refusal)
        return proposal
    open_part = one["value"] - (one["done"] or 0)
    if one["state"] in ("declined", "succeeded", "resolved"):
        proposal.value = open_part
        retried = "It becomes a new command, with a request id of its own."
    else:
        retried = "The same request id is sent again: what the connector has done already is not done twice."
    proposal.says = retried if action == "retry" else "The amount stays where it is, and no longer holds the order."
    return proposal


def _seen(given: dict[str, str]) -> int | None:
    """How often the command had changed when its page was made; None: the page is only being made."""
    return orders.number(given["changes"], -1) if "changes" in given else None


def _with_result(proposal: Proposal, given: dict[str, str]) -> Proposal:
    """A command is closed as done, with a value and the connector's id, or as not done."""
    match given.get("result"):
        case "done":
            value = in_minor(given.get("value", ""), proposal.currency or "")
            operation = given.get("operation", "").strip()
            if not operation:
                raise Refused("what was done has an id at the connector: its settle, refund or cancellation id")
            proposal.value = value
            proposal.fields |= {"result": "done", "value": given["value"].strip(), "operation": operation}
            proposal.says = f"It is booked as done by the connector, under its id {operation}."
        case "not done":
            proposal.fields |= {"result": "not done"}
            proposal.says = "It is booked as not done, as if the connector had declined it: the amount is free again."
        case _:
            proposal.asks_for_result = True
    return proposal


async def _on_amount(connection: Connection, given: dict[str, str]) -> Proposal:
    order_id, invoice, settle_id = given["order"], given.get("invoice"), given.get("settle")
    for one in await needs(connection, order_id=order_id):
        if one.command_id is None and (one.invoice_number, one.settle_id) == (invoice or None, settle_id or None):
            what = f"the lapsed amount of invoice {invoice}" if invoice else f"the automatic settlement {settle_id}"
            return Proposal(
                action="abandon", about=f"{what} of order {order_id}", value=one.amount, currency=one.currency,
                order_id=order_id, back=str(URL("/order").with_query(id=order_id)),
                fields={name: given[name] for name in ("order", "invoice", "settle") if given.get(name)},
                says="The amount no longer holds the order.",
            )  # fmt: skip
    raise Refused("nothing in this order is waiting for that decision any more")


async def _on_letter(site: Site, connection: Connection, action: Action, given: dict[str, str]) -> Proposal:
    number = letter_id(given.get("id", ""))
    page = await dead_letters.read_page(connection, number)
    letter = page.letter
    if letter.status != "open":
        raise Refused(f"dead letter {number} was {letter.status} by {letter.decided_by} already")
    if action == "replay":
        replaying.refuse_replay(letter)
        says = "The record goes to its original topic unchanged, and the ledger judges it again, once."
    else:
        says = "The record stays readable here, and nobody is reminded of it any more."
    value, currency = _carried(letter.record.value)
    row = site.view.row(letter.order_id) if letter.order_id else None
    if currency is None and row is not None and row.state is not None:
        currency = row.state.currency  # an invoice need not name it
    return Proposal(
        action=action, about=f"dead letter {number}, {letter.reason}, from {letter.record.topic}", value=value,
        currency=currency, order_id=letter.order_id, back=str(URL("/dead-letter").with_query(id=str(number))),
        fields={"id": str(number)}, says=says,
    )  # fmt: skip


async def _retry(_: Settings, connection: Connection, actor: Actor, form: dict[str, str]) -> EarlierDecision | None:
    return await commands.retry(connection, actor, form["id"], changes=_seen(form))


async def _resolve(_: Settings, connection: Connection, actor: Actor, form: dict[str, str]) -> EarlierDecision | None:
    done = form["result"] == "done"
    page = await commands.read_page(connection, form["id"])
    return await commands.resolve(
        connection, actor, form["id"], done=in_minor(form["value"], page.command["currency"]) if done else None,
        operation_id=form["operation"].strip() if done else None, changes=_seen(form),
    )  # fmt: skip


async def _abandon(_: Settings, connection: Connection, actor: Actor, form: dict[str, str]) -> EarlierDecision | None:
    if form.get("id"):
        return await commands.abandon(connection, actor, form["id"], changes=_seen(form))
    return await commands.abandon_amount(
        connection, actor, form["order"], invoice=form.get("invoice") or None, settle_id=form.get("settle") or None
    )


async def _replay(settings: Settings, connection: Connection, actor: Actor, form: dict[str, str]) -> None:
    async with Sink(settings) as sink:
        await replaying.replay(connection, sink, actor, [letter_id(form["id"])])


async def _discard(_: Settings, connection: Connection, actor: Actor, form: dict[str, str]) -> None:
    await dead_letters.discard(connection, actor, [letter_id(form["id"])])


_ACTS: dict[Action, Callable[[Settings, Connection, Actor, dict[str, str]], Awaitable[EarlierDecision | None]]] = {
    "retry": _retry, "resolve": _resolve, "abandon": _abandon, "replay": _replay, "discard": _discard,
}  # fmt: skip


def in_minor(text: str, currency: str) -> int:
    """`60.00 BRL` in minor units; exact, or `Refused`."""
    exponent = EXPONENTS.get(currency, 0)
    if (found := _AMOUNT.fullmatch(text.strip())) is None:
        raise Refused(f"the value must be an amount such as {'60.00' if exponent else '60'}, in {currency}")
    whole, part = found[1], (found[2] or "").rstrip("0")
    if len(part) <= exponent and 0 < (minor := int(whole + part.ljust(exponent, "0"))) <= MAX_MINOR:
        return minor
    raise Refused(f"the value must be above 0 and have at most {exponent} decimals")


def _carried(value: bytes | None) -> tuple[int | None, str | None]:
    """The amount that a record speaks of, as far as it can be read."""
    try:
        data: Any = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None
    data = data.get("data", data) if isinstance(data, dict) else {}
    if not isinstance(data, dict):
        return None, None
    found = data.get("invoiceValue", data.get("value"))
    minor = int(found) if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 17 else found
    currency = data.get("currency")
    known = isinstance(minor, int) and not isinstance(minor, bool) and 0 <= minor <= MAX_MINOR
    return minor if known else None, currency if currency in EXPONENTS else None


def _cookie_text(name: str) -> str:
    """A name that a cookie can hold; the next form is filled in with it."""
    return name if name.isascii() and name.isprintable() and not set(name) & set(';,"\\') else ""
