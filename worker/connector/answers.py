"""Classifies the result of a call to a connector (R32-R38): pure functions, without a clock."""

import json
from datetime import UTC
from decimal import Context, Decimal, Inexact
from email.utils import parsedate_to_datetime
from typing import Any, Literal, assert_never

from msgspec import Struct
from msgspec.structs import replace

from worker.connector import client
from worker.connector.client import CallResult, NoAnswer, NotTried, Reply
from worker.connector.command import ID_FIELDS, Command
from worker.connector.file import Connector
from worker.domain.money import EXPONENTS
from worker.domain.order import Operation
from worker.text import storable

RETRY_AFTER_SECONDS_MAX = 3_600.0
ID_CHARACTERS_MAX = 256
CODE_CHARACTERS_MAX = 100
MESSAGE_CHARACTERS_MAX = 500
AMOUNT_DIGITS_MAX = 20
# Digits beyond this precision may only be zeros: an amount that would be rounded is refused.
_EXACT = Context(prec=2 * AMOUNT_DIGITS_MAX, traps=[Inexact])
_NOT_DEFINITE = (408, 425, 429)
MANUAL_CODES = ("refund-manually", "cancel-manually")
CONTRADICTION = ("several values",)  # a tuple, so it equals no JSON value

AttemptFate = Literal["succeeded", "unknown", "not_sent", "busy", "declined", "suspect", "manual", "stopped"]


class Answer(Struct, frozen=True):
    """The fate of one attempt, with the connector's own code and message.

    `unknown`, `not_sent` and `busy` are retried with the same request: it may have had an effect, was never sent, or
    was refused for now. `stopped`: the connector refuses every command. `hold_seconds` (`Retry-After`) holds the whole
    connector if it is busy, else the command.
    """

    fate: AttemptFate
    code: str
    message: str
    value: int = 0
    operation_id: str | None = None
    hold_seconds: float | None = None


def classify(
    result: CallResult,
    operation: Operation,
    command: Command,
    connector: Connector,
    *,
    earlier_unknown: bool,
    now_ms: int,
) -> Answer:
    """The fate of one attempt. `earlier_unknown`: an earlier attempt of this command may have had an effect."""
    match result:
        case NotTried(client.UNSENDABLE as code, message):
            return Answer("suspect", code, message)
        case NotTried(code, message):
            return Answer("stopped", code, message)
        case NoAnswer(False, code, message):
            return Answer("not_sent", code, message)  # R34
        case NoAnswer(_, code, message):
            return Answer("unknown", code, message)  # R33
        case Reply():
            return _storable(_reply(result, operation, command, connector, earlier_unknown, now_ms), result)
    assert_never(result)


def refuse_used_id(answer: Answer, whose: str) -> Answer:
    """R32: an operation id that the payment has already, for something else, is suspect and no success."""
    return _suspect(
        f"the operation id {answer.operation_id!r} is {whose}"[:MESSAGE_CHARACTERS_MAX], "operation_id_used"
    )


def _reply(
    reply: Reply, operation: Operation, command: Command, connector: Connector, earlier_unknown: bool, now_ms: int
) -> Answer:
    fields = _json_object(reply)
    status = reply.status
    code, message = _code_and_message(fields, status)
    operation_id = _operation_id((fields or {}).get(ID_FIELDS[operation]))
    if status == 501 or (fields is not None and fields.get("code") in MANUAL_CODES):  # R37, before all others
        if operation_id is None:
            return Answer("manual", code, message)
        return _suspect(f"the reply asks for manual work ({code}) and has an operation id", "manual_with_id")
    if status == 200 and fields is not None:
        return _success(fields, operation_id, operation, command, connector, code, message)
    if status in (401, 403) or (status in (404, 405) and fields is None and not reply.cut):
        return Answer("stopped", code, message)  # R36
    if 400 <= status < 500 and status not in _NOT_DEFINITE and not reply.cut:
        return _declined(code, message, connector, earlier_unknown)
    hold = _retry_after(reply, now_ms) if status in (429, 503) else None
    return Answer("busy" if status == 429 else "unknown", code, message, hold_seconds=hold)  # R33, R36, R38


