"""experiments.yaml, validated: profiles, experiments with their runs, and what each notebook reads."""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import Field, ValidationError

from pgjr_book.run_config import CNNS, EXTRAS, Method, RunConfig, Strict
from pgjr_lib.data.sets import SETS, Split
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import FeatureConfig
from pgjr_lib.storage import parse_yaml

FILE = "experiments.yaml"
# the methods that depend on a seed, and which number of seeds
SEEDED = {"baseline": "head", "pgjr": "head"} | dict.fromkeys(CNNS, "cnn")


class SetChoice(Strict):
    """A data set as a profile uses it.

    ``dataset`` is the set's name where the entry has another one; ``cnn`` holds the settings of IDFD and GJR on it. With
    ``folds``, every seed sees another of so many disjoint random subsets of ``limit`` images.
    """

    dataset: str | None = None
    split: Split = "test"
    limit: int | None = Field(None, ge=2)
    folds: int | None = Field(None, ge=2)
    cnn: dict[str, object] = {}


class PriorChoice(Strict):
    """A prior that experiments compare: how pages call it, and what its runs have in common."""

    label: str
    run: dict[str, object]


class Rates(Strict):
    """Images a second: CNNs that train, priors that encode, heads that train."""

    cnn: float = Field(gt=0)
    prior: float = Field(gt=0)
    head: float = Field(gt=0)


class Card(Strict):
    """What a plan assumes of a machine: rates with ResNet-18 at 32x32 and ViT-B/32, where they come from, and runs side by side."""

    about: str
    source: str
    rates: Rates
    scoring_s: float = Field(ge=0)  # seconds of scoring a run
    jobs: int = Field(1, ge=1)


class Profile(Strict):
    """The sizes, sets, priors and seeds of one way to make the book.

    ``priors`` names those of the manifest's priors that its experiments compare. A profile ``like`` another is that one
    with one other prior, without the sets whose labels this prior saw. Pages name the ``series`` beside every set. A profile
    that ``needs_gpu`` runs on a processor only where that is asked for. Beside its own runs a profile shows the committed records of
    others, ``also``; its own then carry the words ``made_here`` in the place of a series.
    """

    about: str
    like: str | None = None
    prior: str | None = None
    series: str = ""
    needs_gpu: bool = False
    also: list[str] = []
    made_here: str = ""
    sets: dict[str, SetChoice] = {}
    seeds: dict[Literal["head", "cnn"], int] = {}
    priors: list[str] = []
    common: dict[str, object] = {}
    methods: dict[Method, dict[str, object]] = {}
    rates: Rates | None = None
    records: list[str] = []  # profiles whose committed records this one renders; such a profile trains nothing


class Variant(Strict):
    """One row of an experiment: how pages call it, and the settings of its runs.

    A point of a sensitivity panel has ``panel`` and ``value``, and its label reads "panel = value". A variant with ``priors``
    stands for one variant with each of them, "<prior>/<variant>"; those that the profile does not name are left out. Without
    ``seeds`` it has as many as its experiment; ``sets`` names, for some profiles, the only sets that it is run on.
    """

    label: str = ""
    panel: str | None = None
    value: int | float | str | None = None
    priors: list[str] = []
    seeds: int | None = Field(None, ge=1)
    sets: dict[str, list[str]] = {}
    run: dict[str, object]

    def name(self) -> str:
        """Return the label that pages show."""
        return self.label or f"{self.panel} = {self.value}"


class ExperimentEntry(Strict):
    """One item of the book and the variants it compares."""

    item: str
    title: str
    sets: dict[str, list[str]] = {}  # profile -> the sets used there; every set of the profile where absent
    seeds: dict[str, int] = {}  # profile -> number of seeds, where it differs from the profile's
    first_seed: int = 100  # smaller seeds choose settings, so that no run that is judged has seen the labels before
    timed: bool = False  # pages show its seconds, so its runs have the machine to themselves
    optional: bool = False  # left out where its priors cannot be had
    variants: dict[str, Variant]


class Manifest(Strict):
    """The whole of experiments.yaml."""

    methods: dict[Method, dict[str, object]]
    priors: dict[str, PriorChoice] = {}
    cards: dict[str, Card] = {}
    profiles: dict[str, Profile]
    notebooks: dict[str, list[str] | Literal["all"]]
    experiments: dict[str, ExperimentEntry]

    def reads(self, notebook: str) -> list[str]:
        """Return the experiments that a notebook reads, in the manifest's order for ``all``.

        Raises:
            PGJRError: the manifest does not name the notebook.
        """
        names = known(self.notebooks, notebook, "notebook", f"{FILE}: ")
        return list(self.experiments) if names == "all" else names


