"""Readers: results that others wrote, as one tidy frame: tables, studies, loggers, trackers, benchmarks."""
