"""How fast a method converges: the end of a curve, the first time at a target, and the seconds until then.

Curves come from runs that may share the machine. Seconds come from short runs that had it to themselves: epochs times
the median of their epochs, plus encodings that were timed alone.
"""

from dataclasses import dataclass

import numpy as np

LAST = 3  # evaluations whose mean is a method's end
SHARES = (0.5, 0.75, 0.95)  # of an end, the targets


@dataclass(frozen=True)
class Clock:
    """Seconds that a method needs on one machine.

    Attributes:
        epoch_s: seconds of one epoch of training.
        plain_s: seconds that the plain features take, 0 for a CNN.
        extract_s: seconds that plain features and views take, 0 for a CNN.
        machine: processor and device.
        prior_s: seconds that the prior was trained for, 0 for a CNN; NaN where they are not known.
    """

    epoch_s: float
    plain_s: float
    extract_s: float
    machine: tuple[str, str]
    prior_s: float = 0.0

    def seconds(self, epoch: int) -> float:
        """Return the seconds needed by the end of ``epoch``, from here: before training the views are not needed yet."""
        return epoch * self.epoch_s + (self.extract_s if epoch else self.plain_s)

    def seconds_from_nothing(self, epoch: int) -> float:
        """Return the same with the prior's own training; NaN where that is not known."""
        return self.seconds(epoch) + self.prior_s


def clock(record: dict) -> Clock | None:
    """Return the clock that a timed record sets; None where it shared the machine, or has no epoch."""
    seconds = [row["seconds"] for row in record["history"]]
    timings = record["timings"]
    if not timings.get("alone") or len(seconds) < 2:
        return None
    provenance = record["provenance"]
    machine = (provenance["device"], provenance["host_cpu"])
    weights = record.get("weights")  # None for a CNN
    trained_s = weights.get("training_seconds") if weights else 0.0
    prior_s = float("nan") if trained_s is None else trained_s
    return Clock(float(np.median(np.diff(seconds))), timings.get("plain_s", 0.0), timings["extract_s"], machine, prior_s)


def curve(record: dict) -> list[tuple[int, float]]:
    """Return the scored epochs of a record: (epoch, NMI in [0, 1])."""
    return [(row["epoch"], row["nmi"]) for row in record["history"] if "nmi" in row]


def end(record: dict) -> float:
    """Return where a method ends: the mean NMI of its last three evaluations, in [0, 1]."""
    return float(np.mean([nmi for _, nmi in curve(record)[-LAST:]]))


@dataclass(frozen=True)
class Arrival:
    """When a run reaches a target: by training, at the first of two evaluations in a row at or above it.

    Attributes:
        epoch: of that evaluation, from 1; where there is none, the last epoch of training.
        censored: it never reached the target, so that it needs more than ``epoch`` epochs.
        before_training: its untrained features were at or above the target already.
    """

    epoch: int
    censored: bool
    before_training: bool


def arrival(record: dict, target: float) -> Arrival:
    """Return when a run reaches an NMI of ``target``, in [0, 1]."""
    points = curve(record)
    before = points[0][0] == 0 and points[0][1] >= target
    trained = [point for point in points if point[0] > 0]
    for (epoch, nmi), (_, following) in zip(trained, trained[1:], strict=False):
        if nmi >= target and following >= target:
            return Arrival(epoch, False, before)
    return Arrival(trained[-1][0], True, before)
