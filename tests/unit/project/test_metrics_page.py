"""The page of metrics says what the workers really serve."""

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from worker import metrics

_ROW = re.compile(r"^\| `(settlement_\w+)` \| ([\w, ]*) ?\|", re.MULTILINE)


def test_every_metric_is_on_the_page_with_its_labels(project: Path):
    page = {name: labels.split(", ") if labels.strip() else [] for name, labels in _ROW.findall(
        (project / "docs/metrics.md").read_text())}  # fmt: skip
    served = {
        one._name + ("_total" if one._type == "counter" else ""): list(one._labelnames)
        for one in vars(metrics).values()
        if isinstance(one, MetricWrapperBase)
    }

    assert {name: [one.strip() for one in labels] for name, labels in page.items()} == served


def test_every_metric_is_used_in_the_program(project: Path):
    program = "\n".join(path.read_text() for path in project.glob("worker/**/*.py"))
    names = [name for name, one in vars(metrics).items() if isinstance(one, MetricWrapperBase)]

    assert [name for name in names if f"metrics.{name}." not in program] == []
