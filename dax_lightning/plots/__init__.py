"""Maps, curves and panels: figures without HTML."""
