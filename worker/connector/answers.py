"""What may be believed of an answer (R32-R38): one pure table from what happened to the fate of the command."""

import json
from datetime import UTC
from decimal import Context, Decimal, Inexact
from email.utils import parsedate_to_datetime
from typing import Any, Literal, assert_never

from msgspec import Struct
from msgspec.structs import replace

from worker.connector import client
from worker.connector.client import Broken, Happened, NotTried, Reply
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
# Digits beyond an amount's may only be zeros: whatever else would be rounded is refused.
_EXACT = Context(prec=2 * AMOUNT_DIGITS_MAX, traps=[Inexact])
_NOT_DEFINITE = (408, 425, 429)
MANUAL_CODES = ("refund-manually", "cancel-manually")
CONTRADICTION = ("several values",)  # a tuple, as no JSON becomes

AttemptFate = Literal["succeeded", "unknown", "not_sent", "busy", "declined", "suspect", "manual", "stopped"]


class Answer(Struct, frozen=True):
    """One attempt's fate, in its own words.

    `unknown`: the same request again, on the schedule; `not_sent`: likewise, and nothing happened; `busy`: likewise,
    it was refused for now; `stopped`: the connector refuses everybody. `hold_seconds` is asked of the command
    (unknown, or not begun) or of the connector (busy).
    """

    fate: AttemptFate
    code: str
    message: str
    value: int = 0
    operation_id: str | None = None
    hold_seconds: float | None = None


def classify(
    happened: Happened,
    operation: Operation,
    command: Command,
    connector: Connector,
    *,
    earlier_unknown: bool,
    now_ms: int,
) -> Answer:
    """The fate of one attempt. `earlier_unknown`: an earlier attempt of this command may have had an effect."""
    match happened:
        case NotTried(client.UNSENDABLE as code, message):
            return Answer("suspect", code, message)
        case NotTried(code, message):
            return Answer("stopped", code, message)
        case Broken(False, code, message):
            return Answer("not_sent", code, message)  # R34
        case Broken(_, code, message):
            return Answer("unknown", code, message)  # R33
        case Reply():
            return _kept(_reply(happened, operation, command, connector, earlier_unknown, now_ms), happened)
    assert_never(happened)


def refuse_used_id(answer: Answer, whose: str) -> Answer:
    """R32: an operation id that somebody else of the payment has is no success."""
    return _suspect(
        f"the operation id {answer.operation_id!r} is {whose}"[:MESSAGE_CHARACTERS_MAX], "operation_id_used"
    )


def _reply(
    reply: Reply, operation: Operation, command: Command, connector: Connector, earlier_unknown: bool, now_ms: int
) -> Answer:
    said = _json_object(reply)
    status = reply.status
    code, message = _words(said, status)
    identity = _identity((said or {}).get(ID_FIELDS[operation]))
    if status == 501 or (said is not None and said.get("code") in MANUAL_CODES):  # R37, before all others
        if identity is None:
            return Answer("manual", code, message)
        return _suspect(f"asks for manual work ({code}) and names an operation id", "manual_with_id")
    if status == 200 and said is not None:
        return _success(said, identity, operation, command, connector, code, message)
    if status in (401, 403) or (status in (404, 405) and said is None and not reply.cut):
        return Answer("stopped", code, message)  # R36
    if 400 <= status < 500 and status not in _NOT_DEFINITE and not reply.cut:
        return _declined(code, message, connector, earlier_unknown)
    hold = _retry_after(reply, now_ms) if status in (429, 503) else None
    return Answer("busy" if status == 429 else "unknown", code, message, hold_seconds=hold)  # R33, R36, R38


def _declined(code: str, message: str, connector: Connector, earlier_unknown: bool) -> Answer:
    """R35: after an attempt that may have had an effect, a refusal proves nothing."""
    if earlier_unknown and connector.decline_after_unknown == "suspect":
        return Answer("suspect", code, f"declined after an unknown attempt: {message}")
    return Answer("declined", code, message)


def _success(
    said: dict[str, Any], identity: str | None, operation: Operation, command: Command, connector: Connector,
    code: str, message: str,
) -> Answer:  # fmt: skip
    if identity is None:
        if not connector.legacy or ID_FIELDS[operation] in said:
            return Answer("unknown", code, f"no {ID_FIELDS[operation]}: {message}")
        identity = command.request_id
    if len(identity) > ID_CHARACTERS_MAX or storable(identity) != identity:
        return _suspect("the operation id cannot be kept", "operation_id_unusable")
    for name, ours in (("paymentId", command.payment_id), ("requestId", command.request_id)):
        if said.get(name) is not None and said[name] != ours:
            return _suspect(f"the reply speaks of {name} {_shown(said[name])}, not of ours", "wrong_echo")
    value = command.value
    if operation != "cancel" and said.get("value") is not None:
        done = _minor(said["value"], command.currency)
        if done is None or not 0 < done <= command.value:
            return _suspect(f"the reply says that {_shown(said['value'])} was done", "wrong_value")
        value = done
    return Answer("succeeded", code, message, value, identity)


def _suspect(message: str, code: str) -> Answer:
    return Answer("suspect", code, message)


def _kept(answer: Answer, reply: Reply) -> Answer:
    """As far as a table and a topic can keep it; cut last, since half a credential would not be known as one."""
    code = reply.withhold(answer.code)[:CODE_CHARACTERS_MAX]
    return replace(answer, code=code, message=reply.withhold(answer.message)[:MESSAGE_CHARACTERS_MAX])


def _json_object(reply: Reply) -> dict[str, Any] | None:
    if not reply.whole:
        return None
    try:
        said = json.loads(reply.body, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse,
                          object_pairs_hook=_fields)  # fmt: skip
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that is given two different values is believed in neither of them."""
    said: dict[str, Any] = {}
    for name, value in pairs:
        if said.setdefault(name, value) != value:
            said[name] = CONTRADICTION
    return said


def _refuse(word: str) -> None:
    raise ValueError(word)


def _identity(value: Any) -> str | None:
    """A number is read as its digits; null, empty and everything else is no id."""
    if isinstance(value, Decimal):
        return str(value)
    return value if isinstance(value, str) and value else None


def _minor(value: Any, currency: str) -> int | None:
    """The amount in minor units, exactly; None where it is no whole number of them, or too large to be true."""
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


def _words(said: dict[str, Any] | None, status: int) -> tuple[str, str]:
    """The reply's own code and message."""
    code, message = (said or {}).get("code"), (said or {}).get("message")
    kept = storable(code) if isinstance(code, str) and code else f"http_{status}"
    text = storable(message) if isinstance(message, str) and message else f"the connector answered {status}"
    return kept, text


def _shown(value: Any) -> str:
    return storable(str(value))[:100]
