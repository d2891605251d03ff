"""Alerts name the connectors that orders wait for and the file does not have, up to a limit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from worker import telemetry
from worker.ledger.connectors import OTHERS, TOLD_APART_MAX, UNNAMED, Connectors
from worker.settings import load

INVENTED = [f"invented-{number}" for number in range(5_000)]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "connectors.toml"
    name_them(file, ["acme"])
    yield file
    for name in (*INVENTED, OTHERS):
        telemetry.clear_alert(UNNAMED, name)


def name_them(file: Path, names: list[str]) -> None:
    tables = (f'[connectors.{name}]\nurl = "http://127.0.0.1:1"\nprotocol = "ppp"\nmode = "PARTIAL"' for name in names)
    file.write_text("\n".join(tables))


def waiting_for(names: list[str]) -> list[tuple[str, str]]:
    """One waiting order for each connector."""
    return [(name, f"order-{name}") for name in names]


def lasting() -> set[str]:
    return {alert["connector"] for alert in telemetry.lasting_alerts() if alert["code"] == UNNAMED}


def labels() -> set[str]:
    metrics = [metric for metric in REGISTRY.collect() if metric.name == "settlement_alert"]
    samples = [sample for metric in metrics for sample in metric.samples]
    return {sample.labels["connector"] for sample in samples if sample.labels["code"] == UNNAMED}


def test_many_invented_connector_names_cause_a_limited_number_of_alerts_and_labels(file: Path):
    connectors, before = Connectors(load({"CONNECTORS_FILE": str(file)})), labels()

    connectors.alert_of(waiting_for(INVENTED))

    assert lasting() == {*INVENTED[:TOLD_APART_MAX], OTHERS}
    assert labels() - before <= lasting()


def test_a_new_file_ends_the_alerts_and_orders_that_still_wait_renew_them(file: Path):
    connectors = Connectors(load({"CONNECTORS_FILE": str(file)}))
    connectors.alert_of(waiting_for(INVENTED[: TOLD_APART_MAX + 2]))
    name_them(file, INVENTED[: TOLD_APART_MAX + 1])

    connectors.reload()
    assert lasting() == set()

    connectors.alert_of(waiting_for(INVENTED[: TOLD_APART_MAX + 2]))
    assert lasting() == {INVENTED[TOLD_APART_MAX + 1]}


def test_the_alert_names_the_first_waiting_order_their_number_and_the_remedy(file: Path):
    connectors = Connectors(load({"CONNECTORS_FILE": str(file)}))
    name = INVENTED[0]

    connectors.alert_of([(name, "o1"), (name, "o2")])
    connectors.alert_of([(name, "o2"), (name, "o3")])

    [alert] = [lasting for lasting in telemetry.lasting_alerts() if lasting["connector"] == name]
    assert (alert["first_order"], alert["orders"]) == ("o1", "3")
    assert alert["remedy"] == "name it in the connectors file, then send SIGHUP to the workers"

    connectors.alert_of((name, f"o{number}") for number in range(5_000))

    [alert] = [lasting for lasting in telemetry.lasting_alerts() if lasting["connector"] == name]
    assert (alert["first_order"], alert["orders"]) == ("o1", "1,000 or more")
