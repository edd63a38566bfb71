"""The paper's experiments: from recipes to tables of our and the published values."""
