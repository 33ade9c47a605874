"""Shapley values of segments."""
