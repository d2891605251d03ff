"""What was met of PostgreSQL, as a sentence: the server's words as they are, those of its driver never."""

import re
import socket
import ssl

import asyncpg

from worker.postgres.connecting import DatabaseUrlError

# How asyncpg says that a session is over; which of these depends on how far it had read.
_OVER = re.compile("is closed|was closed|is in progress|cannot switch to state|unknown protocol state")
# The first that fits: some are a kind of a later one.
_SENTENCES: dict[type[BaseException], str] = {
    asyncpg.InvalidAuthorizationSpecificationError:
        "PostgreSQL does not let us in ({}): check DATABASE_URL, read at the start only",
    asyncpg.TargetServerAttributeNotMatched:
        "no server of PostgreSQL is what `target_session_attrs` in DATABASE_URL asks for",
    asyncpg.PostgresError: "PostgreSQL: {}",
    DatabaseUrlError: "{}",
    # Neither OpenSSL nor a socket says which.
    FileNotFoundError: "PostgreSQL cannot be reached, a file that DATABASE_URL names is not there ({})",
    TimeoutError: "PostgreSQL did not answer in time",
    ssl.SSLError: "PostgreSQL and we agree on no encrypted connection ({})",
    socket.gaierror: "PostgreSQL cannot be reached, its host name is not known ({})",
    ConnectionError: "PostgreSQL cannot be reached ({})",
}  # fmt: skip


def is_over(problem: BaseException) -> bool:
    """Whether the driver, and not the server, says that the session is gone."""
    of_driver = asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError, asyncpg.InternalClientError
    return isinstance(problem, of_driver) and _OVER.search(str(problem)) is not None


def first(problem: BaseException) -> BaseException:
    """Why the server ended the session, where it said so, and not what could not be said to it any more."""
    why = problem.__context__
    return why if is_over(problem) and isinstance(why, asyncpg.PostgresError) else problem


def told(problem: BaseException) -> str:
    """A sentence of its own."""
    problem = first(problem)
    if is_over(problem):
        return "PostgreSQL, or the network, closed the connection"
    for kind, sentence in _SENTENCES.items():
        if isinstance(problem, kind):
            return sentence.format(problem)
    return f"PostgreSQL: {type(problem).__name__}: {problem}"
