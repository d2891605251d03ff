"""What is deployed beside the program speaks of things that the program has."""

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

# What the image itself, Kubernetes or a container sets, and what is not ours.
NOT_OURS = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
_METRIC = re.compile(r"\bsettlement_[a-z_]+\b")
_ALERTS_OF_WORKERS = re.compile(r'settlement_alert\{code=~?"([\w|]+)"\}')


@pytest.fixture(scope="module")
def deploy() -> Path:
    return Path(__file__).parents[3] / "deploy"


def served() -> set[str]:
    """Every name of a sample that a worker may serve."""
    found = set()
    for one in vars(metrics).values():
        if isinstance(one, MetricWrapperBase):
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(one._type, ("",))
            found |= {one._name + ending for ending in endings}
    return found


def rules(deploy: Path) -> list[dict]:
    return [
        one
        for group in yaml.safe_load((deploy / "prometheus/rules.yml").read_text())["groups"]
        for one in group["rules"]
    ]


def pods_of(deploy: Path) -> dict[str, dict]:
    """What each workload runs, by its label `app`."""
    documents = [one for path in deploy.glob("kubernetes/*.yaml") for one in yaml.safe_load_all(path.read_text())]
    templates = [one["spec"]["template"] for one in documents if one["kind"] == "Deployment"]
    templates += [one["spec"]["jobTemplate"]["spec"]["template"] for one in documents if one["kind"] == "CronJob"]
    return {one["metadata"]["labels"]["app"]: one["spec"] for one in templates if "metadata" in one}


