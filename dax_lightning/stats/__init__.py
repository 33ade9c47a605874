"""Intervals and paired tests: tables without HTML."""
