"""Galaxies: the decision tree, tables, images, views of them. Knows no network. From the ground up:

- `decision_tree`, `scores`: questions, answers, columns; how far predictions are off.
- `folders`: where things lie, and which folders are in use.
- `jpeg`, `kaggle_labels`: one file each, read with suspicion.
- `images`: ids, labels, the split, pixels.
- `predictions`, `blending`, `submission`: what models predicted; their blends; Kaggle's format.
- `decoded_cache`, `bad_images`: every image decoded once; those that can not be.
- `preparation`, `kaggle`, `readiness`: arrays of ids and labels; Kaggle's download; what is ready.
- `tables`, `answer_names`, `own_labels`, `own_images`, `own_survey`: one's own galaxies in Kaggle's layout.
- `affine`, `warping`, `centering`: transforms, pixels of views, where in its image a galaxy lies.
- `draws`, `views`: what is random; what a network sees of a galaxy.
- `chunk_workers`, `calling`: worker processes that write chunks into shared memory; by calls of a caller's own class.
- `sextractor`, `extraction`: SExtractor's measurements; of all galaxies, resumable.
- `painting`: pixels of a made-up galaxy.
"""
