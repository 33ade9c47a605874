"""REPORT: rows become tables and curves, maps become pictures, and all of it one HTML page that needs no network."""

from dax_lightning.report.curves import draw_curves
from dax_lightning.report.page import write_report
from dax_lightning.report.panel import draw_panel
from dax_lightning.report.summary import write_summary

__all__ = ["draw_curves", "draw_panel", "write_report", "write_summary"]
