"""Every topic of the contract, by its name without prefix."""

INVOICES = "erp.invoices.v1"
ORDER_CHANGES = "erp.order-changes.v1"
COMMANDS = "settlement.commands.v1"
OUTCOMES = "settlement.outcomes.v1"
EVENTS = "settlement.events.v1"
ORDERS = "settlement.orders.v1"

INPUTS = (INVOICES, ORDER_CHANGES, COMMANDS, OUTCOMES)
TOPICS = (*INPUTS, EVENTS, ORDERS)
# The topics that each role reads.
READ = {"ledger": (INVOICES, ORDER_CHANGES, OUTCOMES), "delivery": (COMMANDS,)}

DEAD_LETTER_SUFFIX = "-dlt"
DEAD_LETTER_TOPICS = tuple(name + DEAD_LETTER_SUFFIX for name in INPUTS)


def group(role: str) -> str:
    """The consumer group whose lag shows the progress of a role's workers."""
    return f"settlement-{role}"
