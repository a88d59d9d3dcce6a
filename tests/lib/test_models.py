"""Equations 5 to 7: shapes, the place of the jigsaw, the formula of the head, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from pgjr_lib.controls import ChannelMix, Permuted
from pgjr_lib.jigsaw import GridJigsaw
from pgjr_lib.models import GJR, PGJR

# ---- GJR ----


@pytest.mark.parametrize("at", ["pixel", "layer3", "layer4"])
@pytest.mark.parametrize("combine", ["residual", "concat"])
def test_features_lie_on_the_unit_sphere(at, combine):
    model = GJR("thin", GridJigsaw(2, 1, combine=combine), at, dim=12)
    f = model(torch.randn(3, 3, 16, 16))
    assert f.shape == (3, 12) and f.dtype == torch.float32
    torch.testing.assert_close(f.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(("at", "shape"), [("pixel", (3, 32, 32)), ("layer3", (64, 8, 8)), ("layer4", (128, 4, 4))])
def test_the_jigsaw_sits_where_it_is_told(at, shape):
    model, met = GJR("thin", GridJigsaw(2, 2), at), []
    model.jigsaw.register_forward_pre_hook(lambda _, inputs: met.append(tuple(inputs[0].shape[1:])))
    model(torch.randn(2, 3, 32, 32))
    assert met == [shape]


def test_without_jigsaw_it_is_torchvisions_resnet18_with_idfds_stem():
    """Another implementation of the same network, given the same weights, gives the same features."""
    model = GJR("resnet18").eval()
    reference = torchvision.models.resnet18(num_classes=128)
    reference.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    reference.maxpool = nn.Identity()
    renamed = {name.replace("stem.0", "conv1").replace("stem.1", "bn1").replace("project", "fc"): value
               for name, value in model.state_dict().items()}  # fmt: skip
    reference.eval().load_state_dict(renamed)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), F.normalize(reference(x), dim=1), rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())


def test_the_place_means_nothing_without_a_jigsaw():
    x, outputs = torch.randn(2, 3, 16, 16), []
    for at in ("pixel", "layer3", "layer4"):
        torch.manual_seed(3)
        outputs.append(GJR("thin", None, at)(x))
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("jigsaw", [ChannelMix(2), Permuted(GridJigsaw(2, 1), torch.randperm(16))])
def test_controls_fit_in_the_jigsaws_place(jigsaw):
    assert GJR("thin", jigsaw, dim=8)(torch.randn(2, 3, 16, 16)).shape == (2, 8)


def test_every_parameter_learns():
    model = GJR("thin", GridJigsaw(2, 1, combine="concat"), dim=8)
    (model(torch.randn(4, 3, 16, 16)) * torch.randn(4, 8)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("name", "value"), [("backbone", "vgg"), ("at", "stem")])
def test_gjr_refuses_unknown_options(name, value):
    with pytest.raises(ValueError, match=f"{name}='{value}' is unknown: choose one of"):
        GJR(**{name: value})


# ---- PGJR ----


def drawn(model):
    """Parameters and running statistics all away from their starting values, in float64."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.normal_().abs_() if "var" in name else value.normal_()
    return model.double()


C, H, W, D = 3, 4, 4, 6


@pytest.mark.parametrize("jigsaw", [None, "on"])
@pytest.mark.parametrize("branch", ["none", "supplement", "replace"])
def test_the_head_computes_equation_7(branch, jigsaw):
    J = drawn(GridJigsaw(2, 1)) if jigsaw else None
    mean, std = torch.randn(D).double(), torch.rand(D).double() + 0.5
    model = PGJR(D, (C, H, W), J, branch=branch, dim=5)
    model = drawn(model).eval()
    model.mean.copy_(mean)
    model.std.copy_(std)
    c, z = torch.randn(7, D).double(), torch.randn(7, C, H, W).double()
    standardised, parts = (c - mean) / std, []
    if branch != "replace":
        parts.append(standardised)
    if branch != "none":
        flat = (J(z) if J else z).reshape(7, -1)
        bn = model.phi[1]
        normed = (flat - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight + bn.bias
        parts.append(normed.clamp_min(0))
    wanted = torch.cat(parts, 1) @ model.project.weight.T + model.project.bias
    torch.testing.assert_close(model(c, z), wanted / wanted.norm(dim=1, keepdim=True), rtol=1e-12, atol=1e-12)


def test_an_embedding_map_is_made_from_the_embedding_alone():
    model = drawn(PGJR(D, (C, H, W), drawn(GridJigsaw(2, 2)), map="embedding", dim=5)).eval()
    c = torch.randn(4, D).double()
    assert torch.equal(model(c), model(c, torch.randn(4, C, H, W).double()))
    maps = []
    model.jigsaw.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    model(c)
    assert maps[0].shape == (4, 16, 8, 8)
    linear = model.to_map[0]
    expected = ((c - model.mean) / model.std) @ linear.weight.T + linear.bias
    torch.testing.assert_close(maps[0].reshape(4, -1), expected)


def test_replace_drops_the_embedding_and_none_drops_the_map():
    c = torch.randn(4, D, requires_grad=True)
    z = torch.randn(4, C, H, W, requires_grad=True)
    for branch, reads_c, reads_z in (("replace", False, True), ("none", True, False), ("supplement", True, True)):
        out = PGJR(D, (C, H, W), GridJigsaw(2, 1), branch=branch)(c, z)
        by_c, by_z = torch.autograd.grad((out * torch.randn_like(out)).sum(), (c, z), allow_unused=True)
        assert (by_c is not None and bool(by_c.any())) == reads_c
        assert (by_z is not None and bool(by_z.any())) == reads_z


@pytest.mark.parametrize("map", ["spatial", "embedding"])
def test_concat_doubles_the_branch(map):
    model = PGJR(D, (C, H, W), GridJigsaw(2, 1, combine="concat"), map=map, dim=5)
    assert model(torch.randn(4, D), torch.randn(4, C, H, W)).shape == (4, 5)
    assert model.project.in_features == D + 2 * (C * H * W if map == "spatial" else 16 * 8 * 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "grid"}, "map='grid' is unknown: choose one of spatial, embedding"),
        ({"branch": "add"}, "branch='add' is unknown: choose one of none, supplement, replace"),
        ({}, r"map='spatial' needs map_shape"),
    ],
)
def test_pgjr_refuses_what_it_cannot_build(options, message):
    with pytest.raises(ValueError, match=message):
        PGJR(D, **options)
