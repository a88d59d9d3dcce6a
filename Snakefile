# features -> runs -> notebooks -> book, over experiments.yaml. Snakemake decides what must be done. Reading this file
# fetches nothing and imports no torch. Every result is found by its key, so the code is no input here: a change of
# results shows in RESULTS_VERSION.
import os
import sys

from pgjr_book import hour, make, manifest, toc
from pgjr_lib.errors import PGJRError

PROFILE, DEVICE = config.get("profile", "embedded"), config.get("device")
SHARDS = int(config.get("shards", 1))  # jobs that encode a feature folder, on one machine or on several
# jobs run on other machines than this one, which need not have their GPU, and beside jobs of other people: each seed
# of an experiment is a job, a job takes one core unless Snakemake is told otherwise, and no seconds count
CLUSTER = bool(config.get("cluster", False))
try:
    EXPERIMENTS, PLAN = manifest.load_manifest(), make.plan(PROFILE)
    NOTEBOOKS = [path.stem for path in toc.toc_notebooks(manifest.home())]
    READS = {name: EXPERIMENTS.reads(name) for name in NOTEBOOKS}
    PLAN.refuse_incomplete()
    if not CLUSTER and any(not path.exists() for entry in PLAN.experiments.values() for path in entry.own):
        hour.check_machine(PROFILE, DEVICE)
    # the rates of a profile's own device; on another one nobody knows
    RATES = None if DEVICE else EXPERIMENTS.profiles[PROFILE].rates
    ENCODING_HOURS = make.cost(PLAN).encoding_hours if RATES else None  # of all features of the profile
    GPU = EXPERIMENTS.profiles[PROFILE].needs_gpu and DEVICE != "cpu"
except PGJRError as error:
    sys.exit(f"error: {error}")

PYTHON = sys.executable
ON_DEVICE = f"--device {DEVICE}" if DEVICE else ""
ROOT = os.path.relpath(make.build_root(PROFILE))
MEASURED = ("performance", "scale")  # notebooks that read the results of the benchmarks
CORES = 1 if CLUSTER else workflow.cores  # of a job that has its machine to itself
MEMORY = int(1000 * hour.MEMORY_GB)  # MB that a job may take
DAY = 24 * 60


def minutes(hours):
    """Return the minutes that a queue may stop a job after. A stopped job resumes, so a day is enough for any."""
    return DAY if hours is None else max(30, min(DAY, round(2 * 60 * hours)))


def jobs_of(entry):
    """Split the runs that an experiment computes itself into jobs: (seed or None for all, its runs and their records)."""
    own = {run: path for run, path in entry.paths.items() if path in entry.own}
    if not CLUSTER:
        return [(None, own)] if own else []
    seeds = sorted({run.seed for run in own})
    return [(seed, {run: path for run, path in own.items() if run.seed == seed}) for seed in seeds]


def relative(paths):
    return sorted({os.path.relpath(path) for path in paths})


rule book:
    input:
        notebooks=expand("{root}/notebooks/{name}.ipynb", root=ROOT, name=NOTEBOOKS),
        pages=[str(p) for p in sorted(Path("book").rglob("*")) if p.is_file() and p.parent.name != "__pycache__"],
        setup=["_config.yml", "_toc.yml"],
    output: f"{ROOT}/html/index.html"
    threads: min(2, CORES)
    resources: mem_mb=MEMORY, runtime=60
    message: f"building the book of profile {PROFILE}"
    shell: "{PYTHON} -m pgjr_book build --profile {PROFILE}"


rule notebook:
    input:
        source="notebooks/{name}.ipynb",
        records=lambda wildcards: relative(
            p for n in READS[wildcards.name] for p in [*PLAN.experiments[n].paths.values(), *PLAN.experiments[n].committed]
        ),
        measured=lambda wildcards: sorted(Path("benchmarks/results").glob("*.json")) if wildcards.name in MEASURED else [],
    output: f"{ROOT}/notebooks/{{name}}.ipynb"
    threads: 1
    resources: mem_mb=MEMORY, runtime=60
    params: more=lambda wildcards: "-p compute false" if wildcards.name == "run-on-a-gpu" else ""  # the book has its own runs
    message: "executing {wildcards.name}"
    shell: "{PYTHON} -m pgjr_book notebook {wildcards.name} --profile {PROFILE} {params.more}"


