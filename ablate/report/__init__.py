"""What is written out: tables, their renderings, figures, and the report in one file. Knows no statistics."""
