"""A trained generator on a local page: samples, ways between them, and edits."""
