"""docs/architecture.md lists every package, and the packages that each of them imports."""

import ast
import re
from pathlib import Path

import pytest

_ROW = re.compile(r"^\| `worker/(\w+)` \| .* \| (.*) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def imports_on_page(project: Path) -> dict[str, set[str]]:
    rows = _ROW.findall((project / "docs/architecture.md").read_text())
    return {package: set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", others))) - {"nothing"} for package, others in rows}


def test_every_package_is_on_the_page(project: Path, imports_on_page: dict[str, set[str]]):
    assert imports_on_page.keys() == {path.parent.name for path in project.glob("worker/*/__init__.py")}


def test_each_package_imports_exactly_those_that_the_page_lists(project: Path, imports_on_page: dict[str, set[str]]):
    assert imports_on_page == {
        package: imported(project / "worker" / package) & imports_on_page.keys() - {package}
        for package in imports_on_page
    }


def imported(package: Path) -> set[str]:
    """The packages of `worker` that a package imports, also within functions."""
    modules = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ImportFrom(module=str(module)):
                    modules |= {f"{module}.{alias.name}" for alias in node.names}
                case ast.Import():
                    modules |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in modules if name.startswith("worker.")}
