"""Films of a run: through its latents, and through its training."""