def _declined(code: str, message: str, connector: Connector, earlier_unknown: bool) -> Answer:
    """R35: after an attempt that may have had an effect, a decline proves nothing."""
    if earlier_unknown and connector.decline_after_unknown == "suspect":
        return Answer("suspect", code, f"declined after an unknown attempt: {message}")
    return Answer("declined", code, message)


def _success(
    fields: dict[str, Any], operation_id: str | None, operation: Operation, command: Command, connector: Connector,
    code: str, message: str,
) -> Answer:  # fmt: skip
    if operation_id is None:
        if not connector.legacy or ID_FIELDS[operation] in fields:
            return Answer("unknown", code, f"no {ID_FIELDS[operation]}: {message}")
        operation_id = command.request_id
    if len(operation_id) > ID_CHARACTERS_MAX or storable(operation_id) != operation_id:
        return _suspect("the operation id is too long or has characters that cannot be stored", "operation_id_unusable")
    for name, ours in (("paymentId", command.payment_id), ("requestId", command.request_id)):
        if fields.get(name) is not None and fields[name] != ours:
            return _suspect(f"the reply has the {name} {_shown(fields[name])} instead of ours", "wrong_echo")
    value = command.value
    if operation != "cancel" and fields.get("value") is not None:
        done = _minor(fields["value"], command.currency)
        if done is None or not 0 < done <= command.value:
            return _suspect(f"the reply has the impossible value {_shown(fields['value'])}", "wrong_value")
        value = done
    return Answer("succeeded", code, message, value, operation_id)


def _suspect(message: str, code: str) -> Answer:
    return Answer("suspect", code, message)


def _storable(answer: Answer, reply: Reply) -> Answer:
    """Withholds credentials, then cuts: half a credential would not be recognised."""
    code = reply.withhold(answer.code)[:CODE_CHARACTERS_MAX]
    return replace(answer, code=code, message=reply.withhold(answer.message)[:MESSAGE_CHARACTERS_MAX])


def _json_object(reply: Reply) -> dict[str, Any] | None:
    if not reply.whole:
        return None
    try:
        value = json.loads(reply.body, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse,
                          object_pairs_hook=_fields)  # fmt: skip
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name with two different values gets neither of them."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if fields.setdefault(name, value) != value:
            fields[name] = CONTRADICTION
    return fields


def _refuse(word: str) -> None:
    raise ValueError(word)


def _operation_id(value: Any) -> str | None:
    """A string, or a number as its digits; None for null, empty and everything else."""
    if isinstance(value, Decimal):
        return str(value)
    return value if isinstance(value, str) and value else None


def _minor(value: Any, currency: str) -> int | None:
    """The exact amount in minor units; None if it is no whole number of them, or too large."""
    if not isinstance(value, Decimal) or not value.is_finite():
        return None
    if not value:
        return 0
    exponent = EXPONENTS[currency]
    if value < 0 or value.adjusted() + exponent >= AMOUNT_DIGITS_MAX:
        return None
    try:
        return int(value.scaleb(exponent, _EXACT).to_integral_exact(context=_EXACT))
    except Inexact:
        return None


def _retry_after(reply: Reply, now_ms: int) -> float | None:
    text = (reply.retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_SECONDS_MAX)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now_ms / 1000
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def _code_and_message(fields: dict[str, Any] | None, status: int) -> tuple[str, str]:
    """The reply's own code and message, or what the HTTP status gives."""
    code, message = (fields or {}).get("code"), (fields or {}).get("message")
    return (
        storable(code) if isinstance(code, str) and code else f"http_{status}",
        storable(message) if isinstance(message, str) and message else f"the connector answered {status}",
    )


def _shown(value: Any) -> str:
    return storable(str(value))[:100]
