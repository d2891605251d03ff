"""Runs a command in a pseudo-terminal and reads its output and the control characters in it."""

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

    def control_characters(self) -> set[str]:
        """Control characters that a terminal would obey, except those of our own drawing."""
        return {char for char in self.text if char != "\n" and (ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0)} | {
            char for char in self.text if char in "\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d"
            "\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
        }  # fmt: skip


def run_in_terminal(arguments: list[str], environment: dict[str, str], columns: int = 80) -> Screen:
    """Runs a command in a pseudo-terminal of this width."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(environment, COLUMNS=str(columns))  # some kernels do not pass the size on
        os.execv(sys.executable, [sys.executable, "-m", "worker", *arguments])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    written = b""
    while True:
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # the child has closed its side
            break
        if not data:
            break
        written += data
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return Screen(written, os.waitstatus_to_exitcode(status))
