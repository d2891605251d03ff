"""Manifests, metrics, alerts and the runbook in `deploy` match the program."""

import ast
import json
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from worker import metrics
from worker.settings import NAMES
from worker.telemetry import LOG_LOST

# Variables that the image sets for Python and the shell.
NOT_OURS = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
_METRIC = re.compile(r"\bsettlement_[a-z_]+\b")
_ALERTS_OF_WORKERS = re.compile(r'settlement_alert\{code=~?"([\w|]+)"\}')


@pytest.fixture(scope="module")
def deploy(project: Path) -> Path:
    return project / "deploy"


def sample_names() -> set[str]:
    """The names of all samples that a worker may serve."""
    names = set()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(metric._type, ("",))
            names |= {metric._name + ending for ending in endings}
    return names


def rules(deploy: Path) -> list[dict]:
    return [
        rule
        for group in yaml.safe_load((deploy / "prometheus/rules.yml").read_text())["groups"]
        for rule in group["rules"]
    ]


def pods_of(deploy: Path) -> dict[str, dict]:
    """The pod of each workload, by its label `app`."""
    documents = [
        document for path in deploy.glob("kubernetes/*.yaml") for document in yaml.safe_load_all(path.read_text())
    ]
    templates = [each["spec"]["template"] for each in documents if each["kind"] == "Deployment"]
    templates += [each["spec"]["jobTemplate"]["spec"]["template"] for each in documents if each["kind"] == "CronJob"]
    return {pod["metadata"]["labels"]["app"]: pod["spec"] for pod in templates if "metadata" in pod}


