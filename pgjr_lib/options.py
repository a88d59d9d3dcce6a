"""Define the options of the modules and of a training run, each defined once.

This file imports nothing heavy, so that a plan can be read and checked without torch. ``jigsaw.py``, ``controls.py``,
``models.py`` and ``training.py`` implement what the words below stand for.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Mode = Literal["surround", "reference", "sequential"]  # which grids a grid is regressed from (jigsaw.visible_grids)
Combine = Literal["residual", "replace", "concat"]  # how the regressed map joins the map (jigsaw.GridJigsaw)
Pad = Literal["reflect", "error"]  # what happens to maps that do not divide into blocks (jigsaw.GridJigsaw)
# the operator and its controls (controls.build_jigsaw)
Jigsaw = Literal["on", "off", "frozen", "zero", "dense", "permuted", "shifted", "mean", "blur"]
FIXED_JIGSAWS = ("mean", "blur")  # the controls that have no parameters
Place = Literal["pixel", "layer3", "layer4"]  # where the jigsaw sits in a CNN (models.GJR)
Backbone = Literal["small", "thin", "resnet18", "resnet34"]  # the CNNs (models.BACKBONES)
Map = Literal["spatial", "embedding"]  # the map that the head's jigsaw works on (models.PGJR)
Branch = Literal["none", "supplement", "replace"]  # how the jigsaw branch joins the embedding (models.PGJR)
Schedule = Literal["steps", "constant"]  # the learning rate through training (training.learning_rate)
Precision = Literal["fp32", "bf16", "half"]  # arithmetic of the forward pass in training (training.fit)
HeadName = Literal["kmeans", "linear", "pgjr"]  # what `pgjr cluster` clusters (photos.heads)
Method = Literal["kmeans", "hdbscan"]  # how it clusters (photos.grouping)

MODES, COMBINE, PAD = get_args(Mode), get_args(Combine), get_args(Pad)
HEADS, METHODS = get_args(HeadName), get_args(Method)
JIGSAWS, PLACES, MAPS, BRANCHES = get_args(Jigsaw), get_args(Place), get_args(Map), get_args(Branch)


@dataclass(frozen=True)
class TrainingOptions:
    """The settings of Algorithm 1; symbols as on the book's method page, defaults from IDFD's published code.

    Args:
        epochs: passes over the samples.
        batch_size: samples a step.
        lr: initial learning rate of SGD.
        tau1: temperature of instance discrimination, equation 8.
        tau2: temperature of feature decorrelation, equation 10.
        alpha: weight of feature decorrelation, equation 11.
        beta: weight of the regression loss, equation 11.
        momentum, weight_decay: of SGD.
        smallest_batch: a shorter last batch is dropped; 1 keeps every batch, as IDFD does.
        precision: ``fp32``, ``bf16`` by autocast, or ``half``: the half precision that the device trains fast in
            (:func:`pgjr_lib.devices.training_half`), with a scaled loss where that is float16.
        seed: seed of batch order and views.
        negatives: rows of the memory bank that equation 8 is estimated from in every step; None takes all of them.
        schedule: ``steps`` divides the rate by ten at four milestones of training, as IDFD does; ``constant`` keeps it.
    """

    epochs: int
    batch_size: int = 128
    lr: float = 0.03
    tau1: float = 1.0
    tau2: float = 2.0
    alpha: float = 1.0
    beta: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smallest_batch: int = 1
    precision: Precision = "fp32"
    seed: int = 0
    schedule: Schedule = "steps"
    negatives: int | None = None


SOUND_BATCH = 32  # a head's smallest batch: fewer samples make poor statistics for its BatchNorm
# the settings of pGJR's head outside the book, chosen on STL-10 (the book's Figure 7)
HEAD_TRAINING = TrainingOptions(epochs=20, batch_size=256, lr=0.006, tau1=1.0, smallest_batch=SOUND_BATCH)


@dataclass(frozen=True)
class HeadOptions:
    """The settings of pGJR's head, equation 7.

    Args:
        map, branch: as :class:`pgjr_lib.models.PGJR`.
        jigsaw, n, g, mode, combine, per_channel: as :func:`pgjr_lib.controls.build_jigsaw`.
        dim: d, the length of the learned feature.
        bank_momentum: mu of equation 12.
    """

    map: Map = "spatial"
    branch: Branch = "supplement"
    jigsaw: Jigsaw = "on"
    n: int = 2
    g: int = 1
    mode: Mode = "surround"
    combine: Combine = "residual"
    per_channel: bool = False
    dim: int = 128
    bank_momentum: float = 0.5
