"""Hold every fact about every named image set, in one table.

Other modules look a set up in :data:`SETS` and keep no facts of their own. Nothing here imports torch or numpy.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Split = Literal["train", "test", "all"]  # all: train, then test
SPLITS = get_args(Split)

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
IMAGENET10 = ("n02056570", "n02085936", "n02128757", "n02690373", "n02692877", "n03095699", "n04254680", "n04285008",
              "n04467665", "n07747607")  # fmt: skip
IMAGENET_DOGS = ("n02085936", "n02086646", "n02088238", "n02091467", "n02097130", "n02099601", "n02101388",
                 "n02101556", "n02102177", "n02105056", "n02105412", "n02105855", "n02107142", "n02110958",
                 "n02112137")  # fmt: skip
CIFAR100_SUPERCLASSES = {  # in the order of their labels, with their fine classes (Krizhevsky, 2009)
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
SUPERCLASS_OF = {fine: coarse for coarse, names in CIFAR100_SUPERCLASSES.items() for fine in names}
CIFAR20 = tuple(CIFAR100_SUPERCLASSES)
PIECES = ("abcd", "abdc", "acbd", "acdb", "adbc", "adcb")  # each name spells the arrangement of its class

MARKS = {  # what a mark beside a set's name means in tables
    "†": "development set: its labels were seen while settings were chosen.",
    "‡": "its labels scored early trials, which gave the starting settings, and compared priors; later choices did not use them.",
}


@dataclass(frozen=True, kw_only=True)
class SetInfo:
    """Facts about one named set.

    Attributes:
        title: its name as the field writes it.
        classes: number of classes.
        class_names: sorted names of all classes; empty where only the published files list them (Tiny-ImageNet).
        side: side of its square images in pixels; None where images differ in size.
        splits: names of its splits (of ``SPLITS``), in the order in which ``all`` joins them.
        counts: number of official images in each of ``splits``.
        lossless: the official images are raw pixels, so any lossy file is a re-encoding.
        download: how to get the set, as the end of a sentence.
        licence: the terms of its images, in short, as far as they are known.
        layouts: folders in which the set is published, relative to the data root.
        paper: the paper reports results on this set.
        generated: this library draws the images.
        seen_by: names of the priors whose training used labels of the set's classes.
        images_from: a larger set that its images were taken from, else "". A prior trained on that one saw them.
        mark: key into ``MARKS`` where labels were looked at before the final runs, else "".
    """

    title: str
    classes: int
    class_names: tuple[str, ...] = ()
    side: int | None
    splits: tuple[Split, ...]
    counts: tuple[int, ...]
    lossless: bool
    download: str
    licence: str
    layouts: tuple[str, ...] = ()
    paper: bool = False
    generated: bool = False
    seen_by: tuple[str, ...] = ()
    images_from: str = ""
    mark: str = ""

    def count(self, split: Split) -> int:
        """Return the number of official images in ``split``; 0 where the set has no such split."""
        return sum(n for part, n in zip(self.splits, self.counts, strict=True) if split in (part, "all"))


_TRAIN_TEST = ("train", "test")
_CIFAR = "www.cs.toronto.edu/~kriz/cifar.html"
_CIFAR_LICENCE = "no licence stated; cite Krizhevsky 2009"
_IMAGENET_LICENCE = "ImageNet terms of access, non-commercial research"
_GENERATED = {
    "classes": 6, "class_names": PIECES, "side": 32, "splits": ("all",), "counts": (1200,), "lossless": True,
    "download": "it is generated", "licence": "MIT, as this project", "generated": True,
}  # fmt: skip

SETS = {
    "digits": SetInfo(
        title="digits",
        classes=10,
        class_names=tuple("0123456789"),
        side=8,
        splits=("all",),
        counts=(1797,),
        lossless=True,
        download="it comes with scikit-learn",
        licence="BSD 3-Clause, with scikit-learn",
        mark="†",
    ),
    "pieces": SetInfo(title="pieces", **_GENERATED),
    "pieces-hard": SetInfo(title="hard pieces", **_GENERATED),
    "cifar10": SetInfo(
        title="CIFAR-10",
        classes=10,
        class_names=CIFAR10,
        side=32,
        splits=_TRAIN_TEST,
        counts=(50_000, 10_000),
        lossless=True,
        download=f"`pgjr fetch cifar10`, or unpack cifar-10-python.tar.gz of {_CIFAR} there",
        licence=_CIFAR_LICENCE,
        layouts=("cifar-10-batches-py", "cifar-10-batches-bin"),
        paper=True,
        mark="‡",
    ),
    "cifar20": SetInfo(
        title="CIFAR-100/20",
        classes=20,
        class_names=CIFAR20,
        side=32,
        splits=_TRAIN_TEST,
        counts=(50_000, 10_000),
        lossless=True,
        download=f"`pgjr fetch cifar20`, or unpack cifar-100-python.tar.gz of {_CIFAR} there (it is CIFAR-100 by superclass)",
        licence=_CIFAR_LICENCE,
        layouts=("cifar-100-python", "cifar-100-binary", "cifar100"),
        paper=True,
    ),
    "stl10": SetInfo(
        title="STL-10",
        classes=10,
        class_names=STL10,
        side=96,
        splits=_TRAIN_TEST,
        counts=(5_000, 8_000),
        lossless=True,
        download="`pgjr fetch stl10`, or unpack stl10_binary.tar.gz of https://cs.stanford.edu/~acoates/stl10/ there",
        licence="no licence stated; images from ImageNet",
        layouts=("stl10_binary",),
        paper=True,
        images_from="ImageNet",
        mark="†",
    ),
    "imagenet-10": SetInfo(
        title="ImageNet-10",
        classes=10,
        class_names=IMAGENET10,
        side=None,
        splits=_TRAIN_TEST,
        counts=(13_000, 500),
        lossless=False,
        download="`pgjr fetch imagenet-10` says how to copy its 10 classes from your ImageNet (https://image-net.org)",
        licence=_IMAGENET_LICENCE,
        layouts=("imagenet/train", "imagenet/val"),
        paper=True,
        seen_by=("class-name", "imagenet-labels"),
    ),
    "imagenet-dogs": SetInfo(
        title="ImageNet-Dogs",
        classes=15,
        class_names=IMAGENET_DOGS,
        side=None,
        splits=_TRAIN_TEST,
        counts=(19_500, 750),
        lossless=False,
        download="`pgjr fetch imagenet-dogs` says how to copy its 15 classes from your ImageNet (https://image-net.org)",
        licence=_IMAGENET_LICENCE,
        layouts=("imagenet/train", "imagenet/val"),
        paper=True,
        seen_by=("class-name", "imagenet-labels"),
    ),
    "tiny-imagenet": SetInfo(
        title="Tiny-ImageNet",
        classes=200,
        side=64,
        splits=_TRAIN_TEST,
        counts=(100_000, 10_000),
        lossless=False,
        download="`pgjr fetch tiny-imagenet`, or unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip there",
        licence=_IMAGENET_LICENCE,
        layouts=("tiny-imagenet-200",),
        paper=True,
        seen_by=("class-name", "imagenet-labels"),
    ),
}

PAPER_SETS = tuple(name for name, info in SETS.items() if info.paper)
