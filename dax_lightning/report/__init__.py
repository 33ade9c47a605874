"""REPORT: rows and figures become one HTML page that needs no network."""

from dax_lightning.report.page import write_report
from dax_lightning.report.summary import write_summary

__all__ = ["write_report", "write_summary"]
