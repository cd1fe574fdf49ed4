"""Tests of ablate.report."""
