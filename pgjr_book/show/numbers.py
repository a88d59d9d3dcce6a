"""How numbers are written, in tables, sentences and figures alike."""

import math
from collections.abc import Callable


def fixed(number: float, decimals: int = 1) -> str:
    """Write a number with so many decimals."""
    return f"{number:.{decimals}f}"


def decimals_of(difference: float) -> int:
    """Return the decimals that show on which side of zero a difference lies: one, or as many more as that takes.

    Zero itself has none, and so has what is zero in six decimals.
    """
    return next((digits for digits in range(1, 7) if round(difference, digits)), 0)


def unsigned(difference: float) -> str:
    """Write a difference with the decimals that show its side; a plus is left out."""
    digits = decimals_of(difference)
    return fixed(difference, digits) if digits else "0"


def signed(difference: float) -> str:
    """Write a difference with its sign and the decimals that show its side."""
    digits = decimals_of(difference)
    return f"{difference:+.{digits}f}" if digits else "0"


def mean_sd(mean: float, sd: float, write: Callable[[float], str] = fixed) -> str:
    """Write "mean ± sd", the mean alone where ``sd`` is not a number, and nothing where neither is one."""
    if math.isnan(mean):
        return ""
    return write(mean) if math.isnan(sd) else f"{write(mean)} ± {write(sd)}"


def setting(value: float) -> str:
    """Write the value of a setting with as many digits as it has: 1, 0.05."""
    return f"{value:g}"


def plain(value) -> str:
    """Write a whole number, a word or a setting as it is; True and False as yes and no; a missing value as nothing."""
    if isinstance(value, float) and math.isnan(value):
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
