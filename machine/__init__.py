"""What any program needs of its machine; no module here knows a galaxy. From the ground up:

- `plain_pickle`: pickles of arrays and plain values, read without executing what they name.
- `cores`: the number of processors that this process may use.
- `seals`: checksums inside files, by which the project recognises its own.
- `files`: products written whole or not at all, and inputs checked while they are read.
- `gzip_writer`: gzip files whose bytes depend on their content alone.
- `arrays`: arrays and pickles in files.
- `products`: a check of all files to be written, before the work.
- `zips`: zips, checked as a whole before a file of them is unpacked.
- `memory`: available memory, and memory that processes share.
- `signals`: signals that end a run in order; `workflow_engine`: jobs of a workflow engine.
- `shared_folders`: folders on network file systems.
- `locks`: one process at a time.
- `processes`: worker processes that end with their parent.
- `buffering`: generators that run ahead of their consumer.
- `command_line`: flags and errors of all scripts; `progress`: bars and lines of progress.
- `onnx_runtime`: options of ONNX Runtime for networks in 8 bits.
- `limited`: functions that read hostile input, in a process with limits of memory and time.
- `tables`: tables in five formats; `table_readers`: how they are read; `table_writers`: how they are written.
- `table_cells`, `passed_columns`: types of columns as they are read, and as they pass through to another table.
"""
