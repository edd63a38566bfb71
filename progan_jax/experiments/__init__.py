"""The paper's experiments: recipes to a table with the published numbers beside."""
