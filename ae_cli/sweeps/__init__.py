"""Training several models, to find out how many latents are enough."""
