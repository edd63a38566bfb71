"""The form of a paper's table: a recipe and published values for each row."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Row:
    """One recipe of a table.

    Attributes:
      name: The paper's, such as "e*".
      title: What the recipe changes.
      config: Its file and argument, as --config takes them.
      published: Values by name; a tuple is a mean and its deviation.
    """

    name: str
    title: str
    config: str
    published: Mapping[str, float | tuple[float, float]]


@dataclass(frozen=True)
class Table:
    """An experiment of the paper.

    Attributes:
      title: Says what is compared.
      source: Publication of the values.
      metrics: Those of --mode=eval, of all snapshots.
      columns: Names of the metrics' values.
      best: The value that chooses a run's snapshot.
      fallback: The value that does so where the weights for `best` are missing.
      num_runs: Number of seeds of each row in the paper.
      rows: The recipes.
      at_best: Metrics of the best snapshot alone, which take long.
      others: Published rows of other methods, which are not run: values by title.
    """

    title: str
    source: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    best: str
    fallback: str
    num_runs: int
    rows: tuple[Row, ...]
    at_best: tuple[str, ...] = ()
    others: Mapping[str, Mapping[str, float | tuple[float, float]]] = field(
        default_factory=dict
    )

    @property
    def all_metrics(self) -> tuple[str, ...]:
        """Those of all snapshots, and those of the best ones."""
        return (*self.metrics, *self.at_best)

    def at_tap(self, tap: str) -> "Table":
        """Returns the table with Fréchet distances of another tap of Inception.

        They then have another name, and no published values.
        """
        if tap == "2048":
            return self
        other = {"fid": f"fid_{tap}"}
        columns = tuple(other.get(c, c) for c in self.columns)
        return replace(self, columns=columns, best=other.get(self.best, self.best))
