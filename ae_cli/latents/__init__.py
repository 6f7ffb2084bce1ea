"""A trained model and images → a table of latents, and latents → images."""
