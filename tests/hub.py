"""A stand-in for huggingface_hub: repositories are folders of this machine."""

import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType


def install(monkeypatch, root):
    """Makes `import huggingface_hub` give a stand-in; returns its errors' module."""
    errors = ModuleType("huggingface_hub.errors")
    for name, parent in [
        ("HfHubHTTPError", OSError),
        ("RepositoryNotFoundError", "HfHubHTTPError"),
        ("RevisionNotFoundError", "HfHubHTTPError"),
    ]:
        bases = (getattr(errors, parent) if isinstance(parent, str) else parent,)
        setattr(errors, name, type(name, bases, {}))

    def snapshot_download(repo_id, *, revision=None, allow_patterns=None):
        folder = root / repo_id
        if not folder.is_dir():
            raise errors.RepositoryNotFoundError("404 Client Error.\n\nNot found.")
        if revision not in (None, "main"):
            raise errors.RevisionNotFoundError("404 Client Error.")
        cache = root / "cache" / repo_id / "0123abcd"
        cache.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, cache)
        return str(cache)

    class HfApi:
        def create_repo(self, repo_id, *, exist_ok=False, private=None):
            (root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
            return f"https://huggingface.co/{repo_id}"

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            assert commit_message
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)

    library = ModuleType("huggingface_hub")
    library.errors, library.HfApi = errors, HfApi
    library.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return library


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())
