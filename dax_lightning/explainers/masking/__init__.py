"""Methods that lay soft masks over an input: RISE, occlusion, HSIC, Sobol."""
