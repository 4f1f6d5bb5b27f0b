"""Own images: files of any format in, a table of what a trained network says of them out. No torch.

Floors: reasons, stretch, fits_images, headers, reading, framing, answers, calibration, card, model_file, tables,
inputs, parts, detection, stars, fields, cutouts, sky, surveying, regions, field_picture, showing, preparing,
predicting, shards. See doc/README.md.
"""
