"""How all our servers begin to listen, and what they say where they cannot."""

import logging
import os
import socket

from aiohttp import web
from aiohttp.http import HttpProcessingError

from worker.settings import SettingsError


class CannotListen(SettingsError):
    """One sentence: which address cannot be listened on, why, and which settings change it. The program ends with 2."""


async def listen(runner: web.AppRunner, host: str, port: int, named_by: str = "OPS_HOST and OPS_PORT") -> None:
    """Accepts connections from here on, or raises `CannotListen`."""
    logging.getLogger("aiohttp.server").addFilter(_is_about_us)
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, UnicodeError) as problem:
        await runner.cleanup()
        raise CannotListen(f"cannot listen on {address(host, port)} ({_why(problem)}); {named_by} say where") from None


def _is_about_us(record: logging.LogRecord) -> bool:
    """A client that does not speak HTTP is answered 400; a traceback for each would fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def address(host: str, port: int) -> str:
    """`host:port`; an IPv6 host stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(problem: OSError | UnicodeError) -> str:
    """In the system's words; those of a driver repeat the address."""
    if isinstance(problem, UnicodeError | socket.gaierror) or problem.errno is None:
        return "this host is not known here"
    return os.strerror(problem.errno).lower()
