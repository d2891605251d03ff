"""Without Kafka the ops view exits, and its last log line names the setting to check."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupAuthorizationFailedError, SaslAuthenticationFailed
from mode.timers import Timer
from structlog.testing import capture_logs

from worker import telemetry
from worker.ops.runner import run_ops
from worker.ops.view import View
from worker.settings import load

PLACES = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d", "OPS_PORT": "0"}


def test_without_kafka_the_last_line_of_the_log_names_the_setting():
    settings = PLACES | {"LOG_FORMAT": "json"}

    ended = subprocess.run([sys.executable, "-m", "worker", "ops"], env=os.environ | settings, capture_output=True,
                           text=True, timeout=60, check=False)  # fmt: skip

    assert ended.returncode == 1
    last = json.loads(ended.stderr.splitlines()[-1])
    assert last["event"] == "Kafka does not answer: is it running, and is KAFKA_BOOTSTRAP_SERVERS right?"


async def test_a_view_without_access_to_kafka_ends_and_names_the_settings_to_check(monkeypatch: pytest.MonkeyPatch):
    async def refused(_: View) -> None:
        raise SaslAuthenticationFailed("Invalid username or password")

    monkeypatch.setattr(telemetry, "configure", lambda _: None)  # it would end the capture
    monkeypatch.setattr(View, "start", refused)
    try:
        with capture_logs() as logged:
            assert await run_ops(load(PLACES)) == 1
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(name)

    assert logged[-1]["event"].startswith("Kafka does not let us in: check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")


def test_a_view_that_lost_its_rights_names_them():
    crashed: Any = SimpleNamespace(_failure=lambda: GroupAuthorizationFailedError("settlement-ops"))

    assert View.fatal_reason(crashed) == (
        "Kafka does not allow our user the group settlement-ops: it needs Describe and Read"
    )


async def test_a_view_that_no_broker_has_answered_yet_has_not_failed():
    view = View(load(PLACES))
    view.app.consumer._thread._consumer = AIOKafkaConsumer(group_id="settlement-ops")

    assert view.fatal_reason() is None


async def test_a_commit_longer_than_its_interval_is_not_logged(caplog: pytest.LogCaptureFixture):
    View(load(PLACES))
    commits = Timer(0.001, name="commit", clock=itertools.count().__next__)

    async for _ in commits:
        if commits.overlaps:
            break

    assert caplog.records == []
