"""Know which file is which photograph: by its content, whatever its name, and without reading it again while it is unchanged."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import read_json, write_json

SETTLED = 2_000_000_000  # nanoseconds: a file that changed this shortly before a scan may change again at the same time stamp


@dataclass(frozen=True)
class Entry:
    """What is known of a file.

    Attributes:
        size: in bytes.
        time: its last change, in nanoseconds since 1970.
        digest: SHA-256 of its bytes; "" while unread.
        error: why it is no readable image, else "".
        settled: whether size and time suffice to know the file again.
    """

    size: int
    time: int
    digest: str = ""
    error: str = ""
    settled: bool = False


class Index:
    """The files of a folder of photographs, as the last run left them and as they are now.

    Args:
        path: where the index is kept. A missing or damaged one only costs reading all files again.

    Attributes:
        last: file -> Entry, of the last run.
        now: file -> Entry, after :meth:`scan`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.last = _read(path)
        self.now: dict[str, Entry] = {}

    def scan(self, folder: Path, paths: list[Path]) -> list[str]:
        """Look at size and time of every file.

        Returns:
            The files that must be read, relative to ``folder``: they are new or have changed since the last run.
        """
        began = time.time_ns()
        for path in paths:
            file = path.relative_to(folder).as_posix()
            try:
                status = path.stat()
            except OSError:  # it left a moment ago, or may not be looked at: reading it will tell
                self.now[file] = Entry(-1, 0)
                continue
            entry = Entry(status.st_size, status.st_mtime_ns, settled=status.st_mtime_ns + SETTLED < began)
            known = self.last.get(file)
            if known and known.settled and known.digest and (known.size, known.time) == (entry.size, entry.time):
                entry = known
            self.now[file] = entry
        return [file for file, entry in self.now.items() if not entry.digest]

    def set(self, file: str, digest: str, error: str) -> None:
        """Record what reading ``file`` gave."""
        self.now[file] = replace(self.now[file], digest=digest, error=error)

    def renamed(self) -> dict[str, str]:
        """Return new name -> old name, of the photographs that the last run knew under another name."""
        gone = {entry.digest: file for file, entry in self.last.items() if file not in self.now}
        return {
            file: gone[entry.digest]
            for file, entry in self.now.items()
            if file not in self.last and entry.digest in gone
        }

    def save(self) -> None:
        """Write the index as it is now; files that are gone leave it."""
        files = {
            file: [entry.size, entry.time, entry.digest, entry.error, entry.settled]
            for file, entry in self.now.items()
            if entry.digest
        }
        write_json(self.path, {"files": files})


def _read(path: Path) -> dict[str, Entry]:
    try:
        return {file: Entry(*fields) for file, fields in read_json(path)["files"].items()}
    except (PGJRError, LookupError, TypeError, AttributeError):  # absent or damaged
        return {}
