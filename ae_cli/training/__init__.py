"""Images and a model → a trained model."""
