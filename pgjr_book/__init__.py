"""The book's machinery: from experiments.yaml to runs, records, verdicts and pages."""

import os
import sys
from pathlib import Path

# make, Snakemake, notebooks and shells share one cache, and so do the processes that they start
os.environ.setdefault("PGJR_CACHE", str(Path(__file__).resolve().parents[1] / "build" / "cache"))
# jsonschema does without it where it is missing; it checks addresses, which no notebook's format has, and takes seconds to import
sys.modules.setdefault("rfc3987_syntax", None)
