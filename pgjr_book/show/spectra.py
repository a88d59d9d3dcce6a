"""What the jigsaw does to waves: at its start, and where records hold the matrix that a run has learned.

The jigsaw depends on where a position lies in its block, so a wave comes back with a gain that depends on its phase. The
response at a frequency is the mean over phases of the gain at that frequency. All waves run along the rows of a map.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pgjr_book.scored import ScoredSet
from pgjr_book.show import numbers
from pgjr_book.show.groups import by_set_and_variant, grouped
from pgjr_lib.controls import Blur, build_jigsaw
from pgjr_lib.jigsaw import GridJigsaw

FREQUENCIES = np.linspace(0, 0.5, 65)  # waves a pixel, up to the highest that a map can hold


@dataclass(frozen=True)
class Response:
    """What becomes of waves of unit amplitude.

    Attributes:
        label: what answers.
        frequencies: (F,) waves a pixel.
        gain: (F,) the amplitude that comes back at the wave's own frequency, mean over phases; negative where it is turned
            round.
        elsewhere: (F,) the amplitude that comes back in other waves, because the operator knows its blocks.
    """

    label: str
    frequencies: np.ndarray
    gain: np.ndarray
    elsewhere: np.ndarray

    def at(self, frequency: float) -> float:
        """Return the gain at a frequency, interpolated."""
        return np.interp(frequency, self.frequencies, self.gain).item()

    def share_elsewhere(self, frequency: float) -> float:
        """Return the share of the energy at a frequency that comes back in other waves."""
        gain, elsewhere = self.at(frequency), np.interp(frequency, self.frequencies, self.elsewhere).item()
        return elsewhere**2 / (gain**2 + elsewhere**2)


@torch.no_grad()
def response(operator: nn.Module, period: int, label: str) -> Response:
    """Measure the response of an operator (B, C, H, W) -> (B, C, H, W) without constant part.

    Args:
        operator: what answers, in float64.
        period: pixels along a block's side; the middle one of three blocks is read, away from the border.
        label: its name in figures.
    """
    x = 2 * torch.pi * torch.from_numpy(FREQUENCIES)[:, None] * torch.arange(3 * period)
    wave = torch.polar(torch.ones_like(x), x)  # (F, W); all phases at once
    rows = torch.view_as_real(wave).movedim(2, 1)[:, :, None].expand(-1, -1, 3 * period, -1)  # (F, 2, H, W)
    middle = (..., slice(period, 2 * period), slice(period, 2 * period))
    out = operator(rows)[middle]
    gains = torch.complex(out[:, 0], out[:, 1]) / wave[:, None, period : 2 * period]  # of every position
    gain = gains.mean((1, 2))
    elsewhere = (gains - gain[:, None, None]).abs().square().mean((1, 2)).sqrt()
    return Response(label, FREQUENCIES, gain.real.numpy(), elsewhere.numpy())


def jigsaw_response(matrix, combine: str, g: int, label: str) -> Response:
    """Measure the response of a jigsaw with the matrix A, (m, m) as it acts, and without its offset b."""
    matrix = torch.as_tensor(matrix, dtype=torch.float64)
    n = round(len(matrix) ** 0.5)
    jigsaw = GridJigsaw(n, g, combine=combine).double()
    jigsaw.mask.fill_(1.0)  # the matrix has its zeros already
    jigsaw.weight.data.copy_(matrix)
    return response(jigsaw, n * g, label)


def at_start(n: int, g: int) -> list[Response]:
    """Return the responses of the jigsaw at its start without noise, ``residual`` and ``replace``, and of the blur."""
    m = n * n
    start = (torch.ones(m, m) - torch.eye(m)) / (m - 1)
    return [
        jigsaw_response(start, "residual", g, "jigsaw, residual"),
        jigsaw_response(start, "replace", g, "jigsaw, replace"),
        response(Blur(n, g).double(), n * g, "blur"),
    ]


# ---- what training makes of A ----


@dataclass(frozen=True)
class Learned:
    """The matrices of one variant on one set, over its seeds.

    Attributes:
        where: the set.
        label: the variant's.
        n, g: its blocks.
        start, end: (seeds, m, m), A as it acted before and after training.
        before, after: for each seed its response. Empty where frequency has no meaning: positions are permuted, the map is
            that of an embedding, or the output is stacked.
        blur: the response of the fixed blur, where there are others.
    """

    where: ScoredSet
    label: str
    n: int
    g: int
    start: np.ndarray
    end: np.ndarray
    before: list[Response]
    after: list[Response]
    blur: Response | None

    @property
    def change(self) -> float:
        """Return how far A moved: the mean over seeds of the norm of its change."""
        return float(np.linalg.norm(self.end - self.start, axis=(1, 2)).mean())

    @property
    def size(self) -> float:
        """Return the mean over seeds of the norm of A before training."""
        return float(np.linalg.norm(self.start, axis=(1, 2)).mean())


def learned(records: list[dict]) -> list[Learned]:
    """Return what training made of A, a row a set and variant; records that hold no matrix are left out."""
    groups = by_set_and_variant([record for record in records if record.get("jigsaw")])
    return [_learned(where, group) for (where, _), group in groups.items()]


def by_set(rows: list[Learned]) -> dict[ScoredSet, list[Learned]]:
    """Group rows by their set."""
    return grouped(rows, lambda row: row.where)


def _learned(where: ScoredSet, group: list[dict]) -> Learned:
    config = group[0]["config"]
    n, g, combine = config["n"], config["g"], config["combine"]
    start = np.stack([_start(record["config"]) for record in group])
    end = np.array([record["jigsaw"]["matrix"] for record in group])
    no_space = config["jigsaw"] == "permuted" or config["method"] == "pgjr" and config["map"] == "embedding"
    before, after, blur = [], [], None
    if not no_space and combine != "concat":
        before, after = ([jigsaw_response(A, combine, g, side) for A in matrices]
                         for side, matrices in (("start", start), ("learned", end)))  # fmt: skip
        blur = response(Blur(n, g).double(), n * g, "blur")
    return Learned(where, group[0]["label"], n, g, start, end, before, after, blur)


def _start(config: dict) -> np.ndarray:
    """Return A as it acted before training: its draw depends on the run's seed alone."""
    size = (2 * config["n"] * config["g"],) * 2
    settings = {name: config[name] for name in ("n", "g", "mode", "combine")}
    jigsaw = build_jigsaw(config["jigsaw"], config["seed"], 1, size, **settings)
    matrix: Tensor = getattr(jigsaw, "inner", jigsaw).matrix()
    return matrix.detach().numpy()


# ---- in numbers and in words ----


def moved(rows: list[Learned]) -> pd.DataFrame:
    """Tabulate how far A moved, and what became of its gains at frequency 0 and where neighbouring grids cancel."""
    table = []
    for row in rows:
        gains = {"0": 0.0, "1/(2g)": 1 / (2 * row.g)} if row.after else {}
        times = {"start": row.before, "end": row.after}
        table.append({
            "set": row.where, "variant": row.label, "seeds": len(row.end), "A moves by": row.change,
            "% of its norm": 100 * row.change / row.size if row.size else float("nan"),
            **{f"gain at {name}, {time}": float(np.mean([answer.at(frequency) for answer in answers]))
               for name, frequency in gains.items() for time, answers in times.items()},
        })  # fmt: skip
    return pd.DataFrame(table)


def summary(table: pd.DataFrame) -> str:
    """Say how far A moved at least and at most (:func:`moved`), where it did not start at zero; "Not run." without rows."""
    if table.empty:
        return "Not run."
    shares = table["% of its norm"].dropna()
    if shares.empty:
        return "Every A started at zero."
    least, most = numbers.fixed(shares.min()), numbers.fixed(shares.max())
    return f"In training A moves by {least} to {most} % of its norm."