def runbook(deploy: Path) -> dict[str, str]:
    """What stands below each heading of an alert."""
    text = (deploy / "RUNBOOK.md").read_text()
    return dict(re.findall(r"^### (Settlement\w+)\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL))


def raised(worker: Path) -> set[str]:
    """Every code that somebody passes to `telemetry.alert`, and the one that no log can tell."""
    found = {LOG_LOST}
    for path in sorted(worker.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for one in ast.walk(tree):
            if isinstance(one, ast.Call) and ast.unparse(one.func) == "telemetry.alert":
                module = import_module(".".join(path.relative_to(worker.parent).with_suffix("").parts))
                found |= codes(one.args[0], module, tree)
    return found


def codes(node: ast.expr, module: ModuleType, tree: ast.Module) -> set[str]:
    """What an expression may be: a word, a constant of the module, one of two, or a variable that was given these."""
    match node:
        case ast.Constant(value=str(code)):
            return {code}
        case ast.IfExp():
            return codes(node.body, module, tree) | codes(node.orelse, module, tree)
        case ast.Name(id=name) if hasattr(module, name):
            return {getattr(module, name)}
        case ast.Name(id=name):
            given = [one.value for one in ast.walk(tree) if isinstance(one, ast.Assign) and
                     any(isinstance(target, ast.Name) and target.id == name for target in one.targets)]  # fmt: skip
            assert given, f"{module.__name__} raises an alert {name}, which nothing here is"
            return set[str]().union(*(codes(one, module, tree) for one in given))
        case _:
            raise AssertionError(f"{module.__name__} raises an alert {ast.unparse(node)}: which one is that?")


def test_every_alert_links_to_its_entry_in_the_runbook(deploy: Path):
    entries = runbook(deploy).keys()

    assert {rule["annotations"]["runbook_url"] for rule in rules(deploy)} == {
        f"deploy/RUNBOOK.md#{rule['alert'].lower()}" for rule in rules(deploy)
    }
    assert {rule["alert"] for rule in rules(deploy)} <= entries


def test_rules_and_dashboard_query_only_metrics_that_are_served(deploy: Path):
    dashboard = json.loads((deploy / "grafana/dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]

    assert set(_METRIC.findall(" ".join([*asked, *(rule["expr"] for rule in rules(deploy))]))) <= served()


def test_the_ops_view_has_a_writable_folder_on_a_read_only_disk(deploy: Path):
    """Faust asks for one, and the view ends where nobody gives it one."""
    composed = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]["ops"]
    pod = next(yaml.safe_load_all((deploy / "kubernetes/ops.yaml").read_text()))["spec"]["template"]["spec"]

    assert (composed["read_only"], composed.get("tmpfs")) == (True, ["/tmp"])
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert "/tmp" in {one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}


def test_every_code_of_an_alert_is_explained_in_the_runbook(deploy: Path):
    known = raised(deploy.parent / "worker")
    explained = "".join(runbook(deploy).values())

    assert known >= {"breaker_open", "kafka_away", "database_away", "refused_by_database", "internal"}
    assert {code for code in known if f"`{code}`" not in explained} == set()


def test_every_worker_alert_in_a_rule_is_explained_in_the_entry_of_that_rule(deploy: Path):
    entries, known = runbook(deploy), raised(deploy.parent / "worker")
    asked = {
        (rule["alert"], code)
        for rule in rules(deploy) for found in _ALERTS_OF_WORKERS.findall(rule["expr"]) for code in found.split("|")
    }  # fmt: skip

    assert ("SettlementBreakerOpen", "breaker_open") in asked
    assert {code for _, code in asked} <= known
    assert {(alert, code) for alert, code in asked if f"`{code}`" not in entries[alert]} == set()


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
    theirs = {name for name in in_yaml if name.startswith(("KAFKA_", "POSTGRES_"))} - NAMES.keys()

    assert {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "OPS_TOKEN"} <= in_yaml
    assert in_yaml - theirs - NAMES.keys() == set()
    assert in_image - NOT_OURS - {"PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_CACHE_DIR"} - NAMES.keys() == set()


def test_every_manifest_is_listed_and_complete(deploy: Path):
    folder = deploy / "kubernetes"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    listed = {*kustomization["resources"], *(patch["path"] for patch in kustomization["patches"])}
    documents = [one for name in listed for one in yaml.safe_load_all((folder / name).read_text())]

    assert listed == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert all({"apiVersion", "kind", "metadata"} <= one.keys() for one in documents)


def test_every_pod_runs_the_pinned_image_without_service_links_and_setup_migrates_first(deploy: Path):
    """Where service links are enabled, a Service named `ops` sets OPS_PORT to its own address."""
    pods = pods_of(deploy)
    prepare = yaml.safe_load((deploy / "kubernetes/prepare.yaml").read_text())["spec"]["template"]["spec"]
    containers = [*prepare["initContainers"], *(one for pod in pods.values() for one in pod["containers"])]

    assert pods.keys() == {"settlement-ledger", "settlement-delivery", "settlement-ops", "settlement-audit"}
    assert all(pod["enableServiceLinks"] is False for pod in pods.values())
    assert [one["args"] for one in prepare["initContainers"]] == [["migrate"], ["topics"]]
    assert {one["image"] for one in containers} == {
        image["name"] for image in yaml.safe_load((deploy / "kubernetes/kustomization.yaml").read_text())["images"]
    }
    assert all("/etc/settlement" in {mount["mountPath"] for mount in one["volumeMounts"]} for one in containers)
    assert all({"secretRef": {"name": "settlement-kafka", "optional": True}} in one["envFrom"] for one in containers)


def test_every_scrape_configuration_names_the_jobs_that_the_rules_query(deploy: Path):
    composed, in_pods = (
        yaml.safe_load((deploy / f"prometheus/{name}.yml").read_text())["scrape_configs"]
        for name in ("prometheus", "kubernetes")
    )
    monitor = yaml.safe_load((deploy / "prometheus/podmonitor.yaml").read_text())["spec"]
    jobs = {one["job_name"] for one in composed}
    ports = {port["name"] for pod in pods_of(deploy).values() for port in pod["containers"][0].get("ports", ())}

    assert jobs == {"settlement-ledger", "settlement-delivery", "settlement-ops"} < pods_of(deploy).keys()
    assert (monitor["jobLabel"], set(monitor["selector"]["matchExpressions"][0]["values"])) == ("app", jobs)
    assert all(re.fullmatch(in_pods[0]["relabel_configs"][0]["regex"], job) for job in jobs)
    assert ports == {monitor["podMetricsEndpoints"][0]["port"]} == {in_pods[0]["relabel_configs"][1]["regex"]}


def test_no_panel_is_green_when_no_worker_answers(deploy: Path):
    panels = json.loads((deploy / "grafana/dashboard.json").read_text())["panels"]
    asked = {one["title"]: one["targets"] for one in panels if one["type"] == "stat"}
    workers = asked.pop("Workers that answer")

    assert [one["expr"] for one in workers] == [
        f'sum(up{{job="settlement-{role}"}}) or vector(0)' for role in ("ledger", "delivery")
    ]
    assert all(" or -absent(settlement_ready{" in one["expr"] for targets in asked.values() for one in targets)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool; Debian has it in `prometheus`")
def test_the_alert_rules_pass_their_promtool_tests(deploy: Path):
    done = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"],
        cwd=deploy / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
