"""A small reply to query-qmp-schema with one of each kind of type, as QEMU 7.2 writes them."""

from typing import Any

REPLY: list[dict[str, Any]] = [
    *({"meta-type": "builtin", "name": name} for name in ("str", "int", "number", "bool", "null", "any")),
    {"meta-type": "object", "name": "0", "members": []},
    {"meta-type": "command", "name": "quit", "arg-type": "0", "ret-type": "0"},
    {"meta-type": "command", "name": "stop", "arg-type": "0", "ret-type": "0"},
    {"meta-type": "command", "name": "query-status", "arg-type": "0", "ret-type": "1"},
    {
        "meta-type": "object",
        "name": "1",
        "members": [{"name": "running", "type": "bool"}, {"name": "status", "type": "2"}],
    },
    {"meta-type": "enum", "name": "2", "values": ["paused", "running"]},
    {"meta-type": "command", "name": "block_resize", "arg-type": "3", "ret-type": "0"},
    {
        "meta-type": "object",
        "name": "3",
        "members": [{"name": "device", "type": "str", "default": None}, {"name": "size", "type": "int"}],
    },
    {"meta-type": "command", "name": "blockdev-add", "arg-type": "4", "ret-type": "0"},
    {
        "meta-type": "object",
        "name": "4",
        "members": [
            {"name": "driver", "type": "5"},
            {"name": "read-only", "type": "bool", "default": None},
            {"name": "cache", "type": "6", "default": None},
        ],
        "tag": "driver",
        "variants": [{"case": "file", "type": "7"}, {"case": "qcow2", "type": "8"}],
    },
    {"meta-type": "enum", "name": "5", "members": [{"name": "file"}, {"name": "qcow2"}], "values": ["file", "qcow2"]},
    {"meta-type": "object", "name": "6", "members": [{"name": "direct", "type": "bool"}]},
    {"meta-type": "object", "name": "7", "members": [{"name": "filename", "type": "str"}]},
    {"meta-type": "object", "name": "8", "members": [{"name": "file", "type": "9"}]},
    {"meta-type": "alternate", "name": "9", "members": [{"type": "4"}, {"type": "str"}]},
    {"meta-type": "command", "name": "set-all", "arg-type": "10", "ret-type": "[2]"},
    {
        "meta-type": "object",
        "name": "10",
        "members": [
            {"name": "caps", "type": "[6]", "default": None},
            {"name": "ratio", "type": "number", "default": None},
            {"name": "value", "type": "any", "default": None},
            {"name": "creds", "type": "11", "default": None},
            {"name": "host", "type": "12", "default": None},
        ],
    },
    {"meta-type": "array", "name": "[6]", "element-type": "6"},
    {"meta-type": "array", "name": "[2]", "element-type": "2"},
    {"meta-type": "array", "name": "[int]", "element-type": "int"},
    {"meta-type": "alternate", "name": "11", "members": [{"type": "str"}, {"type": "null"}]},
    {"meta-type": "alternate", "name": "12", "members": [{"type": "int"}, {"type": "bool"}, {"type": "[int]"}]},
    {"meta-type": "command", "name": "device_add", "arg-type": "13", "ret-type": "0"},
    {
        "meta-type": "object",
        "name": "13",
        "members": [{"name": "driver", "type": "str"}, {"name": "id", "type": "str", "default": None}],
    },
    {"meta-type": "event", "name": "STOP", "arg-type": "0"},
    {"meta-type": "event", "name": "SHUTDOWN", "arg-type": "14"},
    {"meta-type": "object", "name": "14", "members": [{"name": "guest", "type": "bool"}]},
]
