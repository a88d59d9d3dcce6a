"""One run's configuration: its fields, the fields its method reads, and the hash over those."""

import hashlib
import json
from dataclasses import fields
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pgjr_lib.data.sets import SETS, Split
from pgjr_lib.options import (
    FIXED_JIGSAWS,
    Backbone,
    Branch,
    Combine,
    HeadOptions,
    Jigsaw,
    Map,
    Mode,
    Place,
    Precision,
    Schedule,
    TrainingOptions,
)
from pgjr_lib.priors.config import FeatureConfig

FEATURES = FeatureConfig.model_fields
RESULTS_VERSION = 2  # raise it when a change of the code changes results: every run is then computed anew

Method = Literal["pixels", "prior", "baseline", "pgjr", "idfd", "gjr"]
CNNS = ("idfd", "gjr")  # the methods that train a CNN on images
ON_PRIOR = ("prior", "baseline", "pgjr")  # the methods that read the features of a prior
Baseline = Literal["joint", "untrained", "spherical", "spectral", "turtle", "temi"]  # as pgjr_book/baselines.py lists them
EXTRAS = ("landscape", "exemplars", "snapshots")  # recorded in addition
OMITTED = (*EXTRAS, "fold", "map_side", "negatives")  # at their defaults these do not enter the key
DATA = ("dataset", "split", "limit", "fold", "image_size", "kmeans_seeds")
PRIOR = ("prior", "views", "crop_scale", "flip", "map_channels", "map_side")
TRAINING = ("epochs", "batch_size", "lr", "tau1", "tau2", "alpha", "bank_momentum", "momentum", "weight_decay",
            "dim", "precision", "schedule", "negatives", "eval_every", "seed", *EXTRAS)  # fmt: skip
OPERATOR = ("jigsaw", "mode", "combine", "n", "g", "per_channel")
JIGSAW = (*OPERATOR, "beta")
READS = {  # the fields each method's result depends on
    "pixels": (*DATA, "landscape", "exemplars"),
    "prior": (*DATA, *PRIOR, "landscape", "exemplars"),
    "baseline": (*DATA, *PRIOR, "baseline", "seed", *OPERATOR, "map", "branch", "dim"),  # the untrained head needs the last
    "pgjr": (*DATA, *PRIOR, *TRAINING, *JIGSAW, "map", "branch"),
    "idfd": (*DATA, *TRAINING, "backbone", "crop_scale"),
    "gjr": (*DATA, *TRAINING, *JIGSAW, "backbone", "at", "crop_scale"),
}

