"""Distillation aided explainability (DAX): explain one prediction of a model that can only be queried."""
