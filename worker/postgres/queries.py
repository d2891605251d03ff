"""Named queries from `.sql` files: `-- name: book_entries`, `-- one line of promise`, then the statement.

queries = load("worker.ledger")            # all .sql files of that package
await connection.fetch(queries["book_entries"], ...)
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from types import MappingProxyType

from msgspec import Struct

# Packages whose queries use the schema of the same name.
ROLES = ("ledger", "delivery")

_HEAD = re.compile(r"^-- name: *(\S+) *$", re.MULTILINE)


class Query(Struct, frozen=True):
    """A statement with its promise, its file, and the schema that it runs in."""

    name: str
    promise: str
    sql: str
    file: str
    schema: str | None
    """Where unqualified table names are looked up; None if it runs in both workers' schemas, or qualifies all names."""


@cache
def load(package: str) -> Mapping[str, str]:
    """Name → statement, for all `.sql` files of a package. Raises ValueError if a name occurs twice."""
    statements: dict[str, str] = {}
    for file in _files(resources.files(import_module(package))):
        for query in parse(file.read_text("utf-8"), f"{package.replace('.', '/')}/{file.name}"):
            if query.name in statements:
                raise ValueError(f"{query.file}: the query {query.name} stands twice in {package}")
            statements[query.name] = query.sql
    return MappingProxyType(statements)


def all_queries() -> list[Query]:
    """The named queries of all packages."""
    return [query for file, path in _walk(resources.files("worker"), "worker")
            for query in parse(file.read_text("utf-8"), path)]  # fmt: skip


def parse(text: str, file: str) -> list[Query]:
    """The queries of one file, in order."""
    parts = _HEAD.split(text)
    schema = next((role for role in ROLES if f"/{role}/" in file), None)
    return [_query(name, body, file, schema) for name, body in zip(parts[1::2], parts[2::2], strict=True)]


def _query(name: str, body: str, file: str, schema: str | None) -> Query:
    promise, _, statement = body.strip().partition("\n")
    if not promise.startswith("-- "):
        raise ValueError(f"{file}: the query {name} needs one line that says what it promises")
    return Query(name, promise[3:].strip(), statement.strip().rstrip(";"), file, schema)


def _files(folder: Traversable) -> list[Traversable]:
    return sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)


def _walk(folder: Traversable, path: str) -> Iterator[tuple[Traversable, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, f"{path}/{entry.name}")
        elif entry.name.endswith(".sql"):
            yield entry, f"{path}/{entry.name}"
