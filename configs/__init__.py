"""Recipes, imported as progan_jax.configs: each module has a get_config()."""
