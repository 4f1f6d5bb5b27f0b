"""What any program needs of the machine it runs on; nothing here knows a galaxy. From the ground up:

- `files`: files that appear whole or not at all, and that are read with suspicion; what killed processes left.
- `plain_pickle`: pickles of arrays and plain values, read without running what they name.
- `zips`: zips, checked as a whole before anything of them is unpacked.
- `cores`: how many processors there are to be used; `whole_numbers`: whether they multiply bytes exactly.
- `memory`: how much there is, what is kept of what is freed, what processes share.
- `signals`: signals that end a run in order; `jobs`: life below a workflow engine.
- `shared_folders`: folders that a network may lose.
- `locks`: one process at a time.
- `processes`: worker processes that never outlive who started them.
- `buffering`: generators that run ahead of their consumer.
- `command_line`: what the command lines of all scripts have in common; `progress`: how far a work is.
"""
