"""A simple model of the answers: LIME, a forest, greedy search, students."""
