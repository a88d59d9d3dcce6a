# features -> runs -> notebooks -> book, over experiments.yaml. Snakemake decides what must be done; every
# result is found by its key, so the library is no input here: changed numbers show in RESULTS_VERSION.
import os
import sys

from pgjr_book import book as report, runs
from pgjr_lib.errors import PGJRError

PROFILE = config.get("profile", "embedded")
try:
    PLAN = runs.plan(PROFILE)
    NOTEBOOKS = [path.stem for path in report.toc_notebooks(runs.home())]
except PGJRError as error:
    sys.exit(f"error: {error}")

PYTHON = sys.executable
ROOT = os.path.relpath(runs.build_root(PROFILE))
relative = lambda paths: [os.path.relpath(path) for path in paths]
OWNERS = {name: found for name, found in PLAN.experiments.items() if found.own_record_paths}


def records_of(notebook):
    """The records that a notebook reads, so that it finds them made."""
    found = report.experiments_read(runs.home() / "notebooks" / f"{notebook}.ipynb", PLAN.experiments)
    return sorted({path for name in found for path in relative(PLAN.experiments[name].record_paths)})


rule book:
    input:
        notebooks=expand("{root}/notebooks/{name}.ipynb", root=ROOT, name=NOTEBOOKS),
        pages=[str(p) for p in sorted(Path("book").rglob("*")) if p.is_file() and p.parent.name != "__pycache__"],
        setup=["_config.yml", "_toc.yml"],
    output: f"{ROOT}/html/index.html"
    threads: 2
    message: f"building the book of profile {PROFILE}"
    shell: "{PYTHON} -m pgjr_book.book build --profile {PROFILE}"


rule notebook:
    input:
        source="notebooks/{name}.ipynb",
        records=lambda wildcards: records_of(wildcards.name),
    output: f"{ROOT}/notebooks/{{name}}.ipynb"
    threads: 1
    message: "executing {wildcards.name}"
    shell: "{PYTHON} -m pgjr_book.book notebook {wildcards.name} --profile {PROFILE}"


for folder in PLAN.features:
    rule:
        name: f"features_{folder.name}"
        output: f"{os.path.relpath(folder)}/manifest.json"
        params: key=folder.name
        threads: 2
        message: f"encoding features {folder.name}"
        # the folder is kept: finished chunks of a killed extraction are used again
        shell: "{PYTHON} -m pgjr_lib.cli extract --profile {PROFILE} --key {params.key}"


for name, found in OWNERS.items():
    rule:
        name: f"runs_{name}"
        # ancient: a record is found by its key, not by the age of its features
        input: [ancient(f"{os.path.relpath(folder)}/manifest.json") for folder in found.feature_dirs]
        # update: the records that exist already are kept while the missing ones are computed
        output: [update(path) for path in relative(found.own_record_paths)]
        params:
            experiment=name,
            threads=min(2, workflow.cores) if found.timed else 1,
            alone="" if found.timed else "--not-alone",
        threads: workflow.cores if found.timed else 1  # timed runs have the machine to themselves
        message: f"computing the missing runs of {name}"
        shell: "OMP_NUM_THREADS={params.threads} {PYTHON} -m pgjr_lib.cli run --profile {PROFILE} --experiment {params.experiment} --own {params.alone}"