@dataclass(frozen=True)
class VariantRun:
    """One run of an experiment: the id and display of its variant, its configuration, and the series of its profile."""

    variant: str
    label: str
    panel: str | None
    value: int | float | str | None
    config: RunConfig
    series: str = ""

    def described(self, record: dict, series: str | None = None) -> dict:
        """Return ``record`` with the variant's id, label, panel and value, and the profile's series or another."""
        return {**record, "variant": self.variant, "label": self.label, "panel": self.panel, "value": self.value,
                "series": self.series if series is None else series}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """One experiment in one profile."""

    name: str
    item: str
    title: str
    timed: bool
    optional: bool
    runs: list[VariantRun]


def home() -> Path:
    """Return the folder with experiments.yaml: the current folder or one above it, else the code's own checkout.

    Raises:
        PGJRError: there is none.
    """
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[1]):
        if (folder / FILE).is_file():
            return folder
    raise PGJRError(f"{FILE} was not found in {Path.cwd()} or above it: change into a clone of the repository.")


def load_manifest(path: Path | None = None) -> Manifest:
    """Read and validate the manifest. Every run of every profile is checked at once.

    Raises:
        PGJRError: no YAML, an unknown or repeated key, a wrong type, or a name that does not exist.
    """
    path = path or home() / FILE
    return _manifest(path.read_bytes(), path)


@lru_cache(maxsize=2)  # a page asks for it once an experiment
def _manifest(text: bytes, path: Path) -> Manifest:
    manifest = validated(Manifest, parse_yaml(text, path.name), path.name)
    manifest = manifest.model_copy(update={"profiles": {n: _whole(manifest, n, path) for n in manifest.profiles}})
    for name, profile in manifest.profiles.items():
        for prior in profile.priors:
            known(manifest.priors, prior, "prior", f"{path.name}: profiles.{name}.priors: ")
        place = f"{path.name}: profiles.{name}: "
        for source in (*profile.records, *profile.also):
            if known(manifest.profiles, source, "profile", place).records:
                raise PGJRError(f"{place}{source} renders records itself: name a profile that trains.")
    for notebook, names in manifest.notebooks.items():
        for name in names if names != "all" else ():
            known(manifest.experiments, name, "experiment", f"{path.name}: notebooks.{notebook}: ")
    for name, entry in manifest.experiments.items():
        for profile in (*entry.sets, *entry.seeds):
            known(manifest.profiles, profile, "profile", f"{path.name}: experiments.{name}: ")
        for variant, point in entry.variants.items():
            if not point.label and (point.panel is None or point.value is None):
                raise PGJRError(f"{path.name}: experiments.{name}.variants.{variant} needs a label, or panel and value: add it.")
            place = f"{path.name}: experiments.{name}.variants.{variant}: "
            for prior in point.priors:
                known(manifest.priors, prior, "prior", place)
            for profile in point.sets:
                known(manifest.profiles, profile, "profile", place)
        for profile in manifest.profiles:
            variant_runs(manifest, profile, name)
    return manifest


def _whole(manifest: Manifest, name: str, path: Path) -> Profile:
    """Return a profile with what it takes from the one it is like, and pGJR's settings on its own prior."""
    profile, place = manifest.profiles[name], f"{path.name}: profiles.{name}"
    if profile.like is None:
        return profile
    base = known(manifest.profiles, profile.like, "profile", f"{place}.like: ")
    if profile.prior is None or base.like:
        raise PGJRError(f"{place} is like {profile.like}: name its prior, and a profile that is like no other.")
    choice = known(manifest.priors, profile.prior, "prior", f"{place}.prior: ")
    prior = str(choice.run.get("prior"))
    sets = {n: s for n, s in base.sets.items() if prior not in (SETS[s.dataset or n].seen_by if (s.dataset or n) in SETS else ())}
    if extra := profile.model_fields_set - {"about", "like", "prior"}:
        raise PGJRError(f"{place} is like {profile.like}: leave {min(extra)} out, or write a profile of its own.")
    common, head = {**base.common, "prior": prior}, {**base.methods.get("pgjr", {}), **choice.run}
    features = {name: value for name, value in choice.run.items() if name in FeatureConfig.model_fields}
    methods = {**base.methods, "pgjr": head, "prior": {**base.methods.get("prior", {}), **features}}
    update = {"about": profile.about, "like": profile.like, "prior": profile.prior, "series": "", "sets": sets,
              "priors": [profile.prior], "common": common, "methods": methods}  # fmt: skip
    return base.model_copy(update=update)


def experiment(manifest: Manifest, profile: str, name: str) -> Experiment:
    """Return one experiment of a profile with its runs, without looking at any data.

    Raises:
        PGJRError: no such profile or experiment.
    """
    known(manifest.profiles, profile, "profile")
    entry = known(manifest.experiments, name, "experiment")
    runs = variant_runs(manifest, profile, name)
    return Experiment(name, entry.item, entry.title, entry.timed, entry.optional, runs)


