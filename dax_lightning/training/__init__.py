"""Trainings of models that the project brings."""
