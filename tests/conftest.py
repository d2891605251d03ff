"""Fixtures of every ring: a real stack, a database for each test, and names that no other test uses."""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import asyncpg
import pytest
from xdist.scheduler import LoadScopeScheduling

from worker.stack import StackEnv, down, up

MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 6 << 30
# The tests of each share one deployment, one stack, or most of a machine.
TOGETHER = ("tests/acceptance/", "tests/browser/", "tests/chaos/test_servers_die.py", "tests/integration/test_stack.py")


class Scheduling(LoadScopeScheduling):
    """Gives each test to the next free process: first the groups of `TOGETHER`, then the others in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return next((one for one in TOGETHER if nodeid.startswith(one)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling | None:
    """The scopes of `--dist loadscope` are ours."""
    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def stack() -> Iterator[StackEnv]:
    """A broker and a database: those that the environment names, else an embedded stack in a scratch home."""
    bootstrap, database = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
    if bootstrap and database:
        yield StackEnv(bootstrap, database)
        return
    with TemporaryDirectory(prefix="stack-", dir=_in_memory()) as folder:
        home = Path(folder) / "home"
        try:
            yield up(home)
        finally:
            down(home)


@asynccontextmanager
async def _database(stack: StackEnv, kind: str, how: str = "") -> AsyncIterator[str]:
    """Creates a database, yields its name and drops it."""
    name = f"{kind}_{secrets.token_hex(6)}"
    await _administer(stack, f'CREATE DATABASE "{name}" {how}')
    try:
        yield name
    finally:
        await _administer(stack, f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def _migrated_database(stack: StackEnv, template: str) -> AsyncIterator[str]:
    async with _database(stack, "test", f'TEMPLATE "{template}" STRATEGY FILE_COPY') as name:
        yield _named(stack, name)


def _in_memory() -> Path | None:
    """A folder in memory, if there is room; None means the usual place for temporary files.

    Every test creates and drops a database of hundreds of files; on ext4, which creates files ever more slowly where
    some were just deleted, that took half a processor.
    """
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN
    return MEMORY if roomy else None


@pytest.fixture(scope="session")
async def migrated_template(stack: StackEnv) -> AsyncIterator[str]:
    """The name of a database with the newest schema and no rows."""
    from worker.postgres.migrations import migrate

    async with _database(stack, "template") as name:
        await migrate(_named(stack, name))
        yield name


@pytest.fixture(scope="session")
async def schema_url(stack: StackEnv, migrated_template: str) -> str:
    """A migrated database for tests that only read its schema: a template must not have open connections."""
    return _named(stack, migrated_template)


@pytest.fixture
async def database_url(stack: StackEnv, migrated_template: str) -> AsyncIterator[str]:
    """A migrated, empty database for this test alone."""
    async with _migrated_database(stack, migrated_template) as url:
        yield url


@pytest.fixture
async def other_database_url(stack: StackEnv, migrated_template: str) -> AsyncIterator[str]:
    """A second database like `database_url`."""
    async with _migrated_database(stack, migrated_template) as url:
        yield url


@pytest.fixture
async def empty_database(stack: StackEnv) -> AsyncIterator[str]:
    """A database that no migration has seen."""
    async with _database(stack, "empty") as name:
        yield _named(stack, name)


@pytest.fixture
async def latin_database(stack: StackEnv) -> AsyncIterator[str]:
    """An empty database whose encoding has only the letters of Western Europe."""
    async with _database(stack, "latin", "ENCODING 'WIN1252' LOCALE 'C' TEMPLATE template0") as name:
        yield _named(stack, name)


@pytest.fixture
def topic_prefix() -> str:
    """The prefix of every topic and group of this test."""
    return f"t{secrets.token_hex(4)}."


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return Path(__file__).parent.parent


async def _administer(stack: StackEnv, statement: str) -> None:
    connection = await asyncpg.connect(stack.database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _named(stack: StackEnv, database: str) -> str:
    return urlsplit(stack.database_url)._replace(path=f"/{database}").geturl()