def variant_runs(manifest: Manifest, profile: str, name: str) -> list[VariantRun]:
    """Return the runs of one experiment in one profile: sets, variants and seeds.

    Raises:
        PGJRError: settings that no run can have, with the variant that has them.
    """
    settings, entry, runs = manifest.profiles[profile], manifest.experiments[name], []
    for source in settings.records:
        runs += variant_runs(manifest, source, name)
    key = settings.like or profile  # the name under which experiments list sets and seeds
    for set_name in entry.sets.get(key, settings.sets):
        if set_name not in settings.sets:
            if settings.like and set_name in manifest.profiles[settings.like].sets:
                continue  # its prior saw the labels
            hint = hint_for(set_name, settings.sets)
            raise PGJRError(f"{FILE}: experiments.{name}.sets.{profile} names {set_name}, which profile {profile} lacks{hint}")
        for variant, point in _with_priors(manifest, settings, entry).items():
            if set_name not in point.sets.get(key, [set_name]):
                continue
            place = f"{FILE}: experiments.{name}.variants.{variant} (profile {profile})"
            values = _settings(manifest, settings, set_name, point.run)
            kind = SEEDED.get(values.get("method"))
            folds = settings.sets[set_name].folds
            # without folds, a method without a seed gives the same in every run
            count = entry.seeds.get(key, settings.seeds.get(kind or "head", 1)) if kind or folds else 1
            count = min(count, point.seeds or count)
            for seed in range(entry.first_seed, entry.first_seed + count):
                seeding = {"seed": seed} if kind or folds else {}
                seeding |= {"fold": seed % folds} if folds else {}
                seeding |= dict.fromkeys(EXTRAS, 0) if seed > entry.first_seed else {}  # the first seed's are enough
                config = validated(RunConfig, {**values, **seeding}, place)
                if ":" not in config.dataset:  # else a folder of the user's own
                    known(SETS, config.dataset, "data set", f"{place}: ")
                runs.append(VariantRun(variant, point.name(), point.panel, point.value, config, settings.series))
    return runs


def _with_priors(manifest: Manifest, profile: Profile, entry: ExperimentEntry) -> dict[str, Variant]:
    """Return the variants of an experiment in a profile by id, each with one prior at most."""
    variants: dict[str, Variant] = {}
    for name, point in entry.variants.items():
        if not point.priors:
            variants[name] = point
        for prior in point.priors:
            if prior in profile.priors:
                choice = manifest.priors[prior]
                update = {"label": f"{point.name()}, {choice.label}", "run": {**choice.run, **point.run}, "priors": []}
                variants[f"{prior}/{name}"] = point.model_copy(update=update)
    return variants


def _settings(manifest: Manifest, profile: Profile, set_name: str, run: dict) -> dict:
    """Return the settings of a variant on a set: the later of these layers wins."""
    method, choice = run.get("method"), profile.sets[set_name]
    values = {
        **manifest.methods.get(method, {}),
        **choice.model_dump(exclude={"cnn", "folds"}),
        "dataset": choice.dataset or set_name,
        **profile.common,
        **profile.methods.get(method, {}),
        **(choice.cnn if method in CNNS else {}),
        **run,
    }
    if "$prior" in str(values.get("prior")):  # a control may wrap the profile's prior
        values["prior"] = values["prior"].replace("$prior", str(profile.common.get("prior")))
    return values


def validated(model: type[Strict], raw, where: str) -> Strict:
    """Return ``model`` made from ``raw``.

    Raises:
        PGJRError: the first mistake, with its place in ``where`` and the names that exist.
    """
    try:
        instance = model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "[key]")
        if first["type"] == "extra_forbidden":
            hint = hint_for(first["loc"][-1], _model_at(model, first["loc"]).model_fields)
            raise PGJRError(f"{where}: unknown key {place}{hint}") from None
        if first["type"] == "missing":
            raise PGJRError(f"{where}: {place} is missing: add it.") from None
        raise PGJRError(f"{where}: {place or 'the file'} is {first['input']!r}, but: {first['msg']}.") from None
    if isinstance(instance, RunConfig) and (mistake := instance.mistake()):
        raise PGJRError(f"{where}: {mistake}.")
    return instance


def _model_at(model: type[Strict], place: tuple) -> type[Strict]:
    """Return the model that the last key of ``place`` belongs to, through fields and dicts of models."""
    parts = iter(place[:-1])
    for part in parts:
        model = model.model_fields[part].annotation
        if get_origin(model) is dict:
            model, _ = get_args(model)[1], next(parts)
    return model


def hint_for(name, names) -> str:
    """Return the end of a sentence about an unknown name: the names that are near it, or all."""
    near = get_close_matches(str(name), names, 3, 0.5)
    return f": did you mean {' or '.join(near)}?" if near else f": known are {', '.join(names)}."


def known(table: dict, name: str, what: str, where: str = ""):
    """Return ``table[name]``; PGJRError names what does not exist and what is near it."""
    if name not in table:
        raise PGJRError(f"{where}there is no {what} {name!r}{hint_for(name, table)}")
    return table[name]
