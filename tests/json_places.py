"""The places of values within JSON, for tests that damage each of them."""


def places(value, path=()):
    """Yields the keys that lead to each value within a JSON value."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, below in inner:
            yield (*path, key)
            yield from places(below, (*path, key))
