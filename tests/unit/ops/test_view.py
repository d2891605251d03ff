"""The view folds the records of our own topics, whatever headers they carry."""

from collections import defaultdict
from types import SimpleNamespace

import orjson

from worker.domain.order import Order
from worker.domain.published import order_state
from worker.kafka import names
from worker.ops.view import View
from worker.settings import load


def test_a_header_without_a_value_does_not_end_the_view():
    view = View(load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}))
    message = SimpleNamespace(topic=names.ORDERS, partition=0, offset=0, timestamp=0.0)
    state = orjson.dumps(order_state(Order("o", merchant="shop", currency="USD", mode="PARTIAL", value=100)))

    key, row = view._fold_event(
        SimpleNamespace(message=message, headers={"ce_type": None}, value=state), {}, defaultdict(list)
    )
    view._scratch.cleanup()

    assert (key, row.state.merchant) == (b"o", "shop")
