"""THE QUESTION: which segments stay, and what the model answers."""