def encoding(path):
    """Name a feature folder with its views, as the rules that make it are named."""
    return f"{path.parent.name}_{path.stem.rpartition('-')[2]}"


def shards_of(path):
    """Return the marks of the finished shards of a feature folder; none where one job encodes it."""
    return [f"{ROOT}/shards/{encoding(path)}-{i}-of-{SHARDS}" for i in range(SHARDS)] if SHARDS > 1 else []


for path in PLAN.features:
    for number, mark in enumerate(shards_of(path)):
        rule:
            name: f"shard_{encoding(path)}_{number}"
            output: touch(mark)
            params:
                key=f"{path.parent.name}/{path.stem}",
                shard=f"{number}/{SHARDS}",
            threads: 1
            priority: 1000
            resources: gpu=int(GPU), mem_mb=MEMORY, runtime=minutes(ENCODING_HOURS)
            message: f"encoding shard {number} of features {path.parent.name}"
            shell:
                "OMP_NUM_THREADS={threads} {PYTHON} -m pgjr_book features --profile {PROFILE} --key {params.key}"
                " --shard {params.shard} {ON_DEVICE}"


for path in PLAN.features:
    rule:
        name: f"features_{encoding(path)}"
        # of shards, this gathers the chunks; their bytes are those that one job with as many threads makes
        input: shards_of(path)
        output: os.path.relpath(path)
        params:
            key=f"{path.parent.name}/{path.stem}",
            alone="" if SHARDS > 1 or CLUSTER else "--alone",
            # on one machine, all of its cores
            environment=lambda wildcards, threads: f"OMP_NUM_THREADS={threads}" if CLUSTER else "",
        threads: CORES  # alone on the machine: the seconds of encoding count as well as those of training
        priority: 1000  # what needs all cores comes first, so that no core waits for it
        resources: gpu=int(GPU), mem_mb=MEMORY, runtime=minutes(ENCODING_HOURS)
        message: f"encoding features {path.parent.name}"
        # Snakemake keeps the folder, so that a killed extraction resumes from its finished chunks
        shell:
            "{params.environment} {PYTHON} -m pgjr_book features --profile {PROFILE} --key {params.key}"
            " {params.alone} {ON_DEVICE}"


for name, entry in PLAN.experiments.items():
    for seed, runs in jobs_of(entry):
        rule:
            name: f"runs_{name}" if seed is None else f"runs_{name}_{seed}"
            # ancient: a record is found by its key, not by the age of its features
            input: [ancient(os.path.relpath(path)) for path in entry.features]
            # update: the records that exist already are kept while the missing ones are computed
            output: [update(path) for path in relative(runs.values())]
            params:
                experiment=name,
                seed="" if seed is None else f"--seed {seed}",
                threads=lambda wildcards, threads: threads if CLUSTER else min(2, threads),
                alone="" if entry.experiment.timed and not CLUSTER else "--not-alone",
            threads: CORES if entry.experiment.timed else 1  # timed runs have the machine to themselves
            resources:
                gpu=int(GPU),  # one job at a time has the GPU, unless Snakemake is told of more
                mem_mb=MEMORY,
                runtime=minutes(sum(make.run_hours(run, RATES) for run in runs) if RATES else None),
            priority: 1000 if entry.experiment.timed else 50  # more than all the jobs of one core that could go in its place
            message: f"computing the missing runs of {name}" + ("" if seed is None else f", seed {seed}")
            shell:
                "OMP_NUM_THREADS={params.threads} {PYTHON} -m pgjr_book run --profile {PROFILE}"
                " --only {params.experiment} {params.seed} --own {params.alone} {ON_DEVICE}"
