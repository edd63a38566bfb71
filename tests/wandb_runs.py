"""W&B's own library without a network, and what it wrote in its offline mode."""

import json
import struct

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Keeps the library to its own folders, without a key and without a network."""
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (tmp_path / "run").mkdir()
    wandb.teardown()
    yield monkeypatch
    wandb.teardown()


@pytest.fixture
def offline(settings, tmp_path):
    settings.setenv("WANDB_MODE", "offline")
    settings.setenv("WANDB_SILENT", "true")
    return tmp_path / "run"


def records(path):
    """Yields the records of a .wandb file: blocks of 32 KiB, as LevelDB's logs."""
    data, place, whole = path.read_bytes(), 7, b""
    while place < len(data):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # Complete, or the last part.
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def starts(folder):
    """Returns, for each start, the run and its history by step."""
    wandb.teardown()  # Waits for the process that writes the files.
    found = []
    paths = (folder / "wandb").glob("offline-run-*/*.wandb")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns):
        run, history = None, {}
        for record in records(path):
            if record.WhichOneof("record_type") == "run":
                run = record.run
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                names = [item.key or "/".join(item.nested_key) for item in items]
                values = [json.loads(item.value_json) for item in items]
                step = history.setdefault(record.history.step.num, {})
                step.update(zip(names, values, strict=True))
        found.append((run, history))
    return found