# YAML reads a bare on or off as a boolean
Switch = Annotated[Jigsaw, BeforeValidator(lambda v: {True: "on", False: "off"}[v] if isinstance(v, bool) else v)]


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and wrong types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RunConfig(Strict):
    """One run. Symbols are those of the method page, sizes are in pixels; ``limit`` None takes every image.

    ``fold`` chooses one of the disjoint random subsets of ``limit`` images. ``map_side`` pools the prior's map.
    ``baseline`` names a clustering that the head is compared with. Three fields record more than the scores, where they
    are above 0: ``landscape`` single starts of k-means, ``exemplars`` images of each cluster, and ``snapshots`` of the
    features through training.
    """

    method: Method
    dataset: str
    split: Split = "test"
    limit: int | None = Field(None, ge=2)
    fold: int | None = Field(None, ge=0)
    image_size: int | None = Field(None, ge=4)
    kmeans_seeds: int = Field(5, ge=1)
    baseline: Baseline | None = None
    prior: str | None = None
    views: int = Field(FEATURES["views"].default, ge=0)
    crop_scale: float = Field(FEATURES["crop_scale"].default, gt=0, le=1)
    flip: bool = FEATURES["flip"].default
    map_channels: int = Field(FEATURES["map_channels"].default, ge=1)
    map_side: int | None = Field(None, ge=1)
    backbone: Backbone = "resnet18"
    at: Place = "layer3"
    map: Map = HeadOptions.map
    branch: Branch = HeadOptions.branch
    jigsaw: Switch = HeadOptions.jigsaw
    mode: Mode = HeadOptions.mode
    combine: Combine = HeadOptions.combine
    n: int = Field(HeadOptions.n, ge=2, le=64)
    g: int = Field(HeadOptions.g, ge=1, le=1024)
    per_channel: bool = HeadOptions.per_channel
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(TrainingOptions.batch_size, ge=2)
    lr: float = Field(TrainingOptions.lr, gt=0)
    tau1: float = Field(TrainingOptions.tau1, gt=0)
    tau2: float = Field(TrainingOptions.tau2, gt=0)
    alpha: float = Field(TrainingOptions.alpha, ge=0)
    beta: float = Field(TrainingOptions.beta, ge=0)
    bank_momentum: float = Field(HeadOptions.bank_momentum, ge=0, lt=1)
    momentum: float = Field(TrainingOptions.momentum, ge=0, lt=1)
    weight_decay: float = Field(TrainingOptions.weight_decay, ge=0)
    dim: int = Field(HeadOptions.dim, ge=2, le=65536)
    precision: Precision = TrainingOptions.precision
    schedule: Schedule = TrainingOptions.schedule
    negatives: int | None = Field(TrainingOptions.negatives, ge=1)
    eval_every: int = Field(1, ge=1)
    seed: int = Field(TrainingOptions.seed, ge=0, lt=2**32)
    landscape: int = Field(0, ge=0)
    exemplars: int = Field(0, ge=0)
    snapshots: int = Field(0, ge=0)

    def relevant(self) -> dict:
        """Return the fields that the result depends on, in a fixed order."""
        default = {name: type(self).model_fields[name].default for name in OMITTED}
        names = [name for name in READS[self.method] if name not in default or getattr(self, name) != default[name]]
        return {name: getattr(self, name) for name in ("method", *names)}

    def identity(self) -> str:
        """Return 16 hexadecimal digits over :meth:`relevant`, the same for every version of the code."""
        return digest(self.relevant())

    def hash(self) -> str:
        """Return 16 hexadecimal digits over :meth:`relevant` and ``RESULTS_VERSION``."""
        return digest(self.relevant(), RESULTS_VERSION)

    def mistake(self) -> str | None:
        """Return what the method needs and these fields do not give, as half a sentence; None where all is well."""
        if self.method in CNNS and self.image_size is None:
            return f"method={self.method} needs the size of its images: add for example image_size=32"
        if self.method == "baseline" and self.baseline is None:
            return f"method=baseline needs one: add baseline={' or '.join(get_args(Baseline))}"
        if self.method != "baseline" and self.baseline is not None:
            return f"baseline={self.baseline} belongs to method=baseline, not to method={self.method}: leave it out"
        if self.method in ON_PRIOR and self.prior is None:
            return f"method={self.method} needs a prior: add for example prior=class-name"
        if self.method in ON_PRIOR and (self.image_size or 8) < 8:  # FeatureConfig's bound
            return f"image_size is {self.image_size}, but a prior needs 8 or more"
        if self.fold is not None and self.limit is None:
            return f"fold={self.fold} is one of the subsets of limit images: add for example limit=5000"
        if self.jigsaw == "dense" and self.per_channel:
            return "jigsaw=dense mixes channels, so no channel has weights of its own: leave per_channel off"
        if self.jigsaw in FIXED_JIGSAWS and (self.mode, self.combine, self.per_channel) != ("surround", "residual", False):
            return f"jigsaw={self.jigsaw} stands for mode=surround with combine=residual: leave mode, combine and per_channel"
        no_branch = self.method == "pgjr" and self.branch == "none"
        no_jigsaw = self.method == "idfd" or self.jigsaw in ("off", *FIXED_JIGSAWS) or no_branch
        if self.beta and no_jigsaw:
            return f"beta={self.beta} weights the jigsaw's own loss, but this run has no jigsaw that learns: leave beta at 0"
        if (info := SETS.get(self.dataset)) and self.split not in {*info.splits, "all"}:
            return f"{self.dataset} has no split {self.split}: use split={' or '.join(dict.fromkeys([*info.splits, 'all']))}"
        return None

    def options(self, kind: type, **others):
        """Return ``kind``, a dataclass of options, with this run's values of its fields."""
        names = [field.name for field in fields(kind) if field.name not in others]
        return kind(**{name: getattr(self, name) for name in names}, **others)

    def features(self) -> FeatureConfig | None:
        """Return the features that this run reads; None for methods that read pixels."""
        if self.method not in ON_PRIOR:
            return None
        names = set(FeatureConfig.model_fields) - {"seed"}  # the views do not depend on the run's seed
        return FeatureConfig(**{name: getattr(self, name) for name in names})


def digest(*parts) -> str:
    """Return 16 hexadecimal digits over JSON-like ``parts``."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
