"""Folds: disjoint random subsets of one size."""

import numpy as np
import pytest

from pgjr_lib import data
from pgjr_lib.errors import PGJRError


def test_folds_are_disjoint_cover_the_set_and_have_checksums_of_their_own():
    folds = [data.load("digits", limit=359, fold=fold) for fold in range(5)]
    paths = [path for fold in folds for path in fold.paths]
    assert len(set(paths)) == len(paths) == 5 * 359
    assert all(list(fold.paths) == sorted(fold.paths) for fold in folds)
    sums = [fold.checksum for fold in folds] + [data.checksum("digits", limit=359), data.checksum("digits")]
    assert len(set(sums)) == 7 and sums[0] == data.checksum("digits", limit=359, fold=0)
    counts = np.array([np.bincount(fold.labels, minlength=10) for fold in folds])
    assert counts.min() > 20  # random, not in the order of the file


def test_a_fold_that_does_not_exist_is_named():
    for fold in (5, -1):
        with pytest.raises(PGJRError, match=rf"fold is {fold}, but 1797 images make 5 folds of 359"):
            data.load("digits", limit=359, fold=fold)
