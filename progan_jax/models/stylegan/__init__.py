"""StyleGAN (Karras et al. 2019)."""
