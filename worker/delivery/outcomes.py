"""The outcome messages that the delivery worker publishes, with derived ids."""

import orjson

from worker.delivery.job import Job
from worker.delivery.store import OperatorDecision
from worker.domain.objection import DecisionKind
from worker.domain.published import timestamp
from worker.kafka import names
from worker.kafka.envelope import binary_headers
from worker.kafka.records import Outgoing

# The `ce_id` of a decision begins with this, that of a command's outcome with the commandId.
DECISION = "decision"
DECIDED: dict[DecisionKind, str] = {"retry": "retried", "resolve": "resolved", "abandon": "abandoned"}


def of_job(
    job: Job, kind: str, at_ms: int, *, value: int, operation_id: str | None, code: str | None, message: str | None
) -> Outgoing:
    """The outcome of a command."""
    data = {
        **_ids(job), "value": value, "operationId": operation_id, "code": code, "message": message,
        "attempts": job.attempts, "at": timestamp(at_ms), "by": None, "reason": None,
    }  # fmt: skip
    return _out(job.command.order_id, job.partition, kind, f"{job.id}/{job.changes}", at_ms, data, job.traceparent)


def of_decision(decision: OperatorDecision, job: Job | None, partition: int) -> Outgoing:
    """A person's decision about a command, or about an amount that no command carries (`job` is None)."""
    ids = _ids(job) if job else {"commandId": None, "requestId": None, "orderId": decision.order_id, "paymentId": None}
    data = {
        **ids, "value": decision.value or 0, "operationId": decision.operation_id, "code": None, "message": None,
        "attempts": job.attempts if job else 0, "at": timestamp(decision.at_ms), "by": decision.by,
        "reason": decision.reason, "invoiceNumber": decision.invoice_number, "settleId": decision.settle_id,
    }  # fmt: skip
    kind, trace = DECIDED[decision.action], job.traceparent if job else None
    return _out(decision.order_id, partition, kind, f"{DECISION}/{decision.id}", decision.at_ms, data, trace)


def _ids(job: Job) -> dict[str, str]:
    command = job.command
    return {
        "commandId": command.command_id,
        "requestId": command.request_id,
        "orderId": command.order_id,
        "paymentId": command.payment_id,
    }


def _out(
    order_id: str, partition: int, kind: str, ce_id: str, at_ms: int, data: object, traceparent: str | None
) -> Outgoing:
    headers = binary_headers(f"command.{kind}", ce_id, timestamp(at_ms), traceparent)
    return Outgoing(names.OUTCOMES, partition, order_id.encode(), orjson.dumps(data), headers)
