"""Methods that look inside a torch module: gradients and class activation maps."""
