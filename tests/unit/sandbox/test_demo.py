"""`settlement demo` prints a JSON summary, and starts our programs with its own settings."""

import json
from pathlib import Path

import pytest

from worker.kafka import names
from worker.kafka.records import Record
from worker.ledger.comparing import Comparison
from worker.sandbox.demo import _show_summary_as_json
from worker.sandbox.deployment import Sandbox, Verdict
from worker.sandbox.erp import erp_orders
from worker.sandbox.processes import Processes
from worker.sandbox.watching import Observed

ACCOUNT = Comparison("cielo", {"settled": 9000, "refunded": 500, "voided": 0})


@pytest.mark.parametrize("audited", [True, False])
def test_the_summary_of_a_demo_is_one_json_object(capsys: pytest.CaptureFixture[str], audited: bool):
    observed = Observed(published_ms={("o", "1"): 1_000, ("o", "2"): 1_000}, captured_ms={("o", "1"): 1_040})
    verdict = Verdict([ACCOUNT], as_invoiced=True, audited=audited, complaints="I3 does not hold")

    _show_summary_as_json(verdict, observed, list(erp_orders(3, ["cielo"], 1, "demo")), 2.345)

    assert json.loads(capsys.readouterr().out) == {
        "good": audited, "orders": 3, "seconds": 2.3, "captured_invoices": 1,
        "invoice_to_capture_ms": {"p50": 40, "p99": 40}, "as_invoiced": True, "audited": audited, "currency": "BRL",
        "connectors": {"cielo": {"settled": 9000, "refunded": 500, "voided": 0, "agrees": True}},
        "complaints": None if audited else "I3 does not hold",
    }  # fmt: skip


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"orderId":1,"invoiceNumber":"1"}', b'{"orderId":"o"}', None])
def test_a_message_that_names_no_invoice_does_not_end_a_demo(value: bytes | None):
    observed, good = Observed(), b'{"orderId":"o","invoiceNumber":"1"}'

    for number, content in enumerate((value, good)):
        observed.add(Record(names.INVOICES, 0, number, b"o", content, [("ce_type", b"invoice.issued")], 1_000))

    assert observed.published_ms == {("o", "1"): 1_000}


async def test_a_demo_uses_the_same_settings_as_the_programs_that_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TOPIC_PARTITIONS", "3")

    stack = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://127.0.0.1:9/d"}
    deployment = Sandbox("demo", tmp_path, stack)

    assert (deployment.settings.topic_partitions, deployment.settings.topic_prefix) == (3, "demo.")


def test_a_demo_starts_our_worker_module_in_a_folder_that_has_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "worker.py").write_text("print('not ours')", "utf-8")
    monkeypatch.chdir(tmp_path)

    output = Processes(tmp_path / "logs", {}).must_run("--help")

    assert "not ours" not in output
    assert "Partial settlement" in output
