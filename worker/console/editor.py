"""Opens a text in the person's own editor, in a file that only they can read."""

import os
import shlex
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from worker.people.acting import Refused


def in_editor(text: str) -> str:
    """Returns the text as it was saved in $VISUAL or $EDITOR; raises `Refused` where nothing was changed."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with TemporaryDirectory(prefix="settlement-") as folder:
        file = Path(folder) / "message.json"
        file.write_text(text, "utf-8")  # as messages are, whatever the locale
        try:
            ended = subprocess.run([*shlex.split(command), str(file)], check=False)  # noqa: S603 - the person's own
        except (OSError, ValueError) as problem:
            raise Refused(f"the editor {command} cannot be started ({problem}): set EDITOR, or use --patch") from None
        saved = file.read_bytes()
    if ended.returncode:
        raise Refused(f"the editor {command} ended with {ended.returncode}, so nothing is sent")
    try:
        changed = saved.decode()
    except UnicodeDecodeError:
        raise Refused("what was saved is not in UTF-8, so nothing is sent") from None
    if changed == text:
        raise Refused("nothing was changed in the editor, so nothing is sent")
    return changed
