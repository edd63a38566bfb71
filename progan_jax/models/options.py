"""Options of a family: frozen dataclasses whose fields hold their allowed values.

A family's `Options` are the fields of `config.model`, its `LossOptions` those of
`config.loss`. Recipes, validation, snapshots and `init_from` all use these definitions.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Rule:
    """The allowed values of a field.

    Attributes:
      choices: The allowed values; () for no such limit.
      least: Smallest value; the value must also be finite.
      most: Largest value.
      above: Exclusive lower bound; the value must also be finite.
      below: Exclusive upper bound.
    """

    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def fault(self, value: Any) -> str | None:
        """Returns the rule that a value violates, and the fix; None if it is valid."""
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(map(str, self.choices))}; choose one"
        if self.above is not None and not self.above < value < math.inf:
            return f"must be above {self.above}; set a positive number"
        if self.below is not None:
            if not (self.least or 0) <= value < self.below:
                return (
                    f"must lie in [{self.least or 0}, {self.below}); choose such a "
                    "number"
                )
        elif self.least is not None and not value >= self.least:
            return f"must be at least {self.least}; raise it"
        if self.most is not None and value > self.most:
            return f"must be at most {self.most}; lower it"
        if self.least is not None and value == math.inf:
            return "must be finite; lower it"
        return None


def option(
    default: Any,
    *,
    of: str = "GD",
    younger: bool = False,
    free: bool = False,
    **rule: Any,
) -> Any:
    """Returns a field of a family's options.

    Args:
      default: The default value.
      of: Networks whose weights depend on the field: "G", "D", "GD" or "".
      younger: Whether stored options may lack the field because earlier versions did
        not have it; the default must be what those versions did.
      free: Whether a run may continue with another value.
      rule: Fields of `Rule`.
    """
    marks = {"younger": younger, "free": free}
    metadata = {"of": of, "rule": Rule(**rule), **marks}
    return dataclasses.field(default=default, metadata=metadata)


def marked_fields(kind: type[Any], mark: str) -> set[str]:
    """Returns the names of the fields that are "younger", or "free": see `option`."""
    return {f.name for f in dataclasses.fields(kind) if f.metadata[mark]}


def has_all(kind: type[Any], values: Mapping[str, Any]) -> bool:
    """Returns whether there is a value of each field."""
    return all(field.name in values for field in dataclasses.fields(kind))


def faults(kind: type[Any], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the name of each field with an invalid value, and the rule it violates."""
    for field in dataclasses.fields(kind):
        if fault := field.metadata["rule"].fault(values[field.name]):
            yield field.name, fault


def read_options(kind: type[Kind], stored: Mapping[str, Any]) -> Kind:
    """Returns options from stored fields; unknown names are ignored.

    Raises:
      KeyError: if a field that all versions have is missing.
    """
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    absent = marked_fields(kind, "younger") - set(stored)
    return kind(**{name: stored[name] for name in names if name not in absent})


def differences(
    ours: Kind, theirs: Kind, networks: str
) -> Iterator[tuple[str, Any, Any]]:
    """Yields name and both values of each differing option that affects the weights.

    Args:
      ours: Options of a run.
      theirs: Options of the networks that it starts from.
      networks: "G", "D" or "GD".
    """
    for field in dataclasses.fields(ours):  # type: ignore[arg-type]
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        if mine != other and set(field.metadata["of"]) & set(networks):
            yield field.name, mine, other
