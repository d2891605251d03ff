"""Named queries from `.sql` files: `-- name: book_entries`, `-- one line of promise`, then the statement.

queries = load("worker.ledger")            # every .sql file that lies in that package
await connection.fetch(queries["book_entries"], ...)
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from types import MappingProxyType

from msgspec import Struct

# Rooms whose queries find their tables in the schema of the same name.
ROLES = ("ledger", "delivery")

_HEAD = re.compile(r"^-- name: *(\S+) *$", re.MULTILINE)


class Query(Struct, frozen=True):
    """One statement with its promise, and where it stands."""

    name: str
    promise: str
    sql: str
    file: str
    schema: str | None
    """Whose tables it speaks of; None: those of both workers, or it names them."""


@cache
def load(package: str) -> Mapping[str, str]:
    """Name → statement, of every `.sql` file in one package. A name that stands twice is refused."""
    found: dict[str, str] = {}
    for file in _files(resources.files(import_module(package))):
        for query in parse(file.read_text("utf-8"), f"{package.replace('.', '/')}/{file.name}"):
            if query.name in found:
                raise ValueError(f"{query.file}: the query {query.name} stands twice in {package}")
            found[query.name] = query.sql
    return MappingProxyType(found)


def all_queries() -> list[Query]:
    """Every named query of every room."""
    return [query for file, place in _walk(resources.files("worker"), "worker")
            for query in parse(file.read_text("utf-8"), place)]  # fmt: skip


def parse(text: str, file: str) -> list[Query]:
    """The queries of one file, in order."""
    pieces = _HEAD.split(text)
    schema = next((room for room in ROLES if f"/{room}/" in file), None)
    return [_query(name, body, file, schema) for name, body in zip(pieces[1::2], pieces[2::2], strict=True)]


def _query(name: str, body: str, file: str, schema: str | None) -> Query:
    promise, _, statement = body.strip().partition("\n")
    if not promise.startswith("-- "):
        raise ValueError(f"{file}: the query {name} needs one line that says what it promises")
    return Query(name, promise[3:].strip(), statement.strip().rstrip(";"), file, schema)


def _files(folder: Traversable) -> list[Traversable]:
    return sorted((one for one in folder.iterdir() if one.name.endswith(".sql")), key=lambda one: one.name)


def _walk(folder: Traversable, place: str) -> Iterator[tuple[Traversable, str]]:
    for one in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if one.is_dir():
            yield from _walk(one, f"{place}/{one.name}")
        elif one.name.endswith(".sql"):
            yield one, f"{place}/{one.name}"
