"""docs/metrics.md lists every metric that the workers serve."""

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from worker import metrics

_ROW = re.compile(r"^\| `(settlement_\w+)` \| ([\w, ]*) ?\|", re.MULTILINE)


def test_every_metric_is_on_the_page_with_its_labels(project: Path):
    page = {name: labels.split(", ") if labels.strip() else [] for name, labels in _ROW.findall(
        (project / "docs/metrics.md").read_text())}  # fmt: skip
    served = {
        metric._name + ("_total" if metric._type == "counter" else ""): list(metric._labelnames)
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    }

    assert {name: [label.strip() for label in labels] for name, labels in page.items()} == served


def test_every_metric_is_used_in_the_program(project: Path):
    program = "\n".join(path.read_text() for path in project.glob("worker/**/*.py"))
    names = [name for name, metric in vars(metrics).items() if isinstance(metric, MetricWrapperBase)]

    assert [name for name in names if f"metrics.{name}." not in program] == []
