"""Orders wait for connectors that nobody named: said by name, as long as there are few of them."""

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


def lasting() -> set[str]:
    return {one["connector"] for one in telemetry.lasting_alerts() if one["code"] == UNNAMED}


def labels() -> set[str]:
    samples = (one for metric in REGISTRY.collect() if metric.name == "settlement_alert" for one in metric.samples)
    return {one.labels["connector"] for one in samples if one.labels["code"] == UNNAMED}


def test_however_many_names_messages_invent_the_alerts_and_their_labels_stay_few(file: Path):
    connectors, before = Connectors(load({"CONNECTORS_FILE": str(file)})), labels()

    connectors.alert_of(INVENTED)

    assert lasting() == {*INVENTED[:TOLD_APART_MAX], OTHERS}
    assert labels() - before <= lasting()


def test_the_alert_of_the_others_ends_with_a_file_that_names_them_and_is_renewed_by_whoever_still_waits(file: Path):
    connectors = Connectors(load({"CONNECTORS_FILE": str(file)}))
    connectors.alert_of(INVENTED[: TOLD_APART_MAX + 2])
    name_them(file, INVENTED[: TOLD_APART_MAX + 1])

    connectors.reload()
    assert lasting() == set()

    connectors.alert_of(INVENTED[: TOLD_APART_MAX + 2])
    assert lasting() == {INVENTED[TOLD_APART_MAX + 1]}
