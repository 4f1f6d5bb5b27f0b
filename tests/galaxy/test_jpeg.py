"""Pixels of good JPEGs; those that are refused are in test_bad_images.py."""

import io

import numpy as np
import pytest
from PIL import Image
from tiny import Survey, draw_blob, write_jpeg

import load_data
from galaxy.jpeg import decode_image


def test_image_as_another_decoder_sees_it(survey: Survey):
    image = load_data.load_image(survey.train_ids[3], normalise=False)
    with Image.open(survey.raw / "images_train_rev1" / f"{survey.train_ids[3]}.jpg") as picture:
        expected = np.array(picture.convert("RGB"))
    assert image.shape == (424, 424, 3)
    assert image.dtype == np.uint8
    # Both decoders round their inverse cosine transform and colour conversion, each in its way.
    assert np.abs(image.astype(int) - expected).max() <= 2
    assert image.max() > 90


def test_image_has_rows_first_and_red_first(survey: Survey):
    picture = np.zeros((424, 424, 3), np.uint8)
    picture[:100, 200:] = 255, 0, 0
    write_jpeg(survey.raw / "images_test_rev1" / "5.jpg", picture)
    image = load_data.load_image(5, "test", normalise=False)
    assert image[50, 300, 0] > 240 and image[50, 300, 1:].max() < 15
    assert image[300, 50].max() < 15


def test_greyscale_jpeg(survey: Survey):
    buffer = io.BytesIO()
    Image.fromarray(draw_blob(np.random.default_rng(7))).convert("L").save(buffer, "JPEG")
    (survey.raw / "images_test_rev1" / "5.jpg").write_bytes(buffer.getvalue())
    image = load_data.load_image(5, "test")
    assert image.shape == (424, 424, 3)
    np.testing.assert_array_equal(image[:, :, 0], image[:, :, 2])


def test_a_reason_goes_after_the_image_s_name(tmp_path):
    with pytest.raises(ValueError, match=r"^is missing$"):
        decode_image(tmp_path / "1.jpg")
