"""Experiments: their declaration, training and prediction. From the bottom up:

- `experiment`, `optimizers`: the declaration of an experiment; its update rule.
- `description`: a network and an experiment as plain values, and the differences of two.
- `network`: an experiment's network on a device; `ema`: the average of its weights.
- `starting_weights`: trained weights from which a training starts.
- `device_augmentation`: examples made in the accelerator's memory.
- `teaching`: targets from teachers; `consistency`: an error that compares two views of a galaxy.
- `options`, `examples`: the flags of scripts; the examples of a run.
- `steps`: the updates of a run.
- `checkpoints`: the state of a run on disk.
- `record`: the products of a run, and its identity.
- `training`: the loop.
- `part_sharing`, `prediction_shards`, `prediction`: predictions averaged over transforms, whole or in shards.
- `export`, `quantisation`: a trained network as an ONNX graph, and in 8-bit integers.
"""
