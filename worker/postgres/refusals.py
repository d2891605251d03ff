"""Sentences about PostgreSQL's errors: what happened, and what to do. They quote the server, never the driver."""

import re
import socket
import ssl

import asyncpg

from worker.postgres.connecting import DatabaseUrlError

# asyncpg's texts for a session that is over; which of them depends on how far it had read.
_OVER = re.compile("is closed|was closed|is in progress|cannot switch to state|unknown protocol state")
_UNENCRYPTED = (
    "{where} and this program cannot agree on an encrypted connection ({problem}): check sslmode and sslrootcert in "
    "DATABASE_URL"
)
# The first match counts, since some classes derive from later ones.
_SENTENCES: dict[tuple[type[BaseException], ...], str] = {
    (asyncpg.InvalidAuthorizationSpecificationError,):
        "{where} does not let us in ({problem}): check the user and the password in DATABASE_URL, read at the start "
        "only",
    (asyncpg.InvalidCatalogNameError,):
        "{where} has no such database ({problem}): create it, or name another one in DATABASE_URL",
    (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError):
        "{where} lacks our tables, or hides them from this role ({problem}): `settlement migrate` makes them",
    (asyncpg.ReadOnlySQLTransactionError,):
        "{where} only lets us read ({problem}): it is a standby, or set so; DATABASE_URL names the primary, or all of "
        "them and `?target_session_attrs=primary`",
    (asyncpg.InsufficientPrivilegeError,):
        "{where} does not allow it ({problem}): this role lacks that right; migrating and recovering are for the owner "
        "of the tables",
    (asyncpg.TooManyConnectionsError,):
        "{where} has no session left for us ({problem}): end others, or raise max_connections",
    (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError): "{where} took too long ({problem})",
    (asyncpg.SerializationError,):
        "{where} cancelled a query that conflicts with replication ({problem}): set hot_standby_feedback or "
        "max_standby_streaming_delay there, if it is a standby",
    (asyncpg.TargetServerAttributeNotMatched,):
        "no server of {where} is what `target_session_attrs` in DATABASE_URL asks for",
    (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.TransactionTimeoutError,
     asyncpg.IdleInTransactionSessionTimeoutError, asyncpg.exceptions.IdleSessionTimeoutError):
        "{where} ended the session ({problem})",
    (asyncpg.PostgresError,): "{where}: {problem}",
    (DatabaseUrlError,): "{problem}",
    (FileNotFoundError,):  # neither OpenSSL nor a socket names the file
        "{where} cannot be reached, a file that DATABASE_URL names does not exist ({problem}): check sslrootcert, "
        "sslcert and sslkey, and the folder of a socket",
    (TimeoutError,): "{where} did not answer in time",
    (ssl.SSLError,): _UNENCRYPTED,
    (socket.gaierror,):
        "{where} cannot be reached, its host name is not known ({problem}): is DATABASE_URL right?",
    (OSError,): "{where} cannot be reached ({problem}): is it running, and is DATABASE_URL right?",
}  # fmt: skip


def describe_postgres_error(problem: BaseException, where: str = "PostgreSQL") -> str:
    """A sentence about any error of the database, which `where` names."""
    problem = _cause(problem)
    if _is_over(problem):
        return f"{where}, or the network, closed the connection"
    if type(problem) is ConnectionError:  # asyncpg's error for a refused TLS upgrade
        return _UNENCRYPTED.format(where=where, problem=problem)
    for kinds, sentence in _SENTENCES.items():
        if isinstance(problem, kinds):
            return sentence.format(where=where, problem=problem)
    return f"{where}: {type(problem).__name__}: {problem}"


def _cause(problem: BaseException) -> BaseException:
    """The server's reason to end the session, if it gave one, rather than the driver's complaint about its end."""
    cause = problem.__context__
    return cause if _is_over(problem) and isinstance(cause, asyncpg.PostgresError) else problem


def _is_over(problem: BaseException) -> bool:
    """Whether the driver, and not the server, says that the session is gone."""
    of_driver = asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError, asyncpg.InternalClientError
    return isinstance(problem, of_driver) and _OVER.search(str(problem)) is not None
