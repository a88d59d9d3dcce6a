"""Take up what a user changed in the page: names of clusters, merged clusters, and photographs moved to another cluster.

The page offers the changes as a small JSON file. It may come from anybody, so every field is checked.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pgjr_lib.errors import PGJRError
from pgjr_lib.photos.grouping import NONE
from pgjr_lib.storage import write_json

LARGEST = 20_000_000  # bytes of a file of edits
FORMAT = "pgjr-edits-1"
KEY = 16  # digits of a photograph's hash that name it

Number = Annotated[int, Field(ge=0, lt=100_000)]
NumberText = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,4})$")]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f\u2028\u2029]*$")
]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class Edits(BaseModel):
    """Changes to the clusters of one folder.

    Attributes:
        format: ``FORMAT``.
        page: which folder's page they were made in.
        names: number of a cluster -> its name.
        merges: number of a cluster -> the number of the cluster that it joins.
        moves: first ``KEY`` digits of a photograph's hash -> the number of its cluster.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    format: str = Field(FORMAT, pattern=f"^{FORMAT}$")
    page: Key
    names: dict[NumberText, Name] = {}
    merges: dict[NumberText, Number] = {}
    moves: dict[Key, Number] = {}

    def then(self, later: "Edits") -> "Edits":
        """Return these edits followed by later ones."""
        both = {name: getattr(self, name) | getattr(later, name) for name in ("names", "merges", "moves")}
        return Edits(page=self.page, **both)

    def target(self, number: int) -> int:
        """Return the cluster that a cluster is part of after all merges."""
        while str(number) in self.merges:
            number = self.merges[str(number)]
        return number

    def apply(self, clusters: np.ndarray, digests: list[str]) -> np.ndarray:
        """Move photographs, then merge clusters: (N,) numbers and N hashes give (N,) numbers."""
        moved = [self.moves.get(digest[:KEY], number) for digest, number in zip(digests, clusters.tolist(), strict=True)]
        target = {number: number if number == NONE else self.target(number) for number in set(moved)}
        return np.array([target[number] for number in moved], dtype=np.int64)

    def numbers(self) -> frozenset[int]:
        """Return all numbers of clusters that are named here."""
        texts = [*self.names, *self.merges]
        return frozenset([*map(int, texts), *self.merges.values(), *self.moves.values()])


def read_edits(path: Path, page: str) -> Edits:
    """Read a file of edits.

    Args:
        path: the file.
        page: the key of the folder's page; edits of another are refused.

    Raises:
        PGJRError: the file is missing, too large, no file of edits, made in another folder's page, or it merges
            clusters in a circle.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise PGJRError(f"{path} is too large for a file of edits: give the file that the page's download button saved.")
        edits = Edits.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise PGJRError(f"{path} does not exist: give the file that the page's download button saved.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:60]
        raise PGJRError(
            f"{path} is no file of edits ({ascii(where)[1:-1] + ': ' if where else ''}{first['msg']}): give the file that the"
            " page's download button saved."
        ) from None
    if edits.page != page:
        raise PGJRError(f"{path} was made in the page of another folder: give the file of this folder's page.")
    check_circles(edits, path)
    return edits


def check_circles(edits: Edits, path: Path) -> None:
    """Refuse merges that lead back to where they start.

    Raises:
        PGJRError: there is such a circle; the sentence names ``path``.
    """
    for start in edits.merges:
        number, seen = int(start), set()
        while str(number) in edits.merges:
            if number in seen:
                raise PGJRError(f"{path} merges cluster {number} into itself: remove one of its merges.")
            seen.add(number)
            number = edits.merges[str(number)]


def save_edits(edits: Edits, path: Path) -> None:
    """Write edits for the next run."""
    write_json(path, edits.model_dump())
