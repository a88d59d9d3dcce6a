"""Spherical k-means, TURTLE and TEMI: each against a naive independent computation, and on clusters that are easy to find."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pgjr_lib.baselines import spherical, temi, turtle
from pgjr_lib.evaluation import accuracy, normalise

K = 4


@pytest.fixture(scope="module")
def clusters():
    """400 points of 32 dimensions in four clusters that do not overlap, with their classes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(K), 100)
    points = 3 * rng.normal(size=(K, 32))[labels] + rng.normal(size=(400, 32))
    return torch.from_numpy(points.astype(np.float32)), labels


@pytest.fixture
def short(monkeypatch):
    """Settings with which the two that train take seconds."""
    monkeypatch.setattr(turtle, "OUTER_STEPS", 300)
    monkeypatch.setattr(turtle, "BATCH", 100)
    monkeypatch.setattr(temi, "HEADS", 2)
    monkeypatch.setattr(temi, "EPOCH_STEPS", 4)
    monkeypatch.setattr(temi, "BATCH", 100)
    monkeypatch.setattr(temi, "LEARNING_RATE", 1e-5)
    monkeypatch.setattr(temi, "TEACHER_MOMENTUM", 0.9)  # its own takes hundreds of steps to follow the student


def spherical_labels(points, k, seed):
    return torch.from_numpy(spherical.spherical_kmeans(points.numpy(), k, seed + 1)[seed].labels_)


def argmax(method):
    return lambda points, k, seed: method(points, k, seed).argmax(1)


METHODS = {"spherical": spherical_labels, "turtle": argmax(turtle.turtle), "temi": argmax(temi.temi)}


@pytest.mark.parametrize("name", METHODS)
def test_it_finds_clusters_that_do_not_overlap_and_repeats(name, clusters, short):
    points, labels = clusters
    with torch.no_grad():  # a caller may have switched gradients off
        assigned = METHODS[name](points, K, 0)
    assert accuracy(labels, assigned.numpy()) == 1
    assert torch.equal(METHODS[name](points, K, 0), assigned)


@pytest.mark.parametrize("method", [turtle.turtle, temi.temi])
def test_soft_assignments_repeat_bit_for_bit_and_depend_on_the_seed(method, clusters, short, monkeypatch):
    monkeypatch.setattr(turtle, "OUTER_STEPS", 5)
    monkeypatch.setattr(temi, "EPOCHS", 2)
    points, _ = clusters
    first, again, other = (method(points, K, seed) for seed in (1, 1, 2))
    assert first.shape == (400, K) and first.dtype == torch.float32
    assert torch.allclose(first.sum(1), torch.ones(400), atol=1e-5)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("method", [spherical.spherical_kmeans, turtle.turtle, temi.temi])
def test_an_impossible_number_of_clusters_and_features_that_are_not_finite_are_refused(method):
    points = torch.ones(5, 3)
    with pytest.raises(ValueError, match="k=6 clusters"):
        method(points, 6)
    points[0, 0] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        method(points, 2)


def test_a_step_of_spherical_kmeans_is_the_naive_one_and_its_objective_never_falls():
    points = normalise(np.random.default_rng(1).normal(size=(60, 5)))
    centres, totals = points[:6], []
    for _ in range(10):
        labels, total, moved = spherical.step(points, centres)
        naive = [max(range(6), key=lambda c: float(p @ centres[c])) for p in points]  # noqa: B023
        assert labels.tolist() == naive
        assert total == pytest.approx(sum(float(p @ centres[c]) for p, c in zip(points, naive, strict=True)), rel=1e-5)
        for c in range(6):
            mean = points[[n == c for n in naive]].mean(0)
            assert moved[c] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
        centres = moved
        totals.append(total)
    assert all(later >= earlier - 1e-5 for earlier, later in zip(totals, totals[1:], strict=False))
    assert totals[-1] > totals[0]


