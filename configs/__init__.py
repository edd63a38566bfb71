"""The recipes, imported as progan_jax.configs: each get_config() returns one."""
