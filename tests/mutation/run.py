"""Runs mutmut with these patches:

- Properties are mutated too. mutmut skips every decorated function, and in the domain that would skip the sums that
  matter most: what is open, what is taken, what can be refunded.
- The mutants that mypy rejects are found with Python's own parser, in seconds.
- Tests are collected once and called directly, since they are plain functions without fixtures; collecting them again
  for each of two thousand mutants would take most of the time. For the same reason a mutant replaces its function,
  instead of being looked up at every call.
- The tests that failed for other mutants of the same function run first; the first failure is enough.
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
_KILLS = Path("mutants/noticed.txt").absolute()  # each line: a function, and a test that failed for a mutant of it
_TEST_SECONDS_MAX = 2.0  # of processor time; every test takes less than a tenth of it, unless it never ends


def _is_property(node: cst.CSTNode) -> bool:
    decorators = [decorator.decorator for decorator in node.decorators] if isinstance(node, cst.FunctionDef) else []
    return len(decorators) == 1 and isinstance(decorators[0], cst.Name) and decorators[0].value == "property"


def _skips_all_but_properties(visitor: file_mutation.MutationVisitor, node: cst.CSTNode) -> bool:
    return not _is_property(node) and _skips(visitor, node)


def _arranged_as_property(function: cst.FunctionDef, mutants: Iterable[Any], class_name: str | None) -> Any:
    """Makes only the switch between the mutants a property; the mutants are plain methods."""
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


def _rejected_by_mypy() -> dict[str, FailedTypeCheckMutant]:
    """The mutants that `make lint` would reject. An error outside of all mutants is ours and stops the run."""
    rejected = {}
    with change_cwd(Path("mutants")):
        for path, errors in file_mutation.group_by_path(run_type_checker(config().type_check_command)).items():
            mutants = _mutants_in(path)
            for error in errors:
                around = [
                    mutant
                    for mutant in mutants
                    if mutant.line_number_start <= error.line_number <= mutant.line_number_end
                ]
                assert around, f"{path}:{error.line_number}: {error.error_description}"
                name = get_mutant_name(path.relative_to(Path.cwd()), around[0].function_name)
                rejected[name] = FailedTypeCheckMutant(around[0], name, error)
    return rejected


class _Collector:
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for item in items:
            _tests[item.nodeid] = item.obj, item.callspec.params if hasattr(item, "callspec") else {}


def _collect(runner: PytestRunner) -> None:
    with change_cwd(Path("mutants")):
        selection = runner._pytest_add_cli_args_test_selection
        runner.execute_pytest(["--collect-only", "-qqq", *selection], plugins=[_Collector()])
    _switches.extend(_find_switches())


class _Switch(NamedTuple):
    """The generated function that calls one of the mutants of a domain function, or the original."""

    owner: Any
    name: str
    value: Any
    mutants: dict[str, Callable[..., Any]]

    def put_in_place(self, mutant: str, module: str) -> None:
        """Replaces the switch by this mutant if it is one of ours, else by the original."""
        original = self.mutants["_mutmut_orig"]
        chosen = self.mutants.get(mutant, original) if original.__module__ == module else original
        setattr(self.owner, self.name, property(chosen) if isinstance(self.value, property) else chosen)


def _find_switches() -> Iterator[_Switch]:
    for module in [module for name, module in sys.modules.items() if name.startswith("worker.domain.")]:
        for owner in [module, *(value for value in vars(module).values() if isinstance(value, type))]:
            for name, value in vars(owner).items():
                function = value.fget if isinstance(value, property) else value
                if "trampoline" in getattr(getattr(function, "__code__", None), "co_freevars", ()):
                    yield _Switch(owner, name, value, _enclosed(_enclosed(function, "trampoline"), "mutants_dict"))


def _enclosed(function: Any, name: str) -> Any:
    return function.__closure__[function.__code__.co_freevars.index(name)].cell_contents


def _run(runner: PytestRunner, *, mutant_name: str | None, tests: Iterable[str]) -> int:
    """Runs the tests of a mutant until one fails, which kills the mutant; returns 1 if one failed."""
    if mutant_name is None:
        return _run_by_pytest(runner, mutant_name=None, tests=tests)
    module, _, mutant = mutant_name.rpartition(".")
    for switch in _switches:
        switch.put_in_place(mutant, module)
    function_name = mutant_name.rpartition("__mutmut_")[0]
    signal.signal(signal.SIGVTALRM, _raise_timeout)
    for name in _likeliest_first(tests, function_name):
        function, arguments = _tests[name]
        signal.setitimer(signal.ITIMER_VIRTUAL, _TEST_SECONDS_MAX)
        try:
            function(**arguments)
        except BaseException:  # noqa: BLE001 (any exception kills the mutant)
            with _KILLS.open("a", encoding="utf-8") as kills:
                kills.write(f"{function_name}\t{name}\n")
            return 1
    return 0


def _raise_timeout(*_: object) -> None:
    raise TimeoutError


def _likeliest_first(tests: Iterable[str], function_name: str) -> list[str]:
    """Sorts the tests: first those that killed most mutants of this function, then of any, then the fastest."""
    lines = _KILLS.read_text("utf-8").splitlines() if _KILLS.exists() else []
    of_this, of_any = Counter(lines), Counter(line.partition("\t")[2] for line in lines)
    duration = state().duration_by_test
    return sorted(tests, key=lambda test: (-of_this[f"{function_name}\t{test}"], -of_any[test], duration.get(test, 0)))


file_mutation.MutationVisitor._skip_node_and_children = _skips_all_but_properties
file_mutation.function_trampoline_arrangement = _arranged_as_property
mutmut.filter_mutants_with_type_checker = _rejected_by_mypy
PytestRunner.prepare_main_test_run = _collect
PytestRunner.run_tests = _run


def _not_killed() -> list[str]:
    """The mutants that no test has killed yet, including those that were not tested."""
    results = [json.loads(file.read_text("utf-8"))["exit_code_by_key"] for file in Path("mutants").rglob("*.py.meta")]
    return [name for codes in results for name, code in codes.items() if code in (None, 0, 33)]


if __name__ == "__main__":
    sys.argv[1:] = [name for word in sys.argv[1:] for name in (_not_killed() if word == "unnoticed" else [word])]
    sys.exit(mutmut.cli())