def test_spherical_kmeans_keeps_its_best_start_and_leaves_an_empty_centre_where_it_is():
    points = normalise(np.random.default_rng(2).normal(size=(80, 4)))
    few, many = (spherical.spherical_kmeans(points, 6, 1, n_init)[0] for n_init in (1, 20))
    assert many.inertia_ <= few.inertia_
    nearest = points @ many.cluster_centers_.T
    assert many.inertia_ == pytest.approx(2 * (80 - nearest.max(1).sum()), rel=1e-4)
    centres = np.stack([points[0], -points[0]])
    _, _, moved = spherical.step(points[:1], centres)
    assert moved == pytest.approx(centres)


def test_the_inner_step_of_turtle_is_adam_on_the_gradient_by_hand():
    torch.manual_seed(0)
    z, tau = torch.randn(7, 3), F.softmax(torch.randn(7, K), dim=1)
    learner = nn.Linear(3, K)
    weight, bias = learner.weight.detach().clone(), learner.bias.detach().clone()
    error = (F.softmax(z @ weight.T + bias, dim=1) - tau) / 7
    turtle.inner_step(learner, torch.optim.Adam(learner.parameters(), turtle.LEARNING_RATE), z, tau)
    for now, before, gradient in ((learner.weight, weight, error.T @ z), (learner.bias, bias, error.sum(0))):
        step = gradient / (gradient.abs() + 1e-8)  # Adam's first: both moments are unbiased
        assert torch.allclose(now, before - turtle.LEARNING_RATE * step, atol=1e-6)


def test_the_objective_of_turtle_is_equation_12():
    torch.manual_seed(0)
    logits, tau = torch.randn(7, K), F.softmax(torch.randn(7, K), dim=1)
    q = F.softmax(logits, dim=1)
    error = sum(-float(tau[i, c]) * math.log(q[i, c]) for i in range(7) for c in range(K)) / 7
    mean = [sum(float(tau[i, c]) for i in range(7)) / 7 for c in range(K)]
    entropy = -sum(m * math.log(m) for m in mean)
    assert turtle.objective(logits, tau).item() == pytest.approx(error - 10 * entropy, rel=1e-5)


def test_the_loss_of_temi_is_that_of_a_loop():
    torch.manual_seed(0)
    heads, pairs = 3, 5
    student, teacher = (F.softmax(torch.randn(heads, 2 * pairs, K), dim=2) for _ in range(2))
    means = F.softmax(torch.randn(heads, K), dim=1)
    expected = []
    for h in range(heads):
        total = 0.0
        for i in range(pairs):
            j = pairs + i
            w = sum(float(teacher[g, i, c] * teacher[g, j, c]) for g in range(heads) for c in range(K)) / heads
            pmi = [
                math.log(sum(float(student[h, a, c] * teacher[h, b, c]) ** 0.6 / float(means[h, c]) for c in range(K)))
                for a, b in ((i, j), (j, i))
            ]
            total -= w * (pmi[0] + pmi[1]) / 2
        expected.append(total / pairs)
    assert temi.loss(student.log(), teacher.log(), means).tolist() == pytest.approx(expected, rel=1e-4)


def test_the_gradient_of_temi_is_finite_where_assignments_are_certain():
    certain = torch.tensor([[[0.0, -300.0], [-300.0, 0.0]]])
    student = certain.clone().requires_grad_()
    temi.loss(student, certain, torch.full((1, 2), 0.5)).sum().backward()
    assert torch.isfinite(student.grad).all()


def test_nearest_are_the_others_with_the_largest_cosines():
    torch.manual_seed(0)
    points = torch.randn(30, 4)
    neighbours = temi.nearest(points, 5, rows=7)
    for i in range(30):
        cosines = {j: float(F.cosine_similarity(points[i], points[j], dim=0)) for j in range(30) if j != i}
        assert neighbours[i].tolist() == sorted(cosines, key=cosines.get, reverse=True)[:5]
    assert temi.nearest(points, 50).shape == (30, 29)


def test_the_last_layer_of_temi_has_rows_of_unit_norm_and_logits_are_cosines():
    head = temi.Head(6, K)
    assert torch.allclose(head.last.weight.norm(dim=1), torch.ones(K), atol=1e-6)
    assert head(torch.randn(9, 6)).abs().max() <= 1 + 1e-6
