"""Runs a command in a pseudo-terminal: what it draws, and which characters would control the terminal."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

# What our own drawing may use: colours, erasing a line, moving up, hiding and showing the cursor.
_OURS = re.compile(rb"\x1b\[(?:[0-9;]*m|2K|[0-9]*A|\?25[lh])")
_COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7])[;m]")


class Screen:
    """The output of a command at a terminal, and its exit code."""

    def __init__(self, written: bytes, code: int) -> None:
        self.written = written
        self.code = code
        self.without_colours = _OURS.sub(b"", written).decode()
        self.text = self.without_colours.replace("\r\n", "\n")
        self.coloured = bool(_COLOUR.search(written))

    def obeyed(self) -> set[str]:
        """Control characters beyond those that our own drawing needs."""
        return {one for one in self.text if one != "\n" and (ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0)} | {
            one for one in self.text if one in "\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d"
            "\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
        }  # fmt: skip


def typed(arguments: list[str], environment: dict[str, str], columns: int = 80) -> Screen:
    """Runs the command at a terminal of this width."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(environment, COLUMNS=str(columns))  # some kernels do not pass the size on
        os.execv(sys.executable, [sys.executable, "-m", "worker", *arguments])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    written = b""
    while True:
        try:
            found = os.read(terminal, 65_536)
        except OSError:  # the child has closed its side
            break
        if not found:
            break
        written += found
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return Screen(written, os.waitstatus_to_exitcode(status))
