"""What the ledger takes from the connectors file: the terms of each fact, and which connectors it does not name."""

from collections.abc import Iterable

from worker import telemetry
from worker.connector.in_force import ConnectorsInForce
from worker.domain.facts import Fact, OrderAuthorized, authorizations
from worker.domain.order import Order
from worker.domain.terms import Terms
from worker.settings import Settings

UNNAMED = "unknown_connector"
# Such names come from messages, which may bring any number of them: all beyond this many share one alert.
TOLD_APART_MAX = 20
OTHERS = "others"
ORDERS_COUNTED_MAX = 1_000
REMEDY = "name it in the connectors file, then send SIGHUP to the workers"


class Connectors:
    """The file in force. It changes only in `reload`, which may come in the middle of a cycle."""

    def __init__(self, settings: Settings) -> None:
        self._in_force = ConnectorsInForce(settings.connectors_file)
        self._expiry_lead_ms = settings.expiry_lead_ms
        self._waiting: dict[str, dict[str, None]] = {}
        """The orders that wait for each connector with an alert, in the order in which they were met."""

    @property
    def names(self) -> list[str]:
        return list(self._in_force.file.connectors)

    def reload(self) -> bool:
        """Reads the file again and returns True; if it does not parse, the old one stays in force."""
        if not self._in_force.reload():
            return False
        for name in [one for one in self._waiting if one == OTHERS or self._in_force.file.capability(one) is not None]:
            del self._waiting[name]
            telemetry.clear_alert(UNNAMED, name)
        return True

    def alert_of(self, waiting: Iterable[tuple[str, str]]) -> None:
        """Raises an alert for each connector that an order waits for; it lasts until the file names the connector."""
        raised = set()
        for name, order_id in waiting:
            if self._in_force.file.capability(name) is None:
                label = name if name in self._waiting or len(self._waiting) < TOLD_APART_MAX else OTHERS
                orders = self._waiting.setdefault(label, {})
                if len(orders) < ORDERS_COUNTED_MAX:
                    orders[order_id] = None
                raised.add(label)
        for label in sorted(raised):
            orders = self._waiting[label]
            number = f"{len(orders):,}{' or more' if len(orders) == ORDERS_COUNTED_MAX else ''}"
            telemetry.alert(UNNAMED, label, orders=number, first_order=next(iter(orders)), remedy=REMEDY)

    def unnamed(self, order: Order) -> list[str] | None:
        """Connectors that an order waits for and the file does not name; None if it does not wait."""
        if not order.awaits_connectors:
            return None
        undecided = {payment.connector for payment in order.undecided}
        return sorted(name for name in undecided if self._in_force.file.capability(name) is None)

    def terms(self, order: Order, fact: Fact, now_ms: int, foreign_payments: tuple[str, ...], replayed: bool) -> Terms:
        """Everything besides order and fact that a decision depends on."""
        merchant = fact.merchant if isinstance(fact, OrderAuthorized) else order.merchant
        named = [one.connector for one in authorizations(fact)]
        if order.awaits_connectors:
            named += [payment.connector for payment in order.payments]
        file = self._in_force.file
        switches = file.merchant(merchant)
        known = {name: file.capability(name) for name in named}
        return Terms(
            now_ms=now_ms,
            partial_settlement=switches.partial_settlement,
            returns=switches.returns,
            refund_order=switches.refund_order,
            expiry_lead_ms=self._expiry_lead_ms,
            capabilities={name: capability for name, capability in known.items() if capability is not None},
            foreign_payments=foreign_payments,
            replayed=replayed,
        )
