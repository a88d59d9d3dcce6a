"""The book's machinery: from experiments.yaml to runs, records, verdicts and pages."""