def runbook(deploy: Path) -> dict[str, str]:
    """The text below the heading of each alert."""
    text = (deploy / "RUNBOOK.md").read_text()
    return dict(re.findall(r"^### (Settlement\w+)\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL))


def raised_codes(worker: Path) -> set[str]:
    """Every code that is passed to `telemetry.alert`, and the code of a log that cannot be written."""
    raised = {LOG_LOST}
    for path in sorted(worker.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "telemetry.alert":
                module = import_module(".".join(path.relative_to(worker.parent).with_suffix("").parts))
                raised |= codes(call.args[0], module, tree)
    return raised


def codes(node: ast.expr, module: ModuleType, tree: ast.Module) -> set[str]:
    """The values of an expression: a literal, a constant of the module, a conditional or a variable of these."""
    match node:
        case ast.Constant(value=str(code)):
            return {code}
        case ast.IfExp():
            return codes(node.body, module, tree) | codes(node.orelse, module, tree)
        case ast.Name(id=name) if hasattr(module, name):
            return {getattr(module, name)}
        case ast.Name(id=name):
            values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and
                      any(isinstance(target, ast.Name) and target.id == name for target in node.targets)]  # fmt: skip
            assert values, f"{module.__name__} raises an alert {name}, which is never assigned"
            return set[str]().union(*(codes(value, module, tree) for value in values))
        case _:
            raise AssertionError(f"{module.__name__} raises an alert {ast.unparse(node)}, which this test cannot read")


def test_every_alert_links_to_its_entry_in_the_runbook(deploy: Path):
    entries = runbook(deploy).keys()

    assert {rule["annotations"]["runbook_url"] for rule in rules(deploy)} == {
        f"deploy/RUNBOOK.md#{rule['alert'].lower()}" for rule in rules(deploy)
    }
    assert {rule["alert"] for rule in rules(deploy)} <= entries


def test_rules_and_dashboard_query_only_metrics_that_are_served(deploy: Path):
    dashboard = json.loads((deploy / "grafana/dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]

    assert set(_METRIC.findall(" ".join([*queries, *(rule["expr"] for rule in rules(deploy))]))) <= sample_names()


def test_the_ops_view_has_a_writable_folder_on_a_read_only_disk(deploy: Path):
    """Faust needs one, and the view exits without it."""
    composed = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]["ops"]
    pod = next(yaml.safe_load_all((deploy / "kubernetes/ops.yaml").read_text()))["spec"]["template"]["spec"]

    assert (composed["read_only"], composed.get("tmpfs")) == (True, ["/tmp"])
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert "/tmp" in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}


def test_every_code_of_an_alert_is_explained_in_the_runbook(deploy: Path):
    known = raised_codes(deploy.parent / "worker")
    explained = "".join(runbook(deploy).values())

    assert known >= {"breaker_open", "kafka_away", "database_away", "refused_by_database", "internal"}
    assert {code for code in known if f"`{code}`" not in explained} == set()


def test_every_worker_alert_in_a_rule_is_explained_in_the_entry_of_that_rule(deploy: Path):
    entries, known = runbook(deploy), raised_codes(deploy.parent / "worker")
    queried = {
        (rule["alert"], code)
        for rule in rules(deploy) for listed in _ALERTS_OF_WORKERS.findall(rule["expr"]) for code in listed.split("|")
    }  # fmt: skip

    assert ("SettlementBreakerOpen", "breaker_open") in queried
    assert {code for _, code in queried} <= known
    assert {(alert, code) for alert, code in queried if f"`{code}`" not in entries[alert]} == set()


def test_containers_set_only_settings_that_exist(deploy: Path):
    files = [
        path
        for path in (*deploy.glob("kubernetes/*.yaml"), deploy / "compose.yaml")
        if path.name != "secret.example.yaml"
    ]
    in_yaml = {
        name for path in files for name in re.findall(r"\b(?:name: )?([A-Z]+(?:_[A-Z]+)+)\b(?=[,:] )", path.read_text())
    }
    in_image = set(re.findall(r"\b([A-Z_]+)=", (deploy / "Dockerfile").read_text()))
    of_other_programs = {name for name in in_yaml if name.startswith(("KAFKA_", "POSTGRES_"))} - NAMES.keys()

    assert {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "OPS_TOKEN"} <= in_yaml
    assert in_yaml - of_other_programs - NAMES.keys() == set()
    assert in_image - NOT_OURS - {"PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_CACHE_DIR"} - NAMES.keys() == set()


def test_every_manifest_is_listed_and_complete(deploy: Path):
    folder = deploy / "kubernetes"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    listed = {*kustomization["resources"], *(patch["path"] for patch in kustomization["patches"])}
    documents = [document for name in listed for document in yaml.safe_load_all((folder / name).read_text())]

    assert listed == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert all({"apiVersion", "kind", "metadata"} <= document.keys() for document in documents)


def test_every_pod_runs_the_pinned_image_without_service_links_and_setup_migrates_first(deploy: Path):
    """Where service links are enabled, a Service named `ops` sets OPS_PORT to its own address."""
    pods = pods_of(deploy)
    prepare = yaml.safe_load((deploy / "kubernetes/prepare.yaml").read_text())["spec"]["template"]["spec"]
    containers = [*prepare["initContainers"], *(container for pod in pods.values() for container in pod["containers"])]

    assert pods.keys() == {"settlement-ledger", "settlement-delivery", "settlement-ops", "settlement-audit"}
    assert all(pod["enableServiceLinks"] is False for pod in pods.values())
    assert [container["args"] for container in prepare["initContainers"]] == [["migrate"], ["topics"]]
    assert {container["image"] for container in containers} == {
        image["name"] for image in yaml.safe_load((deploy / "kubernetes/kustomization.yaml").read_text())["images"]
    }
    assert all("/etc/settlement" in {mount["mountPath"] for mount in each["volumeMounts"]} for each in containers)
    assert all({"secretRef": {"name": "settlement-kafka", "optional": True}} in each["envFrom"] for each in containers)


def test_every_scrape_configuration_names_the_jobs_that_the_rules_query(deploy: Path):
    composed, in_pods = (
        yaml.safe_load((deploy / f"prometheus/{name}.yml").read_text())["scrape_configs"]
        for name in ("prometheus", "kubernetes")
    )
    monitor = yaml.safe_load((deploy / "prometheus/podmonitor.yaml").read_text())["spec"]
    jobs = {scrape["job_name"] for scrape in composed}
    ports = {port["name"] for pod in pods_of(deploy).values() for port in pod["containers"][0].get("ports", ())}

    assert jobs == {"settlement-ledger", "settlement-delivery", "settlement-ops"} < pods_of(deploy).keys()
    assert (monitor["jobLabel"], set(monitor["selector"]["matchExpressions"][0]["values"])) == ("app", jobs)
    assert all(re.fullmatch(in_pods[0]["relabel_configs"][0]["regex"], job) for job in jobs)
    assert ports == {monitor["podMetricsEndpoints"][0]["port"]} == {in_pods[0]["relabel_configs"][1]["regex"]}


def test_no_panel_is_green_when_no_worker_answers(deploy: Path):
    panels = json.loads((deploy / "grafana/dashboard.json").read_text())["panels"]
    targets = {panel["title"]: panel["targets"] for panel in panels if panel["type"] == "stat"}
    workers = targets.pop("Workers that answer")

    assert [target["expr"] for target in workers] == [
        f'sum(up{{job="settlement-{role}"}}) or vector(0)' for role in ("ledger", "delivery")
    ]
    assert all(" or -absent(settlement_ready{" in target["expr"] for queried in targets.values() for target in queried)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool; Debian has it in `prometheus`")
def test_the_alert_rules_pass_their_promtool_tests(deploy: Path):
    ended = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"],
        cwd=deploy / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
