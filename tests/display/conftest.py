"""What is shown: generators of random weights, and a run."""

from tests.explored import make_generator
from tests.run_folder import run

__all__ = ["make_generator", "run"]
