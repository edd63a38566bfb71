"""Repositories of the Hugging Face Hub, by address: hf://USER/NAME[@REVISION].

`huggingface_hub` is imported when it is first used; the extra "hub" installs it.
"""

import re
from pathlib import Path
from types import ModuleType

from progan_jax.errors import UserError
from progan_jax.inference.snapshot import INFO, TRAINED, WEIGHTS

SCHEME = "hf://"

CARD = "README.md"

_NAME = r"[\w.-]+/[\w.-]+"

_ADDRESS = re.compile(rf"hf://({_NAME})(?:@([\w./-]+))?", re.ASCII)


def parse_address(field: str, address: str) -> tuple[str, str | None]:
    """Returns the repository, USER/NAME, and the revision, None for the default.

    Args:
      field: Name by which the user gave the address, for the message.
      address: hf://USER/NAME[@REVISION].

    Raises:
      UserError: if it has another form.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UserError(
            f"{field}={address}: it must be hf://USER/NAME, or hf://USER/NAME@REVISION "
            "to download; for any other address, download the file and give its path"
        )
    return match[1], match[2]


def check_repository(field: str, name: str) -> None:
    """Raises UserError unless a name is USER/NAME, or "" for none."""
    if name and not re.fullmatch(_NAME, name, re.ASCII):
        raise UserError(
            f"{field} = {name!r} must be USER/NAME, a repository of the Hub; correct "
            "it, or leave it out"
        )


def download(field: str, address: str, with_trained: bool = False) -> Path:
    """Returns the folder of a repository's snapshot, in the Hub's own cache.

    Only the weights, their description and the card are downloaded, and only if the
    cache does not have them. Without a network the cache is used as it is.

    Args:
      field: Name by which the user gave the address, for the messages.
      address: hf://USER/NAME[@REVISION].
      with_trained: Whether G and D of its training are downloaded, too, if it has them.

    Raises:
      UserError: if the address is invalid, the library is not installed, the Hub cannot
        be reached, or the repository has no snapshot.
    """
    repository, revision = parse_address(field, address)
    hub = _library(field, address)
    wanted = [INFO, WEIGHTS["G"], CARD, *(TRAINED.values() if with_trained else ())]
    try:
        folder = Path(
            hub.snapshot_download(repository, revision=revision, allow_patterns=wanted)
        )
    except Exception as error:  # Its own, and those of the HTTP library it uses.
        raise _explained(field, address, error) from error
    if not (folder / INFO).is_file():
        raise UserError(
            f"{field}={address}: the repository has no {INFO}; name one that was "
            "written by progan_jax.tools.publish"
        )
    return folder


def create(field: str, address: str, private: bool | None = None) -> str:
    """Creates a repository, if it is missing, and returns its URL.

    Args:
      field: Name by which the user gave the address, for the messages.
      address: hf://USER/NAME.
      private: Whether a new repository is private; None for the user's default.

    Raises:
      UserError: as for `download`, or if the user is not logged in.
    """
    repository, revision = parse_address(field, address)
    if revision is not None:
        raise UserError(
            f"{field}={address}: an upload becomes the newest revision; leave out "
            f"@{revision}"
        )
    hub = _library(field, address)
    try:
        url = hub.HfApi().create_repo(repository, exist_ok=True, private=private)
    except Exception as error:  # Its own, and those of the HTTP library it uses.
        raise _explained(field, address, error) from error
    return str(url)


def check_login(field: str, address: str) -> None:
    """Raises UserError if the library is not installed, or has no token."""
    if not _library(field, address).get_token():
        raise UserError(
            f"{field}={address}: there is no token of the Hub; log in by 'hf auth "
            "login', set HF_TOKEN, or leave it out"
        )


def upload(field: str, address: str, folder: Path, private: bool | None = None) -> str:
    """Uploads a folder to a repository, created if missing, and returns its URL.

    Args:
      field: See `create`.
      address: See `create`.
      folder: Folder whose files are uploaded, in one commit.
      private: See `create`.

    Raises:
      UserError: as for `create`.
    """
    url = create(field, address, private)
    repository, _ = parse_address(field, address)
    hub = _library(field, address)
    try:
        hub.HfApi().upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Publish a generator of progan_jax",
        )
    except Exception as error:  # Its own, and those of the HTTP library it uses.
        raise _explained(field, address, error) from error
    return url


def _library(field: str, address: str) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise UserError(
            f"{field}={address}: huggingface_hub is not installed; pip install "
            "huggingface_hub"
        ) from error
    return huggingface_hub


def _explained(field: str, address: str, error: Exception) -> UserError:
    """Returns one line for an exception of the library."""
    from huggingface_hub import errors

    # The first line of these has only the number of the HTTP error.
    missing = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)
    if isinstance(error, missing):
        problem = "there is no such repository or revision, or you may not read it"
    else:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        problem = f"the Hub cannot be used: {line[:200].rstrip(' .')}"
    return UserError(
        f"{field}={address}: {problem}; check the name, the network and your login "
        "('hf auth login')"
    )
