"""Experiments: what one declares, and what becomes of it. From the ground up:

- `experiment`, `optimizers`: what an experiment declares; its update rule.
- `description`: a network and an experiment as plain values, and what differs between two.
- `network`: an experiment's network on a device; `averaging`: the average of its weights.
- `device_augmentation`: examples made in the accelerator's memory.
- `flags`, `examples`: run-time choices; where examples come from.
- `steps`: the updates of a run.
- `checkpoints`: where a run stands, on disk.
- `record`: what a run leaves behind, and what it shares with the one that goes on from it.
- `training`: the loop.
- `part_sharing`, `shards`, `prediction`: predictions averaged over transforms, whole or in shards.
- `export`, `quantisation`: the same as an ONNX graph, and in whole numbers.
"""
