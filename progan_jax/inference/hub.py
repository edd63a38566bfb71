"""The Hugging Face Hub: repositories by address, hf://USER/NAME or with @REVISION.

`huggingface_hub` is imported when it is needed; the extra "hub" brings it.
"""

import re
from pathlib import Path
from types import ModuleType

from progan_jax.errors import UserError
from progan_jax.inference.snapshot import CARRIES, INFO, TRAINED, WEIGHTS, read_info

SCHEME = "hf://"

CARD = "README.md"

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


def parse_address(field: str, address: str) -> tuple[str, str | None]:
    """Returns the repository, USER/NAME, and the revision, None for the default.

    Args:
      field: By which the user gave the address, for the message.
      address: hf://USER/NAME[@REVISION].

    Raises:
      UserError: if it has another form.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UserError(
            f"{field}={address}: it must be hf://USER/NAME, or hf://USER/NAME@REVISION "
            "to download; other addresses are not opened: download it and name the "
            "file or folder"
        )
    return match[1], match[2]


def download(field: str, address: str, with_trained: bool = False) -> Path:
    """Returns the folder of a repository's snapshot, in the Hub's own cache.

    The weights of a generator, their description and the card are fetched, where the
    cache has not got them; without a network it serves.

    Args:
      field: By which the user gave the address, for the messages.
      address: hf://USER/NAME[@REVISION].
      with_trained: Whether G and D of its training are fetched, too, if it has them.

    Raises:
      UserError: if the address is at fault, the library is not installed, the Hub
        cannot be reached, or it has no such snapshot.
    """
    repository, revision = parse_address(field, address)
    hub = _library(field, address)
    wanted = [INFO, WEIGHTS["G"], CARD, *(TRAINED.values() if with_trained else ())]
    try:
        folder = hub.snapshot_download(
            repository, revision=revision, allow_patterns=wanted
        )
    except Exception as error:  # Besides its own, those of the HTTP library it uses.
        raise _explained(field, address, error) from error
    if not (Path(folder) / INFO).is_file():
        raise UserError(
            f"{field}={address}: the repository holds no {INFO}; name one that "
            "progan_jax.tools.publish has written"
        )
    # Without a network the library gives what an earlier call has fetched.
    missing = [
        name for name in _promised(Path(folder), with_trained) if not name.exists()
    ]
    if missing:
        raise UserError(
            f"{field}={address}: {missing[0].name} is neither in the Hub's cache nor "
            "to be had from the Hub; check the network and try again"
        )
    return Path(folder)


def _promised(folder: Path, with_trained: bool) -> list[Path]:
    """Returns the weights that a snapshot's folder should have."""
    carried = with_trained and read_info(folder).get(CARRIES)
    names = [WEIGHTS["G"], *(TRAINED.values() if carried else ())]
    return [folder / name for name in names]


def upload(field: str, address: str, folder: Path) -> str:
    """Makes a repository, unless it is there, puts a folder in it, and returns its URL.

    Args:
      field: By which the user gave the address, for the messages.
      address: hf://USER/NAME.
      folder: Whose files become the repository's, by one commit.

    Raises:
      UserError: as for `download`, or if nobody is logged in.
    """
    repository, revision = parse_address(field, address)
    if revision is not None:
        raise UserError(
            f"{field}={address}: what is written becomes the newest revision; leave "
            f"out @{revision}"
        )
    hub = _library(field, address)
    try:
        api = hub.HfApi()
        url = api.create_repo(repository, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Publish a generator of progan_jax",
        )
    except Exception as error:  # Besides its own, those of the HTTP library it uses.
        raise _explained(field, address, error) from error
    return str(url)


def _library(field: str, address: str) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise UserError(
            f"{field}={address}: huggingface_hub is not installed; pip install "
            "'progan_jax[hub]'"
        ) from error
    return huggingface_hub


def _explained(field: str, address: str, error: Exception) -> UserError:
    """Returns one line for what the library raised."""
    from huggingface_hub import errors

    gone = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)
    if isinstance(error, gone):
        problem = (
            "the Hub has no such repository or revision, or it is closed to you; check "
            "the name, or log in by 'hf auth login'"
        )
    elif isinstance(error, errors.LocalTokenNotFoundError):
        problem = "nobody is logged in at the Hub; log in by 'hf auth login'"
    elif isinstance(error, errors.HFValidationError):
        problem = "the Hub allows no such name; choose another"
    elif isinstance(error, errors.HfHubHTTPError):
        problem = f"the Hub refuses ({_first_line(error)}); fix that"
    else:
        problem = (
            f"the Hub cannot be reached ({_first_line(error)}); check the network and "
            "try again, or name a folder"
        )
    return UserError(f"{field}={address}: {problem}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(" .")
