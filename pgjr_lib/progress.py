"""Show the progress of long work, by tqdm."""

import os
import sys

from tqdm import tqdm


def progress(iterable=None, description: str = "", unit: str = "it", total: int | None = None,
             scale: bool = False) -> tqdm:  # fmt: skip
    """Return a progress bar on stderr, around ``iterable`` or to be updated by hand.

    ``$PGJR_PROGRESS=off`` hides the bars, for whoever shows one over all of the work.

    Args:
        iterable: what the bar counts; None for a bar whose ``update`` the caller calls.
        description: the words before the bar. Keep paths out of it: logs are passed on.
        unit: what one step is called.
        total: number of steps where ``iterable`` does not tell.
        scale: write counts with k, M and G, as for bytes.
    """
    # a log file keeps every refresh, so it gets few of them
    interval = 0.5 if sys.stderr.isatty() else 15.0
    return tqdm(iterable, desc=description, unit=unit, total=total, mininterval=interval, dynamic_ncols=True,
                unit_scale=scale, disable=os.environ.get("PGJR_PROGRESS") == "off")  # fmt: skip
