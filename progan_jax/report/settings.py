"""How a run was set up: its configuration, and what each start found."""

from collections.abc import Mapping
from typing import Any

from progan_jax.configs import base
from progan_jax.report.markup import details, section, table
from progan_jax.report.records import RunRecord
from progan_jax.runtime.command_line import list_fields


def config_section(record: RunRecord) -> str:
    """Returns what the configuration changes of configs/base.py, and all of it."""
    fields = list_fields(record.config)
    everything = table(
        "All fields of the configuration",
        ["field", "value"],
        [[name, _value(value)] for name, value in fields.items()],
    )
    body = details(f"All {len(fields)} fields", everything)
    paper = list_fields(base.get_config())
    rows = [
        [
            name,
            _value(value),
            _value(paper[name]) if name in paper else "no such field",
        ]
        for name, value in fields.items()
        if name not in paper or paper[name] != value
    ]
    told = "What differs from configs/base.py, the paper's recipe"
    differing = table(told, ["field", "this run", "base"], rows)
    return section("configuration", "Configuration", differing + body)


def starts_section(record: RunRecord) -> str:
    """Returns when, where and by which versions the run was started."""
    packages = {name for start in record.starts for name in _versions(start)}
    header = ["date", "commit", "devices", "Python", *sorted(packages)]
    rows = [
        [
            str(start.get("date", "")),
            str(start.get("git") or "unknown"),
            f"{start.get('device_count', '?')} x {start.get('device_kind', '?')}",
            str(start.get("python", "")),
            *(str(_versions(start).get(name) or "") for name in sorted(packages)),
        ]
        for start in record.starts
    ]
    body = table("Every start of the run", header, rows)
    return section("starts", "Starts", body)


def _versions(start: Mapping[str, Any]) -> Mapping[str, Any]:
    versions = start.get("versions")
    return versions if isinstance(versions, dict) else {}


def _value(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)
