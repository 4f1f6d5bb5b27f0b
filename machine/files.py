"""The door to files: what scripts of users import from here, and where each is written.

`whole_files` writes products whole or not at all, and opens regular files only. `arrays` reads and writes arrays and
pickles with it. Neither may import the other way round, so their names meet here.
"""

from machine.arrays import (
    MAX_ARRAY_BYTES,
    duplicate,
    load_array,
    load_gz,
    load_named,
    load_pickle,
    save_array,
    save_gz,
    save_named,
    save_pickle,
)
from machine.whole_files import (
    MAX_NAME_BYTES,
    DataError,
    fault_of_name,
    file_checksum,
    first_line,
    is_running,
    link_or_copy,
    need_room,
    open_file,
    read_text,
    remove_leftovers,
    replacing,
    shown,
    temporary_path,
)

__all__ = [
    "MAX_ARRAY_BYTES",
    "MAX_NAME_BYTES",
    "DataError",
    "duplicate",
    "fault_of_name",
    "file_checksum",
    "first_line",
    "is_running",
    "link_or_copy",
    "load_array",
    "load_gz",
    "load_named",
    "load_pickle",
    "need_room",
    "open_file",
    "read_text",
    "remove_leftovers",
    "replacing",
    "save_array",
    "save_gz",
    "save_named",
    "save_pickle",
    "shown",
    "temporary_path",
]
