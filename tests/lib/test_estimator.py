"""PGJRClustering keeps scikit-learn's contract and does what its docstring says."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pgjr_lib import PGJRClustering
from pgjr_lib.errors import PGJRError


@parametrize_with_checks([PGJRClustering(epochs=2, n_init=2), PGJRClustering(epochs=2, n_init=2, jigsaw=False)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture
def blobs():
    X, y = make_blobs(150, 20, centers=4, random_state=0)
    rng = np.random.default_rng(0)
    return X, y, X + rng.normal(0, 0.3, (4, *X.shape))


def test_it_finds_blobs_with_and_without_views_and_in_a_pipeline(blobs):
    X, y, views = blobs
    model = PGJRClustering(4, epochs=5, random_state=0)
    assert adjusted_rand_score(y, model.fit_predict(X)) > 0.9
    assert adjusted_rand_score(y, model.fit(X, views=views).labels_) > 0.9
    pipeline = make_pipeline(StandardScaler(), model)
    assert adjusted_rand_score(y, pipeline.fit_predict(X)) > 0.9
    assert pipeline[:1].fit(X).get_feature_names_out().shape == (20,)
    assert model.get_feature_names_out()[0] == "pgjrclustering0" and len(model.get_feature_names_out()) == 128


def test_a_seed_repeats_the_result_and_leaves_the_callers_alone(blobs):
    X, _, views = blobs
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = PGJRClustering(4, epochs=2, random_state=3).fit(X, views=views)
    second = PGJRClustering(4, epochs=2, random_state=3).fit(X, views=views)
    assert (first.transform(X) == second.transform(X)).all() and (first.labels_ == second.labels_).all()
    assert torch.equal(before, torch.get_rng_state())
    assert not np.allclose(first.transform(X), PGJRClustering(4, epochs=2, random_state=4).fit(X).transform(X))


def test_features_lie_on_the_sphere_and_training_moves_them(blobs):
    X, *_ = blobs
    untrained = PGJRClustering(4, epochs=0, random_state=0).fit(X).transform(X)
    trained = PGJRClustering(4, epochs=5, random_state=0).fit(X).transform(X)
    assert np.allclose(np.linalg.norm(trained, axis=1), 1) and not np.allclose(untrained, trained, atol=1e-3)


def test_batches_of_any_size_train(blobs):
    start = PGJRClustering(n_clusters=3, epochs=0, random_state=0).fit(blobs[0]).transform(blobs[0])
    small = PGJRClustering(n_clusters=3, epochs=1, batch_size=8, random_state=0).fit(blobs[0]).transform(blobs[0])
    assert np.abs(start - small).max() > 1e-3


def test_unseen_rows_get_the_cluster_of_their_blob(blobs):
    X, y, _ = blobs
    model = PGJRClustering(4, epochs=3, random_state=0).fit(X[:100])
    assert adjusted_rand_score(y[100:], model.predict(X[100:])) > 0.9


@pytest.mark.parametrize(("arguments", "views", "sentence"), [
    ({"n_clusters": 0}, None, "n_clusters"),
    ({"n_clusters": 200}, None, "n_clusters=200, but n_samples=150: ask for fewer"),
    ({"temperature": -1.0}, None, "temperature"),
    ({"device": "tpu"}, None, "device"),
    ({}, np.zeros((2, 150, 3)), r"views has the shape \(2, 150, 3\), but \(K, 150, 20\) is needed"),
    ({}, np.full((2, 150, 20), np.nan), "views contains NaN"),
])  # fmt: skip
def test_a_mistake_is_named(blobs, arguments, views, sentence):
    with pytest.raises(ValueError, match=sentence):
        PGJRClustering(**arguments).fit(blobs[0], views=views)


def test_it_runs_on_digits_as_documented():
    labels = PGJRClustering(n_clusters=10, epochs=1, n_init=1, random_state=0).fit_predict(load_digits().data)
    assert labels.shape == (1797,) and set(labels) == set(range(10))


def test_a_fit_that_fails_leaves_nothing_half_done():
    X = make_blobs(40, 5, centers=2, random_state=0)[0]
    model = PGJRClustering(n_clusters=2, epochs=2, learning_rate=1e30, temperature=1e-3, random_state=0)
    with pytest.raises(PGJRError, match="not finite"):
        model.fit(X, views=np.stack([X, X + 1]))
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_a_large_offset_is_no_trouble():
    X, y = make_blobs(60, 4, centers=[[0] * 4, [9] * 4], random_state=0)
    found = PGJRClustering(n_clusters=2, epochs=2, random_state=0).fit_predict(X + 1e9)
    assert adjusted_rand_score(y, found) == 1


def test_views_of_no_kind_are_none_and_names_follow_the_fit():
    X = np.random.default_rng(0).normal(size=(60, 6))
    found = PGJRClustering(3, epochs=1, random_state=0).fit(X, views=np.empty((0, 60, 6)))
    assert (found.labels_ == PGJRClustering(3, epochs=1, random_state=0).fit_predict(X)).all()
    found.set_params(dim=7)
    assert len(found.get_feature_names_out()) == found.transform(X).shape[1] == 128
    with pytest.raises(NotFittedError):
        PGJRClustering(3).get_feature_names_out()


def test_it_trains_where_gradients_are_off_and_names_an_unknown_device():
    X = np.random.default_rng(0).normal(size=(60, 6))
    with torch.no_grad():
        off = PGJRClustering(3, epochs=1, random_state=0).fit_predict(X)
    assert (off == PGJRClustering(3, epochs=1, random_state=0).fit_predict(X)).all()
    with pytest.raises(ValueError, match="device='gpu' is unknown to torch"):
        PGJRClustering(3, device="gpu").fit(X)


def test_one_epoch_learns():
    """Its rate is the full one, not the hundredth part that a schedule could leave of it."""
    X = make_blobs(300, 8, centers=3, random_state=0)[0]
    start, one = (PGJRClustering(3, epochs=e, n_init=2, random_state=0).fit(X).model_.project.weight for e in (0, 1))
    many = PGJRClustering(3, epochs=4, n_init=2, random_state=0).fit(X).model_.project.weight
    moved, further = (one - start).norm(), (many - start).norm()
    assert moved > further / 10
