"""mutmut, with a few things of our own.

It changes properties too: mutmut leaves every decorated function alone, and in the domain that would be the very sums
that money hangs on (what is open, what is taken, what can be refunded). It finds the mutants that mypy refuses with
Python's own parser, in seconds. And it calls the tests of a mutant directly, collected once: the domain's tests are
plain functions without fixtures, and collecting them again for each of two thousand mutants would take most of the
time. For the same reason a mutant is put in the function's place, instead of being looked up at every call, and the
tests that noticed other changes of a function are asked first: one that notices is enough.
"""

import ast
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import libcst as cst
from mutmut import __main__ as mutmut
from mutmut.configuration import config
from mutmut.mutation import file_mutation
from mutmut.mutation.file_mutation import FailedTypeCheckMutant, MutatedMethodLocation
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.type_checking import run_type_checker
from mutmut.utils.file_utils import change_cwd
from mutmut.utils.format_utils import get_mutant_name

_skips = file_mutation.MutationVisitor._skip_node_and_children
_arranged = file_mutation.function_trampoline_arrangement
_run_by_pytest = PytestRunner.run_tests
_tests: dict[str, tuple[Callable[..., None], dict[str, Any]]] = {}
_switches: list["_Switch"] = []
_NOTICED = Path("mutants/noticed.txt").absolute()  # which test noticed a change of which function
_SECONDS = 2.0  # of processor time: no test takes a tenth of it, unless it never ends


def _is_property(node: cst.CSTNode) -> bool:
    decorators = [one.decorator for one in node.decorators] if isinstance(node, cst.FunctionDef) else []
    return len(decorators) == 1 and isinstance(decorators[0], cst.Name) and decorators[0].value == "property"


def _skips_all_but_properties(visitor: file_mutation.MutationVisitor, node: cst.CSTNode) -> bool:
    return not _is_property(node) and _skips(visitor, node)


def _arranged_as_property(function: cst.FunctionDef, mutants: Iterable[Any], class_name: str | None) -> Any:
    """The switch between the mutants is the property; the mutants are plain methods."""
    if not _is_property(function):
        return _arranged(function, mutants, class_name)
    empty, (switch, *copies), assigned, names = _arranged(function.with_changes(decorators=[]), mutants, class_name)
    switch = switch.with_changes(decorators=[*function.decorators, *switch.decorators])
    return empty, [switch, *copies], assigned, names


def _mutants_in(path: Path) -> list[MutatedMethodLocation]:
    return [
        MutatedMethodLocation(path, node.name, node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and re.search(r"__mutmut_\d+$", node.name)
    ]


def _refused_by_mypy() -> dict[str, FailedTypeCheckMutant]:
    """Mutants that `make lint` would refuse. An error outside of every mutant is ours, and stops the run."""
    refused = {}
    with change_cwd(Path("mutants")):
        for path, errors in file_mutation.group_by_path(run_type_checker(config().type_check_command)).items():
            mutants = _mutants_in(path)
            for error in errors:
                of = [one for one in mutants if one.line_number_start <= error.line_number <= one.line_number_end]
                assert of, f"{path}:{error.line_number}: {error.error_description}"
                name = get_mutant_name(path.relative_to(Path.cwd()), of[0].function_name)
                refused[name] = FailedTypeCheckMutant(of[0], name, error)
    return refused


class _Collector:
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for one in items:
            _tests[one.nodeid] = one.obj, one.callspec.params if hasattr(one, "callspec") else {}


def _collect(runner: PytestRunner) -> None:
    with change_cwd(Path("mutants")):
        chosen = runner._pytest_add_cli_args_test_selection
        runner.execute_pytest(["--collect-only", "-qqq", *chosen], plugins=[_Collector()])
    _switches.extend(_switches_of_the_domain())


class _Switch(NamedTuple):
    """Where the domain calls one of several mutants of a function, or the function itself."""

    owner: Any
    name: str
    value: Any
    mutants: dict[str, Callable[..., Any]]

    def put_in_place(self, mutant: str, module: str) -> None:
        """Ends the switching for good."""
        original = self.mutants["_mutmut_orig"]
        chosen = self.mutants.get(mutant, original) if original.__module__ == module else original
        setattr(self.owner, self.name, property(chosen) if isinstance(self.value, property) else chosen)


def _switches_of_the_domain() -> Iterator[_Switch]:
    for module in [one for name, one in sys.modules.items() if name.startswith("worker.domain.")]:
        for owner in [module, *(one for one in vars(module).values() if isinstance(one, type))]:
            for name, value in vars(owner).items():
                function = value.fget if isinstance(value, property) else value
                if "trampoline" in getattr(getattr(function, "__code__", None), "co_freevars", ()):
                    yield _Switch(owner, name, value, _enclosed(_enclosed(function, "trampoline"), "mutants_dict"))


def _enclosed(function: Any, name: str) -> Any:
    return function.__closure__[function.__code__.co_freevars.index(name)].cell_contents


def _run(runner: PytestRunner, *, mutant_name: str | None, tests: Iterable[str]) -> int:
    """A mutant is killed by the first of its tests that fails; the others are not asked any more."""
    if mutant_name is None:
        return _run_by_pytest(runner, mutant_name=None, tests=tests)
    module, _, mutant = mutant_name.rpartition(".")
    for switch in _switches:
        switch.put_in_place(mutant, module)
    changed = mutant_name.rpartition("__mutmut_")[0]
    signal.signal(signal.SIGVTALRM, _never_ends)
    for name in _likeliest_first(tests, changed):
        function, arguments = _tests[name]
        signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
        try:
            function(**arguments)
        except BaseException:  # noqa: BLE001 (whatever it raises, the mutant was noticed)
            with _NOTICED.open("a", encoding="utf-8") as noticed:
                noticed.write(f"{changed}\t{name}\n")
            return 1
    return 0


def _never_ends(*_: object) -> None:
    raise TimeoutError


def _likeliest_first(tests: Iterable[str], changed: str) -> list[str]:
    """Those that noticed most changes of this function, then of any, then the quickest."""
    lines = _NOTICED.read_text("utf-8").splitlines() if _NOTICED.exists() else []
    here, anywhere = Counter(lines), Counter(line.partition("\t")[2] for line in lines)
    duration = state().duration_by_test
    return sorted(tests, key=lambda one: (-here[f"{changed}\t{one}"], -anywhere[one], duration.get(one, 0)))


file_mutation.MutationVisitor._skip_node_and_children = _skips_all_but_properties  # type: ignore[method-assign]
file_mutation.function_trampoline_arrangement = _arranged_as_property
mutmut.filter_mutants_with_type_checker = _refused_by_mypy
PytestRunner.prepare_main_test_run = _collect  # type: ignore[method-assign]
PytestRunner.run_tests = _run  # type: ignore[method-assign]


def _unnoticed() -> list[str]:
    """What no test noticed so far, and what was not asked yet: after tests were written."""
    codes = [json.loads(one.read_text("utf-8"))["exit_code_by_key"] for one in Path("mutants").rglob("*.py.meta")]
    return [name for some in codes for name, code in some.items() if code in (None, 0, 33)]


if __name__ == "__main__":
    sys.argv[1:] = [name for one in sys.argv[1:] for name in (_unnoticed() if one == "unnoticed" else [one])]
    sys.exit(mutmut.cli())
