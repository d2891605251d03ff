"""Files and functions have a maximum length."""

import ast
from pathlib import Path

import pytest

FILE_LINES_MAX = {"worker": 400, "tests": 600}  # a test file is read from one test at a time
FUNCTION_LINES_MAX = 60
PROJECT = Path(__file__).parents[3]
FILES = sorted(path for folder in ("worker", "tests") for path in (PROJECT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()

    too_long = [
        f"{node.name} has {length} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]

    assert len(text.splitlines()) <= FILE_LINES_MAX[path.relative_to(PROJECT).parts[0]]
    assert not too_long
