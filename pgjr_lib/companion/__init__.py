"""What only the book needs: runs, provenance, claims, tables, figures, pretraining and the report."""
