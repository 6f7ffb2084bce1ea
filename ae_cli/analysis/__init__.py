"""How good a model is, and which images are unlike its training images."""
