"""Numbers in, tables, figures, cards and sentences out: the only place that formats."""
