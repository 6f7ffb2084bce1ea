"""Train an autoencoder on images, and see what it learned."""

__version__ = "0.1.0"
